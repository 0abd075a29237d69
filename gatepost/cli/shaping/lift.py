"""``gatepost shaping lift``: let a lane deliver to a provider as before."""

from __future__ import annotations

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
from gatepost.cli.shaping.common import LaneArgument, ProviderArgument, check_pair, tell
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import account, reason_of
from gatepost.runtime.traffic.known_shaping import document
from gatepost.runtime.traffic.shaping import event_of_lift
from gatepost.settings import Loader
from gatepost.store.open import open_lanes


def command(
    lane: LaneArgument,
    provider: ProviderArgument,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back all that slows a lane towards a provider, by rules and by hand.

    It is in force 2 s later. Nothing of it is remembered: if the provider's replies ask for it
    again, the rules begin with the time that they begin with. Mail that was deferred meanwhile is
    tried when its time comes; postqueue -f has all of the queue tried at once. Each one is an
    event, lane.shaping_changed.

    Exit status: 0 it was slowed, and is lifted; 1 nothing slowed it; 2 usage or configuration
    error, or no database.

    Example: gatepost shaping lift bulk google.com --reason "sorted out with their postmaster"
    """
    now = time.time()
    why, by = reason_of(reason), account()
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        check_pair(lane, provider, loaded.snapshot)
        with closing(open_existing(open_lanes, loaded.settings)) as store:
            found = store.lift(lane, provider)
        if found:
            tell(loaded, event_of_lift(found[0], by, why, now))
    if as_json:
        print_json({"lifted": [document(each, now) for each in found]})
    elif found:
        print(f"{lane} to {provider}: lifted; in force 2 s later")
    else:
        print(f"{lane} to {provider}: nothing slows it")
    if not found:
        raise typer.Exit(NO)
