"""``gatepost warmup``: how far warm-ups are, and how much of today's numbers is used."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.errors import StoreUnavailable
from gatepost.runtime.traffic.reading import SheetTraffic
from gatepost.settings import Loaded, Loader
from gatepost.store.open import is_missing, open_lanes
from gatepost.traffic.warmup import DAY_S, Warmup, day_of

app = typer.Typer(no_args_is_help=True, help="Warm-ups: how far they are.")
# With a callback, a single command does not become the whole.
app.callback()(lambda: None)


@app.command("show")
def show(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show each warm-up: its day, how many recipients it allows today, and how many it has reached.

    What has left is counted from Postfix's log. A warm-up is used up a little before that number
    is reached, while mail is on its way; what is above takes the other lane.

    Exit status: 0 all have room; 1 one is used up, or what was sent cannot be read; 2 usage or
    configuration error.

    Example: gatepost warmup show
    """
    day = day_of(time.time())
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
    sent, problem = _sent(loaded, day)
    traffic = SheetTraffic(loaded.settings.run_dir)
    warmups = loaded.snapshot.warmups.by_key()
    rows = [
        _document(key, warmup, day, sent.get(key, 0), over=traffic.over_warmup(key))
        for key, warmup in sorted(warmups.items())
    ]
    if as_json:
        print_json({"warmups": rows, "problem": problem})
    else:
        for text in [_line(row) for row in rows] or ["there are no warm-ups"]:
            print(text)
        if problem is not None:
            print(f"gatepost: what was sent is not known: {problem}", file=sys.stderr)
    if problem is not None or any(row["over"] for row in rows):
        raise typer.Exit(NO)


def _sent(loaded: Loaded, day: int) -> tuple[Mapping[str, int], str | None]:
    try:
        url = loaded.settings.local_state
        if is_missing(url):
            return {}, f"{url} does not exist yet"
        with closing(open_lanes(url, create=False)) as store:
            return store.sent_on(day), None
    except (StoreUnavailable, OSError) as error:
        return {}, str(error)


def _document(key: str, warmup: Warmup, day: int, sent: int, *, over: bool) -> dict[str, Any]:
    cap = warmup.cap_on(day)
    what, _, name = key.partition(" ")
    return {
        "what": what,
        "name": name,
        "start": dt.datetime.fromtimestamp(warmup.start * DAY_S, dt.UTC).date().isoformat(),
        "day": day - warmup.start + 1,
        "days": len(warmup.caps),
        "cap": cap,
        "sent": sent,
        "over": bool(cap) and (over or sent >= (cap or 0)),
        "lane": warmup.lane,
    }


def _line(row: Mapping[str, Any]) -> str:
    head = f"{row['what']} {row['name']}: "
    if row["cap"] is None:
        return f"{head}over since its day {row['days']}; nothing is held back"
    if row["day"] < 1:
        return f"{head}begins on {row['start']}; until then all takes lane {row['lane']}"
    tail = f"; used up, what is above takes lane {row['lane']}" if row["over"] else ""
    return f"{head}day {row['day']} of {row['days']}, {row['sent']} of {row['cap']} sent{tail}"
