"""``gatepost events``: what happened to mail, and who is told.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, group

COMMANDS: Final[Commands] = {
    "tail": ("gatepost.cli.events.tail", "command"),
    "webhooks": ("gatepost.cli.events.webhooks", "command"),
    "test": ("gatepost.cli.events.try_out", "command"),
    "replay": ("gatepost.cli.events.replay", "command"),
}

_ABOUT: Final = """\
What happened to mail, and who is told.

Everything that happens to a message of a tenant is an event in one stream: accepted, deferred,
delivered, bounced, blocked for want of TLS, suppressed, complained about, unsubscribed; and so
are changes of a tenant's status and warnings. Each has a position, which grows. Webhooks and
the file feedback.events_file read the stream from where they were, and so can you.
"""


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, _ABOUT)
