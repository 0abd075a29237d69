"""``gatepost tenant``: who may send, and who has to wait.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, group

COMMANDS: Final[Commands] = {
    "list": ("gatepost.cli.tenant.listing", "command"),
    "show": ("gatepost.cli.tenant.show", "command"),
    "pause": ("gatepost.cli.tenant.pause", "command"),
    "resume": ("gatepost.cli.tenant.resume", "command"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, "Tenants: their status, pause and resume.")
