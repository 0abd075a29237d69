"""The ``gatepost`` command: a list of the commands, each of which is a module of its own.

A command module has one function per command, with a docstring that is its ``--help``, and adds
itself here. docs/cli.md is generated from this list.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import typer

from gatepost.cli.commands import Commands, register
from gatepost.cli.output import OutputFailed, give_up, set_up_streams

COMMANDS: Final[Commands] = {
    "init": ("gatepost.cli.init", "command"),
    "check": ("gatepost.cli.check", "command"),
    "attach": ("gatepost.cli.attach", "command"),
    "detach": ("gatepost.cli.detach", "command"),
    "doctor": ("gatepost.cli.doctor", "command"),
    "explain": ("gatepost.cli.explain", "command"),
    "serve": ("gatepost.cli.serve", "command"),
    "reload": ("gatepost.cli.reload", "command"),
    "status": ("gatepost.cli.status", "command"),
    "top": ("gatepost.cli.top", "command"),
    "report": ("gatepost.cli.report", "app"),
    "log": ("gatepost.cli.log", "app"),
    "tls": ("gatepost.cli.tls", "build"),
    "tenant": ("gatepost.cli.tenant", "build"),
    "quota": ("gatepost.cli.quota", "build"),
    "shaping": ("gatepost.cli.shaping", "build"),
    "warmup": ("gatepost.cli.warmup", "app"),
    "feedback": ("gatepost.cli.feedback", "build"),
    "suppression": ("gatepost.cli.suppression", "build"),
    "keys": ("gatepost.cli.keys", "app"),
    "events": ("gatepost.cli.events", "build"),
    "state": ("gatepost.cli.state", "build"),
    "api": ("gatepost.cli.api", "build"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command line.

    Args:
        words: The words that it will be given; without them it has every command.
    """
    app = typer.Typer(
        name="gatepost",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Turn an existing Postfix into a multi-tenant sending platform.",
    )
    # With a callback, a single command does not become the whole.
    app.callback()(_commands)
    register(app, COMMANDS, words)
    return app


def _commands() -> None:
    """Turn an existing Postfix into a multi-tenant sending platform."""


def main() -> None:
    """Run the command line."""
    set_up_streams()
    try:
        try:
            build(sys.argv[1:])()
        finally:
            sys.stdout.flush()
    except OutputFailed as failure:
        sys.exit(give_up(failure))
