"""``gatepost feedback``: what came back, and what was made of it.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, group

COMMANDS: Final[Commands] = {
    "classify": ("gatepost.cli.feedback.classify", "command"),
    "parse": ("gatepost.cli.feedback.parse", "command"),
    "quarantine": ("gatepost.cli.feedback.quarantine", "app"),
    "received": ("gatepost.cli.feedback.received", "command"),
    "rates": ("gatepost.cli.feedback.rates", "command"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, "Complaints, bounces and unsubscriptions.")
