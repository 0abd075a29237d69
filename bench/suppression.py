"""Suppression list: import, memory, and a look-up among all of it, beside one without entries.

Purpose: a list of ten million addresses must cost a recipient no more than a small one, and must
not fill the memory of the process that answers mail.
Format: a CSV file of addresses is imported by the real command, while another process takes the
write lock again and again and notes how long it waited. Then addresses are looked up, half of them
on the list, and the real policy server answers RCPT TO for tenants with and without a list.
``python -m bench.suppression 10000000`` measures ten million; ./dev bench takes a million.
Limits: 110 octets of disk an address for the list, as much again for the import.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.configurations import USER, write_configuration
from bench.load import Target, measure
from bench.policy import requests
from bench.report import Row, print_rows
from bench.roles import role, workplace
from gatepost.feedback.rules import SuppressionRules
from gatepost.store.sqlite_suppression import SqliteSuppression
from gatepost.store.suppression_lookup import SuppressionLookup

ADDRESSES = 1_000_000
LOOKUPS = 200_000
REQUESTS = 16_000
GOAL_US = 50.0
GOAL_RATE = 20_000
GOAL_MIB = 150
# How much slower a request may be for tenants that have no list.
GOAL_MORE_US = 5.0
_TENANT = "t1"
_EVERY_S = 0.01


def run(addresses: int = ADDRESSES) -> list[Row]:
    """Measure, and return the rows.

    Args:
        addresses: How many are imported.
    """
    with workplace() as directory:
        list_file = directory / "list.csv"
        _write_list(list_file, addresses)
        full = _configure(directory / "full")
        rows = _import(full, list_file, addresses)
        list_file.unlink()
        rows += _look_up(full.parent / "state" / "gatepost.db", addresses)
        bare = _configure(directory / "bare")
        rows += _answer(full, bare, addresses)
    return rows


def _write_list(path: Path, addresses: int) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write("address,reason,since\n")
        for number in range(addresses):
            file.write(f"{_address(number)},complaint,2026-11-24T00:00:00Z\n")


def _address(number: int) -> str:
    return f"Reader.{number * 7919 % 1_000_003}-{number}@dest{number % 5000}.example"


def _configure(directory: Path) -> Path:
    configuration = write_configuration(directory, 1_000)
    state = directory / "state"
    state.mkdir(mode=0o750)
    shutil.chown(state, USER, "nogroup")
    return configuration


def _import(configuration: Path, list_file: Path, addresses: int) -> list[Row]:
    database = configuration.parent / "state" / "gatepost.db"
    SqliteSuppression(database).close()
    command = [sys.executable, "-m", "gatepost", "suppression", "import", str(list_file)]
    command += ["--tenant", _TENANT, "--config", str(configuration)]
    with _waiting_writer(database) as waits:
        begun = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begun
    if process.returncode or f"{addresses:,} entries, {addresses:,} of them new" not in said:
        raise RuntimeError(f"import: {process.returncode} {said}")
    cpu = usage.ru_utime + usage.ru_stime
    rate = addresses / seconds
    mib = usage.ru_maxrss / 1024
    size = database.stat().st_size / 2**20
    return [
        Row(
            f"import of {addresses:,} addresses",
            f"{rate:,.0f}/s",
            f"{addresses / cpu:,.0f} per second of CPU",
            f"≥ {GOAL_RATE:,}/s",
            rate >= GOAL_RATE,
        ),
        Row("its memory at most", f"{mib:.0f} MiB", f"{size:,.0f} MiB on disk",
            f"≤ {GOAL_MIB} MiB", mib <= GOAL_MIB),
        Row("longest wait of another writer", f"{max(waits) * 1e3:.0f} ms",
            f"{len(waits):,} tries, {sum(waits) / len(waits) * 1e3:.1f} ms on average"),
    ]  # fmt: skip


@contextlib.contextmanager
def _waiting_writer(database: Path) -> Iterator[list[float]]:
    """Take the write lock again and again, and note how long each time took."""
    waits: list[float] = [0.0]
    stop = threading.Event()

    def work() -> None:
        with contextlib.closing(
            sqlite3.connect(database, timeout=30, isolation_level=None)
        ) as connection:
            while not stop.wait(_EVERY_S):
                begun = time.monotonic()
                connection.execute("begin immediate")
                waits.append(time.monotonic() - begun)
                connection.execute("commit")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        thread.join()


def _look_up(database: Path, addresses: int) -> list[Row]:
    draw = random.Random(1)  # noqa: S311 - which address is asked for is no secret
    asked = [_address(draw.randrange(2 * addresses)) for _ in range(LOOKUPS)]
    lookup = SuppressionLookup(database, time.monotonic)
    rules = SuppressionRules()
    now = time.time()
    lookup.find(_TENANT, asked[0], now, rules)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent: dict[str, float] = {}
    found = 0
    for tenant in (_TENANT, "t2"):
        begun = time.process_time()
        for address in asked:
            found += lookup.find(tenant, address, now, rules) is not None
        spent[tenant] = (time.process_time() - begun) / LOOKUPS * 1e6
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    lookup.close()
    if not 0.45 < found / LOOKUPS < 0.55:
        raise RuntimeError(f"{found} of {LOOKUPS} addresses were found")
    ours = spent[_TENANT]
    return [
        Row(
            f"look-up among {addresses:,}",
            f"{ours:.1f} µs of CPU",
            f"{spent['t2']:.1f} µs for a tenant without entries",
            f"≤ {GOAL_US:g} µs",
            ours <= GOAL_US,
        ),
        Row(f"memory that {LOOKUPS:,} of them add", f"{more:.1f} MiB"),
    ]


def _answer(full: Path, bare: Path, addresses: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        listed = stack.enter_context(role("policy", full))
        without = stack.enter_context(role("policy", bare))
        targets = [
            Target(name, each.pid, each.socket("policy"), make, b"\n\n", REQUESTS)
            for name, each, make in (
                ("of its tenant", listed, _requests_of_one),
                ("of the same without", without, _requests_of_one),
                ("of others", listed, requests),
                ("without a list", without, requests),
            )
        ]
        spent = measure(targets)
    more = spent["of others"] - spent["without a list"]
    return [
        Row(
            f"RCPT TO, tenant with {addresses:,} entries",
            f"{spent['of its tenant']:.1f} µs of CPU",
            f"{spent['of the same without']:.1f} µs where it has none",
        ),
        Row(
            "RCPT TO, tenants without entries",
            f"{spent['of others']:.1f} µs of CPU",
            f"{more:+.1f} µs",
            f"≤ {GOAL_MORE_US:g} µs more",
            more <= GOAL_MORE_US,
        ),
    ]


def _requests_of_one(seed: int) -> Iterator[bytes]:
    sender, login = _TENANT.encode(), b"\nsasl_username=" + _TENANT.encode() + b"\n"
    for request in requests(seed):
        head, _, rest = request.partition(b"@t")
        number, dot, rest = rest.partition(b".")
        changed = head + b"@" + sender + dot + rest
        yield changed.replace(b"\nsasl_username=t" + number + b"\n", login)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ADDRESSES
    print_rows(f"suppression: {count:,} addresses", run(count))
