"""What commands that explain decisions have to know of the Postfix that is there.

Errors: none; a Postfix that cannot be asked is the oldest one that is supported, and a sentence.
"""

from __future__ import annotations

from gatepost.errors import PostfixUnavailable
from gatepost.postfix.services import is_attached, shortfalls
from gatepost.postfix_version import OLDEST_SUPPORTED, PostfixVersion
from gatepost.runtime.installation import ask_postfix
from gatepost.settings import Loaded
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls


def look_at_postfix(loaded: Loaded) -> tuple[PostfixVersion, OperatorTls, list[str]]:
    """Return version and own TLS settings of Postfix, and why it would not do what is explained."""
    config_dir = loaded.settings.postfix_config_dir
    try:
        instance = ask_postfix(loaded.settings)
    except PostfixUnavailable as error:
        return OLDEST_SUPPORTED, ASKS_NOTHING, [str(error)]
    if not is_attached(config_dir):
        buts = ["Postfix is not attached, so nothing of this happens; run gatepost attach"]
    else:
        buts = shortfalls(loaded.snapshot, config_dir)
    return instance.version, instance.operator, buts
