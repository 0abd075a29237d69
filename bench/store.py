"""What the two databases cost: CPU time of the caller and of the server, wall time, room for a row.

Purpose: the figures that the sizing of a fleet rests on; SQLite, for one host, beside PostgreSQL on
the same host through a local socket, whose commits reach the disk.
Format: each operation is done by one caller, one after the other; CPU of the server is that of all
its processes. A message costs about four events: accepted, delivered, and what comes of it.
Limits: ``python -m bench.store 10000000`` fills the suppression list with ten million addresses;
./dev bench takes 200,000. Wall times on a shared machine mean little.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.report import Row, print_rows
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.store.messages import Message
from gatepost.store.open import (
    open_events,
    open_lookup,
    open_messages,
    open_statuses,
    open_suppression,
)
from lab.postgres import PrivatePostgres

ADDRESSES = 200_000
BATCHES = 100
BATCH = 500
SMALL = 50
LOOKS = 2_000
LOOKUPS = 20_000
NOW = 1_790_000_000.0
_RULES = SuppressionRules()
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one operation took, in microseconds."""

    caller: float
    server: float
    wall: float

    def __str__(self) -> str:
        """Return it in words."""
        server = f", {self.server:,.1f} of the server" if self.server else ""
        return f"{self.caller:,.1f} µs of CPU{server}; {self.wall:,.0f} µs until done"


class Engine:
    """One database."""

    def __init__(self, name: str, url: str, local: str, server: PrivatePostgres | None) -> None:
        self.name = name
        self.url = url
        self.local = local
        self._server = server

    def cpu(self) -> float:
        """Return the seconds of CPU time that the server's processes have had."""
        if self._server is None:
            return 0.0
        postmaster = self._server.pid
        total = _ticks(postmaster, with_children=True)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError):
                if int(path.read_text().rpartition(")")[2].split()[1]) == postmaster:
                    total += _ticks(int(path.parent.name), with_children=False)
        return total / _TICKS

    def size(self, tables: str) -> int:
        """Return the octets that tables take with their indexes; of SQLite all of the file."""
        if self._server is None:
            path = Path(self.url.removeprefix("sqlite:///"))
            wal = path.with_name(path.name + "-wal")
            return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
        names = tables.split()
        wanted = " + ".join(f"pg_total_relation_size('{name}')" for name in names)
        return int(self._server.sql(f"select {wanted}", "gatepost"))

    def measure(self, count: int, step: Callable[[int], object]) -> Spent:
        """Do something so many times, and return what one took."""
        server, caller, wall = self.cpu(), time.process_time(), time.monotonic()
        for number in range(count):
            step(number)
        caller, wall = time.process_time() - caller, time.monotonic() - wall
        each = 1e6 / count
        return Spent(caller * each, (self.cpu() - server) * each, wall * each)


def run(addresses: int = ADDRESSES) -> list[Row]:
    """Measure, and return the rows."""
    rows: list[Row] = []
    with _engines() as engines:
        for title, measured in (
            (f"event, of {BATCH} in a transaction", _events),
            (f"event, of {SMALL} in a transaction", _few_events),
            (f"reading an event, of {BATCH} at a time", _pages),
            (f"message in the book, of {BATCH}", _messages),
            ("look whether a status has changed", _looks),
        ):
            rows += [Row(f"{each.name}: {title}", *measured(each)) for each in engines]
        for engine in engines:
            rows += _suppression(engine, addresses)
    return rows


@contextlib.contextmanager
def _engines() -> Iterator[list[Engine]]:
    durable = ("fsync=on", "full_page_writes=on", "autovacuum=on", "shared_buffers=256MB")
    with (
        tempfile.TemporaryDirectory(prefix="gatepost-bench-") as directory,
        contextlib.closing(PrivatePostgres(durable)) as server,
    ):
        local = f"sqlite:///{directory}/gatepost.db"
        yield [
            Engine("SQLite", local, local, None),
            Engine("PostgreSQL", server.url, f"sqlite:///{directory}/unused.db", server),
        ]


def _event(batch: int, number: int) -> Event:
    return Event(
        f"delivered-{batch:016x}{number:016x}",
        EventKind.DELIVERED,
        NOW + batch,
        f"t{number % 20}",
        f"{batch:08x}{number:08x}",
        "4XyZ12abcDz1",
        f"news@t{number % 20}.example",
        f"reader{number}@dest{number % 100}.example",
        f"c{number % 5}",
        "news",
        f"provider{number % 8}",
        "",
        {"relay": "mx.dest.example", "tls": "TLSv1.3"},
    )


