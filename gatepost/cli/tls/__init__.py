"""``gatepost tls``: what is known of mail servers and deliveries, and what follows from it.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, group

COMMANDS: Final[Commands] = {
    "answer": ("gatepost.cli.tls.answer", "command"),
    "reports": ("gatepost.cli.tls.reports", "app"),
    "share": ("gatepost.cli.tls.share", "command"),
    "survey": ("gatepost.cli.tls.survey", "app"),
    "import": ("gatepost.cli.tls.exchange", "import_table"),
    "export": ("gatepost.cli.tls.exchange", "export"),
    "promote": ("gatepost.cli.tls.promote", "command"),
    "what-if": ("gatepost.cli.tls.what_if", "command"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, "TLS of destinations: answers, evidence, rules.")
