"""``gatepost shaping slow``: slow a lane down towards a provider by hand."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.periods import seconds_of
from gatepost.cli.shaping.common import (
    LaneArgument,
    ProviderArgument,
    check_pair,
    tell,
)
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import account, reason_of
from gatepost.runtime.traffic.known_shaping import document, effect, line
from gatepost.runtime.traffic.shaping import event_of_strike
from gatepost.settings import Loader
from gatepost.settings.kinds_shaping import TARGET
from gatepost.settings.problems import Rejected
from gatepost.store.open import open_lanes
from gatepost.traffic.shaping import Unit, by_hand


def command(
    lane: LaneArgument,
    provider: ProviderArgument,
    *,
    to: Annotated[
        str, typer.Option(metavar="RATE", help="suspend, or deliveries a minute: 30/minute.")
    ],
    period: Annotated[
        str, typer.Option("--for", metavar="PERIOD", help="For how long: 30m, 24h, 7d.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Slow a lane down towards a provider, or let nothing pass, for a time.

    It is in force 2 s later, beside what the rules do by themselves, of which the slower counts. A
    second one takes the place of the first. Mail that may not go yet is deferred by Postfix; of
    what may, Postfix itself decides the order. Each one is an event, lane.shaping_changed.

    Exit status: 0 it is slowed; 2 usage or configuration error, or no database.

    Example: gatepost shaping slow bulk google.com --to 30/minute --for 2h --reason "ticket 4711"
    """
    now = time.time()
    why = reason_of(reason)
    if not why:
        fail("--reason is empty; say why")
    rate = _rate(to)
    seconds = seconds_of(period, "--for")
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        check_pair(lane, provider, loaded.snapshot)
        slowed = by_hand((lane, provider), rate, seconds, why, account(), now)
        with closing(open_existing(open_lanes, loaded.settings)) as store:
            store.slow(slowed)
        tell(loaded, event_of_strike(slowed, loaded.snapshot.modes.lane))
    if as_json:
        print_json(document(slowed, now))
    else:
        print(line(slowed, now))
    if (problem := effect(loaded.snapshot)) is not None:
        print(f"gatepost: without effect: {problem}", file=sys.stderr)


def _rate(text: str) -> float:
    try:
        target = TARGET.parse(text)
    except Rejected as error:
        fail(f"--to: {error.problem}; write suspend, or a rate such as 30/minute")
    if target.number and target.unit is Unit.SHARE:
        fail("--to: a share is for rules, which know of what; write a rate such as 30/minute")
    return target.number