def _add_events(engine: Engine, first: int, batches: int, size: int) -> tuple[str, str]:
    made = [[_event(first + batch, n) for n in range(size)] for batch in range(batches)]
    with contextlib.closing(open_events(engine.url)) as store:
        store.add([_event(first - 1, 0)])
        before = engine.size("events event_counts")
        spent = engine.measure(batches, lambda batch: store.add(made[batch]))
        room = (engine.size("events event_counts") - before) / (batches * size)
    each = Spent(spent.caller / size, spent.server / size, spent.wall)
    return str(each), f"a transaction; {room:,.0f} octets an event"


def _events(engine: Engine) -> tuple[str, str]:
    return _add_events(engine, 1_000, BATCHES, BATCH)


def _few_events(engine: Engine) -> tuple[str, str]:
    return _add_events(engine, 2_000, BATCHES, SMALL)


def _pages(engine: Engine) -> tuple[str, str]:
    with contextlib.closing(open_events(engine.url)) as store:
        spent = engine.measure(BATCHES, lambda number: store.page(number * BATCH, BATCH))
    return str(Spent(spent.caller / BATCH, spent.server / BATCH, spent.wall)), "a page"


def _messages(engine: Engine) -> tuple[str, str]:
    draw = random.Random(1)  # noqa: S311 - ids of nobody
    made = [
        [
            Message(
                draw.randbytes(8),
                NOW + batch,
                f"t{n % 20}",
                "4XyZ12abcDz1",
                f"news@t{n % 20}.example",
                f"<{batch}.{n}@t{n % 20}.example>",
                f"c{n % 5}",
                "news",
                (f"reader{n}@dest{n % 100}.example",),
            )
            for n in range(BATCH)
        ]
        for batch in range(BATCHES)
    ]
    with contextlib.closing(open_messages(engine.url)) as store:
        before = engine.size("messages")
        spent = engine.measure(BATCHES, lambda batch: store.add(made[batch]))
        room = (engine.size("messages") - before) / (BATCHES * BATCH)
    each = Spent(spent.caller / BATCH, spent.server / BATCH, spent.wall)
    return str(each), f"a transaction; {room:,.0f} octets a message"


def _looks(engine: Engine) -> tuple[str, str]:
    with contextlib.closing(open_statuses(engine.url)) as store:
        store.version()
        return str(engine.measure(LOOKS, lambda _: store.version())), ""


def _address(number: int) -> str:
    return f"reader.{number * 7919 % 1_000_003}-{number}@dest{number % 5000}.example"


def _suppression(engine: Engine, addresses: int) -> list[Row]:
    entries = (
        Suppressed("t1", _address(number), Reason.COMPLAINT, NOW) for number in range(addresses)
    )
    with contextlib.closing(open_suppression(engine.url, local=engine.local)) as store:
        before = engine.size("suppression")
        loaded = engine.measure(1, lambda _: store.load(entries, _RULES))
        room = (engine.size("suppression") - before) / addresses
    draw = random.Random(1)  # noqa: S311 - which address is asked for is no secret
    asked = [_address(draw.randrange(2 * addresses)) for _ in range(LOOKUPS)]
    with contextlib.closing(open_lookup(engine.url, time.monotonic, local=engine.local)) as lookup:
        lookup.find("t1", asked[0], NOW, _RULES)
        spent = engine.measure(LOOKUPS, lambda n: lookup.find("t1", asked[n], NOW, _RULES))
        none = engine.measure(LOOKUPS, lambda n: lookup.find("t2", asked[n], NOW, _RULES))
    each = Spent(loaded.caller / addresses, loaded.server / addresses, loaded.wall / addresses)
    return [
        Row(f"{engine.name}: import of {addresses:,} addresses", str(each),
            f"{1e6 / each.wall:,.0f} a second, {room:,.0f} octets each"),
        Row(f"{engine.name}: look-up among them", str(spent),
            f"{none.caller:,.1f} µs for a tenant without entries"),
    ]  # fmt: skip


def _ticks(pid: int, *, with_children: bool) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_children else 13]))


if __name__ == "__main__":
    print_rows("store", run(*map(int, sys.argv[1:])))
