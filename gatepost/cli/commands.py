"""Register the commands of a command line, and load only the one that is asked for.

Purpose: together the commands import nearly all of Gatepost and a good part of its libraries, which
takes longer than most of them run. So a command that is named on the command line is imported
alone; only help, completion and mistakes need all of them.
Errors: none.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import typer

# Where a command is: module and name. What has the name "app" is a group, what has the name "build"
# makes one from the words that follow.
Commands = Mapping[str, tuple[str, str]]


def group(commands: Commands, words: Sequence[str], about: str) -> typer.Typer:
    """Return a group of commands.

    Args:
        commands: By name.
        words: As of `register`.
        about: Its ``--help``; the first paragraph stands in the list of commands.
    """
    app = typer.Typer(no_args_is_help=True, help=about)
    # With a callback, a single command does not become the whole.
    app.callback()(lambda: None)
    register(app, commands, words)
    return app


def register(app: typer.Typer, commands: Commands, words: Sequence[str]) -> None:
    """Register commands.

    Args:
        app: Where.
        commands: By name.
        words: The words of the command line from this place on; if the first names a command, only
            that one is registered.
    """
    wanted = words[0] if words and words[0] in commands else None
    for name, (module, attribute) in commands.items():
        if wanted not in {None, name}:
            continue
        found: Any = getattr(importlib.import_module(module), attribute)
        if attribute == "build":
            app.add_typer(found(words[1:] if wanted else ()), name=name)
        elif attribute == "app":
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
