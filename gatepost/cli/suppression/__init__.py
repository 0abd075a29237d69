"""``gatepost suppression``: the addresses that are no longer written to.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, group

COMMANDS: Final[Commands] = {
    "list": ("gatepost.cli.suppression.listing", "list_entries"),
    "check": ("gatepost.cli.suppression.listing", "check"),
    "add": ("gatepost.cli.suppression.change", "add"),
    "remove": ("gatepost.cli.suppression.change", "remove"),
    "import": ("gatepost.cli.suppression.importing", "command"),
    "export": ("gatepost.cli.suppression.export", "command"),
}

_ABOUT: Final = """\
Addresses that are no longer written to.

Each tenant has a list of its own, and there is a global one for addresses that are proven not
to exist. What comes back puts addresses on the lists of tenants: complaints, unsubscriptions
and bounces. The global list is yours alone. An address has one entry for each reason.
"""


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, _ABOUT)
