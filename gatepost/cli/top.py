"""``gatepost top``: tenants at work, live."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gatepost.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, errors_to_exit, print_json
from gatepost.runtime.log import clean
from gatepost.runtime.traffic.top_source import TopSource
from gatepost.settings import Loader
from gatepost.traffic.top import Column, Row, ordered, total

EVERY_S = 2.0
# How long a single look takes where rates need two.
MEASURE_S = 2.0
_STEP_S = 0.2
# Head, sum, the keys, and a line for what is not known.
_LINES = 7
_LEFT, _RIGHT = ("<", "\x1b[D"), (">", "\x1b[C")
_TITLES = {
    Column.TENANT: "tenant",
    Column.INCOMING: "in/min",
    Column.DELIVERED: "deliv/min",
    Column.DEFERRED: "defer/min",
    Column.BOUNCED: "bounc/min",
    Column.BACKLOG: "backlog",
    Column.QUOTA: "quota",
    Column.TLS: "TLS",
    Column.LANE: "lane",
    Column.STATE: "state",
}
_ORDINARY = frozenset({"", "its own lane", "lanes are off for it", "lanes are observed only"})
_TEXTS = frozenset({Column.TENANT, Column.LANE, Column.STATE})


def command(
    *,
    sort: Annotated[Column, typer.Option(help="The column to sort by.")] = Column.INCOMING,
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort the other way round.")] = False,
    every: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=0.5, max=3600, help="Between two looks."),
    ] = EVERY_S,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, print all tenants, and leave.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show tenants at work: how fast their mail comes and goes, what waits, by which lane.

    Each row is a tenant on this node; the first is the sum. in/min are messages taken; deliv/min,
    defer/min and bounc/min are message-recipients, each over the last minute, and of deferrals one
    for each recipient and hour. backlog is what is outstanding in Postfix's queues, quota how much
    is used of the tenant's quota that is used most, TLS the share of the last hour's deliveries
    that were encrypted, lane the lane that new and queued mail takes, and why if it is not its own.
    A dash is what is not known: without maillog, nothing is known of deliveries and the backlog.

    Keys: < and > or the arrows choose the column to sort by, r turns the order round, q leaves. The
    table has as many rows as the terminal has room for. Where the output is no terminal, or one
    that cannot move the cursor, tables follow each other. --once takes two seconds, since a rate
    needs two looks; --json implies it.

    Exit status: 0 fine; 2 usage or configuration error.

    Example: gatepost top --sort backlog
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        with closing(TopSource(loaded)) as source:
            if once or as_json:
                rows = _measured(source)
                rows = ordered(rows, sort, reverse=reverse)
                if as_json:
                    print_json(document(rows, source.problems))
                else:
                    _print(rows, source.problems)
                return
            with contextlib.suppress(KeyboardInterrupt):
                _watch(source, sort, every, reverse=reverse)


def document(rows: list[Row], problems: list[str]) -> dict[str, Any]:
    """Return rows for ``--json``."""
    return {
        "tenants": [_row_document(row) for row in rows],
        "all": _row_document(total(rows)),
        "problems": problems,
    }


def table(rows: list[Row], column: Column | None, room: int | None = None) -> Table:
    """Return rows as a table.

    Args:
        rows: In order.
        column: By which they are sorted, to be marked.
        room: At most so many rows.
    """
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for each in Column:
        title = Text(_TITLES[each], style="reverse bold" if each is column else "bold")
        found.add_column(
            title,
            justify="left" if each in _TEXTS else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    found.add_row(*_cells(total(rows)), style="bold")
    for row in rows[:room]:
        found.add_row(*_cells(row), style="yellow" if row.state != "active" else "")
    return found


def _measured(source: TopSource) -> list[Row]:
    """Return the rows of a look that has rates."""
    rows = source.look()
    deadline = time.monotonic() + MEASURE_S
    # What comes in is told once a second; where nobody tells it, waiting makes it no better.
    while source.tells_arrivals and time.monotonic() < deadline:
        time.sleep(_STEP_S)
        rows = source.look()
    return rows


def _watch(source: TopSource, column: Column, every_s: float, *, reverse: bool) -> None:
    console = Console()
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            rows = ordered(source.look(), column, reverse=reverse)
            _print(rows, source.problems, limit=40)
            print(flush=True)
            time.sleep(every_s)
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        rows, look_at = source.look(), time.monotonic() + every_s
        while True:
            shown = ordered(rows, column, reverse=reverse)
            live.update(_screen(shown, column, source.problems, console.height), refresh=True)
            key = keys(look_at - time.monotonic())
            if key == "q":
                return
            if key == "r":
                reverse = not reverse
            elif key in _LEFT or key in _RIGHT:
                column = _next(column, 1 if key in _RIGHT else -1)
            elif not key:
                rows, look_at = source.look(), time.monotonic() + every_s


def _screen(rows: list[Row], column: Column, problems: list[str], height: int) -> Table:
    page = Table.grid()
    room = max(1, height - _LINES)
    page.add_row(table(rows, column, room))
    more = f"{len(rows) - room} further tenants; " if len(rows) > room else ""
    page.add_row("")
    page.add_row(Text(f"{more}< > sort by another column, r the other way round, q leave"))
    if problems:
        page.add_row(Text(clean("; ".join(problems), 200), style="red"))
    return page


def _print(rows: list[Row], problems: list[str], limit: int | None = None) -> None:
    # Wide enough for the longest names, whatever the width of a terminal that is none.
    console = Console(width=200, color_system=None, highlight=False, file=sys.stdout)
    console.print(table(rows, None, limit))
    if limit is not None and len(rows) > limit:
        print(f"{len(rows) - limit} further tenants")
    for each in problems:
        print(f"gatepost: {clean(each)}", file=sys.stderr)


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """Return a function that waits for a key, and puts the terminal back when done."""
    descriptor = sys.stdin.fileno() if sys.stdin is not None else -1
    if descriptor < 0 or not os.isatty(descriptor):
        yield _no_key
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield lambda wait_s: _key(descriptor, wait_s)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_key(wait_s: float) -> str:
    time.sleep(max(0.0, wait_s))
    return ""


def _key(descriptor: int, wait_s: float) -> str:
    ready, _, _ = select.select([descriptor], [], [], max(0.0, wait_s))
    if not ready:
        return ""
    pressed = os.read(descriptor, 1)
    if pressed == b"\x1b" and select.select([descriptor], [], [], 0)[0]:
        pressed += os.read(descriptor, 2)
    # The end of the input is the end of the show.
    return pressed.decode("ascii", "replace") or "q"


def _next(column: Column, step: int) -> Column:
    every = list(Column)
    return every[(every.index(column) + step) % len(every)]


def _cells(row: Row) -> list[Text]:
    # Not as text: rich would read brackets in it as markup.
    return [Text(clean(_cell(row, column))) for column in Column]


def _cell(row: Row, column: Column) -> str:
    value = row.value(column)
    if value is None:
        return "-"
    if isinstance(value, str):
        return (
            f"{value} ({row.why})" if column is Column.LANE and row.why not in _ORDINARY else value
        )
    if column is Column.QUOTA:
        return f"{value:.0%} of {row.quota_name}"
    if column is Column.TLS:
        return f"{value:.1%}"
    if column is Column.BACKLOG:
        age = f" ({_age(row.oldest_s)})" if row.oldest_s is not None and value else ""
        return f"{value:,}{age}"
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _row_document(row: Row) -> dict[str, Any]:
    return {
        "tenant": row.tenant,
        "in_per_minute": _rounded(row.incoming),
        "delivered_per_minute": _rounded(row.delivered),
        "deferred_per_minute": _rounded(row.deferred),
        "bounced_per_minute": _rounded(row.bounced),
        "backlog": row.backlog,
        "oldest_s": _rounded(row.oldest_s),
        "quota_used": row.quota,
        "quota": row.quota_name or None,
        "tls_share": row.tls,
        "lane": row.lane or None,
        "lane_why": row.why or None,
        "state": row.state or None,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 2)
