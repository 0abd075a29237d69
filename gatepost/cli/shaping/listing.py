"""``gatepost shaping list``: which lanes are slowed towards which providers."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.stores import open_existing
from gatepost.runtime.traffic.known_shaping import document, effect, line
from gatepost.settings import Loader
from gatepost.store.open import open_lanes


def command(
    *,
    remembered: Annotated[
        bool,
        typer.Option(
            "--remembered",
            help="Also what is over, as long as a new reply would count as one more in a row.",
        ),
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show which lanes are slowed towards which providers, how far, until when, and why.

    A pair is slowed by a rule, when the provider's replies ask for it, or by gatepost shaping slow.
    It comes back by itself, in steps. While it is slowed, Postfix's log has "held back: this lane
    is slowed down towards the destination" for what is deferred, and before it a warning with the
    words of this list. What is shown is what this node does.

    Exit status: 0 nothing is slowed; 1 something is; 2 usage or configuration error.

    Example: gatepost shaping list
    """
    now = time.time()
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        with closing(open_existing(open_lanes, loaded.settings)) as store:
            found = store.slowed()
    shown = [each for each in found if remembered or each.rate_at(now) is not None]
    if as_json:
        why = effect(loaded.snapshot)
        print_json({"slowed": [document(each, now) for each in shown], "without_effect": why})
    else:
        for text in [line(each, now) for each in shown] or ["nothing is slowed"]:
            print(text)
        if shown and (why := effect(loaded.snapshot)) is not None:
            print(f"gatepost: without effect: {why}", file=sys.stderr)
    if any(each.rate_at(now) is not None for each in shown):
        raise typer.Exit(NO)
