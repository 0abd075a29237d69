"""``gatepost events``: what happened to mail, and who is told.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, register

COMMANDS: Final[Commands] = {
    "tail": ("gatepost.cli.events.tail", "command"),
    "webhooks": ("gatepost.cli.events.webhooks", "command"),
    "test": ("gatepost.cli.events.try_out", "command"),
    "replay": ("gatepost.cli.events.replay", "command"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    app = typer.Typer(no_args_is_help=True, help="What happened to mail, and who is told.")
    app.callback()(_commands)
    register(app, COMMANDS, words)
    return app


def _commands() -> None:
    """What happened to mail, and who is told.

    Everything that happens to a message of a tenant is an event in one stream: accepted, deferred,
    delivered, bounced, blocked for want of TLS, suppressed, complained about, unsubscribed; and so
    are changes of a tenant's status and warnings. Each has a position, which grows. Webhooks and
    the file feedback.events_file read the stream from where they were, and so can you.
    """
