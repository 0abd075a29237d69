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
    "hold": ("gatepost.cli.tenant.hold", "hold_command"),
    "release": ("gatepost.cli.tenant.hold", "release_command"),
    "purge": ("gatepost.cli.tenant.purge", "command"),
    "apply": ("gatepost.cli.tenant.apply", "command"),
    "export": ("gatepost.cli.tenant.exchange", "export"),
    "import": ("gatepost.cli.tenant.exchange", "load"),
    "delete": ("gatepost.cli.tenant.exchange", "delete"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, "Tenants: their status, pause and resume, queued mail.")
