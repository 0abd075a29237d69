"""``gatepost report``: add up what was recorded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict
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
from gatepost.cli.stores import open_existing
from gatepost.modes import Feature, Observation
from gatepost.runtime.log import clean
from gatepost.settings import Loader
from gatepost.store import WhatIf
from gatepost.store.open import open_store

UNIDENTIFIED = "-"

_PERIOD = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

app = typer.Typer(no_args_is_help=True, help="Add up what was recorded.")


@app.callback()
def _reports() -> None:
    """Add up what was recorded."""


@app.command("what-if")
def what_if(
    *,
    since: Annotated[
        str, typer.Option(metavar="PERIOD", help="How far back: 30m, 24h, 7d, 4w.")
    ] = "24h",
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this tenant; - is mail of no tenant."),
    ] = None,
    feature: Annotated[Feature | None, typer.Option(help="Only this feature.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what features in mode observe would have done.

    What a TLS profile would refuse, by what was delivered, is shown by tls what-if.

    Adds up by tenant, feature and action, the most frequent first, each with its latest examples.
    Whole messages and single recipients are both kept for two hours; older ones are counts by the
    hour, so an earlier start is rounded to the hour.

    Exit status: 0 fine, also if nothing was recorded; 2 usage error, or no database to read.
    """
    period = _PERIOD.fullmatch(since)
    if period is None:
        fail(f'--since takes a period such as 30m, 24h, 7d or 4w, and not "{since}"')
    start = time.time() - int(period[1]) * _UNITS_S[period[2]]
    with errors_to_exit(as_json=as_json):
        store = open_existing(open_store, Loader(config).settings())
        wanted = "" if tenant == UNIDENTIFIED else tenant
        sums = store.what_if(start, wanted, feature)
        store.close()
    if as_json:
        print_json({"since": start, "what_if": [asdict(each) for each in sums]})
    elif not sums:
        print(f"nothing in the last {since}")
    else:
        _print(sums)


def _print(sums: Iterable[WhatIf]) -> None:
    for each in sums:
        times = "once" if each.count == 1 else f"{each.count} times"
        who = each.tenant or UNIDENTIFIED
        print(f"{who}: {each.feature} would {each.action}: {times}, last {_time(each.last_at)}")
        for example in each.examples:
            print(f"    {_time(example.at)} {_example(example)}")


def _example(seen: Observation) -> str:
    to = f" to=<{seen.recipient}>" if seen.recipient else ""
    text = f"{seen.queue_id or 'NOQUEUE'} from=<{seen.sender}>{to}: {seen.detail}"
    return clean(text)


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
