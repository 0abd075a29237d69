"""Commands that we tell the operator to run, as they have to be typed for this configuration.

Errors: none.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from gatepost.cli.common import DEFAULT_CONFIG

WaitOption = Annotated[
    float,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help="How long to wait for a lane's own Postfix instance that is to go to give its mail "
        "back; it needs some seconds for each thousand messages.",
    ),
]

_OURS = re.compile(r"\bgatepost (attach|check|detach|doctor|reload|serve|status)\b")
_INSTANCE = frozenset({"attach", "detach", "doctor"})


def with_config(text: str, config: Path, postfix_config: Path | None = None) -> str:
    """Return a text in which our own commands name the configuration, unless it is the default.

    Args:
        text: A line that may tell to run ``gatepost attach`` and the like.
        config: The configuration in use.
        postfix_config: The Postfix instance, where the operator named one.
    """
    return _OURS.sub(
        lambda found: (
            found[0] + options_of(config, postfix_config if found[1] in _INSTANCE else None)
        ),
        text,
    )


def options_of(config: Path, postfix_config: Path | None) -> str:
    """Return the options, each with a blank before it, by which a command finds both again."""
    options = ""
    if config != DEFAULT_CONFIG:
        options += f" --config {shlex.quote(str(config))}"
    if postfix_config is not None:
        options += f" --postfix-config {shlex.quote(str(postfix_config))}"
    return options
