"""Log lines: our processor time per line, from octets to deliveries, beside bare ways to read them.

Purpose: the log of a busy platform has millions of lines an hour, and the observer must not fall
behind.
Format: a log like one of Postfix 3.7 and one like 3.11, made of what each message leaves behind:
smtpd(8), cleanup(8), qmgr(8), the TLS line, the delivery line, the removal; 7 or 8 lines a
message. Each is read in one process, in memory, so that the disk is not measured.
Compared with: Python's own iteration over the lines, and one regular expression that finds delivery
lines and nothing else, as a script would. The last but one row is the proof of TLS: judged by a
configuration with 1,000 tenants and stored in SQLite with the log's position. The last is all that
the observer does: events too, where every delivery is one of a tenant.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.configurations import write_configuration
from bench.report import Row
from bench.roles import workplace
from gatepost.maillog.evidence import Batch, LogPosition
from gatepost.maillog.join import Joiner
from gatepost.maillog.stamps import Clock
from gatepost.runtime.deliveries import History, record_of
from gatepost.runtime.feedback.delivery_events import DeliveryEvents, open_outcome_stores
from gatepost.settings import Loader
from gatepost.store.deliveries import SqliteDeliveries

GOAL_LINES_S = 50_000
MESSAGES = 15_000
ROUNDS = 3
TENANTS = 1_000

# What a chunk of 1 MiB holds.
_CHUNK_LINES = 7_000

_BARE = re.compile(
    rb"^(\w{3} [ \d]\d [\d:]{8}) (\S+) (\S+)/smtp\[(\d+)\]: (\w+): to=<([^>]*)>,.* relay=([^,]*),"
    rb".* dsn=([\d.]+), status=(\w+) \((.*)\)$"
)
_CIPHER = (
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 "
    "server-signature ECDSA (prime256v1) server-digest SHA256"
)
# Half an hour after the log ends.
_REFERENCE = time.mktime((2026, 11, 24, 16, 0, 0, 0, 0, -1))


def lines_of(number: int, *, field: bool) -> Iterable[str]:
    """Yield the lines that one message leaves behind.

    Args:
        number: The number of the message.
        field: Whether the delivery line tells the protection, as from 3.11 on.
    """
    stamp = f"Nov 24 15:{number // 600 % 60:02}:{number // 10 % 60:02} mail postfix/"
    queue_id, pid = f"4jY{number:09}z", 1000 + number % 50
    domain, tls = f"dest{number % 997}.example", number % 10 != 0
    relay = f"mx.{domain}[192.0.2.{number % 250 + 1}]:25"
    service = "gp-normal-private/" if number % 3 == 0 else ""
    yield f"{stamp}submission/smtpd[77]: connect from web.example[192.0.2.77]"
    yield (
        f"{stamp}submission/smtpd[77]: {queue_id}: client=web.example[192.0.2.77], "
        "sasl_method=PLAIN, sasl_username=t1"
    )
    yield f"{stamp}cleanup[78]: {queue_id}: message-id=<{number}@t{number % 1000}.example>"
    yield (
        f"{stamp}qmgr[79]: {queue_id}: from=<news-{number}@t{number % 1000}.example>, size=4096, "
        "nrcpt=1 (queue active)"
    )
    if tls:
        words = f"Trusted TLS connection established to {relay}: {_CIPHER}"
        yield f"{stamp}{service}smtp[{pid}]: {words}"
    status = ", tls=may" if tls else ", tls=may:none"
    yield (
        f"{stamp}{service}smtp[{pid}]: {queue_id}: to=<reader{number}@{domain}>, relay={relay}, "
        f"delay=0.5, delays=0.1/0.01/0.2/0.2{status if field else ''}, dsn=2.0.0, status=sent (250 "
        "2.0.0 Ok: queued as 4X1Y2Z)"
    )
    yield f"{stamp}qmgr[79]: {queue_id}: removed"
    yield f"{stamp}submission/smtpd[77]: disconnect from web.example[192.0.2.77] ehlo=2 quit=1"


def run() -> list[Row]:
    """Measure, and return the rows."""
    logs = {
        name: "\n".join(
            line for number in range(MESSAGES) for line in lines_of(number, field=field)
        ).encode()
        for name, field in (("Postfix 3.7", False), ("Postfix 3.11", True))
    }
    rows = []
    for name, log in logs.items():
        lines = log.count(b"\n") + 1
        bare = _cost(lambda: _iterate(log), lines)  # noqa: B023
        found = _cost(lambda: _search(log), lines)  # noqa: B023
        ours = _cost(lambda: _join(log), lines)  # noqa: B023
        rate = 1e6 / ours
        rows += [
            Row(
                f"{name}: parse and join {lines:,} lines",
                f"{rate:,.0f} lines/s a core, {ours:.2f} µs of CPU a line",
                f"{ours / found:.1f} × the bare expression, {ours / bare:.0f} × the iteration",
                f"≥ {GOAL_LINES_S:,} lines/s",
                rate >= GOAL_LINES_S,
            ),
            Row(f"{name}: a bare regular expression", f"{found:.2f} µs of CPU a line"),
            Row(f"{name}: Python's iteration alone", f"{bare:.3f} µs of CPU a line"),
        ]
    log = logs["Postfix 3.7"]
    lines = log.count(b"\n") + 1
    with workplace() as directory:
        configuration = write_configuration(directory / "gatepost", TENANTS)
        history = History(Loader(configuration).load().snapshot, 0.0)
        whole = _cost(lambda: _observe(log, history, directory), lines)
        told = _cost(lambda: _observe(log, history, directory, told=True), lines)
    rows += [
        Row(
            f"the same, judged and stored, {TENANTS:,} tenants",
            f"{1e6 / whole:,.0f} lines/s a core, {whole:.2f} µs of CPU a line",
            f"{whole * lines / MESSAGES:.0f} µs a delivery",
        ),
        Row(
            "the same, with events, labels of the message book and suppression",
            f"{1e6 / told:,.0f} lines/s a core, {told:.2f} µs of CPU a line",
            f"{told * lines / MESSAGES:.0f} µs a delivery, {told / whole:.1f} × without",
        ),
    ]
    return rows


def _observe(log: bytes, history: History, directory: Path, *, told: bool = False) -> int:
    joiner = Joiner(Clock(_REFERENCE), tls_logged=True)
    path = directory / f"{time.monotonic_ns()}.db"
    count, lines, previous = 0, log.split(b"\n"), None
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(SqliteDeliveries(path)))
        outcomes = open_outcome_stores(f"sqlite:///{path}")
        events = DeliveryEvents(outcomes, threading.Event())
        stack.callback(events.close)
        for start in range(0, len(lines), _CHUNK_LINES):
            found = [*filter(None, map(joiner.read, lines[start : start + _CHUNK_LINES]))]
            if told:
                events.take(found, "mail.example", history.latest)
            records = [record for each in found if (record := record_of(each, history))]
            position = LogPosition("log", 1, start + _CHUNK_LINES, "log")
            assert store.add(Batch(records, position, previous, joiner.changes()))
            previous = position
            count += len(records)
    return count


def _cost(work: Callable[[], int], lines: int) -> float:
    """Return the least processor time per line of some rounds, in microseconds."""
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        found = work()
        spent.append(time.process_time() - began)
        assert found in {MESSAGES, lines}, found
    return min(spent) / lines * 1e6


def _iterate(log: bytes) -> int:
    count = 0
    for _ in log.split(b"\n"):
        count += 1
    return count


def _search(log: bytes) -> int:
    return sum(_BARE.match(line) is not None for line in log.split(b"\n"))


def _join(log: bytes) -> int:
    joiner = Joiner(Clock(_REFERENCE), tls_logged=True)
    read = joiner.read
    return sum(read(line) is not None for line in log.split(b"\n"))
