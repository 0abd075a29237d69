"""What has to be known of Postfix to read its log rightly.

Purpose: a delivery without a TLS line was in plaintext only if such a line would have been written;
the TLS rule of a delivery was looked up by the relayhost where there is one.
Source: postconf(5) smtp_tls_loglevel, relayhost, myhostname.
Errors: `PostfixUnavailable` if postconf cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatepost.postfix import master_cf
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import parse_settings
from gatepost.postfix.plan import MASTER_CF

_LEVEL = "smtp_tls_loglevel"


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What the log means.

    Attributes:
        tls_logged: Whether each smtp(8) service logs its TLS connections.
        relayhost: The next-hop of all mail, or empty.
        host: ``myhostname``, of which message ids are made, or empty.
    """

    tls_logged: bool = False
    relayhost: str = ""
    host: str = ""


def log_facts(config_dir: Path) -> LogFacts:
    """Return what an instance's log means.

    Raises:
        PostfixUnavailable: If postconf cannot tell.
    """
    postfix = PostfixCommands(config_dir)
    values = parse_settings(postfix.postconf("-x", _LEVEL, "relayhost", "myhostname").stdout)
    try:
        text = (config_dir / MASTER_CF).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        # Then nobody knows what services override.
        return LogFacts(relayhost=values.get("relayhost", ""), host=values.get("myhostname", ""))
    level = values.get(_LEVEL, "0")
    levels = [
        entry.value(_LEVEL, level) for entry in master_cf.services(text) if entry.command == "smtp"
    ]
    return LogFacts("0" not in levels, values.get("relayhost", ""), values.get("myhostname", ""))
