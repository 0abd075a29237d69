"""``gatepost shaping``: which lanes are slowed towards which providers, and by whose hand.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, group

COMMANDS: Final[Commands] = {
    "list": ("gatepost.cli.shaping.listing", "command"),
    "slow": ("gatepost.cli.shaping.slow", "command"),
    "lift": ("gatepost.cli.shaping.lift", "command"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, "Shaping: lanes that are slowed towards a provider.")
