"""Map answer: our processor time per look-up, beside a bare echo, with 1,000 tenants.

Purpose: each delivery attempt asks the map ``transport`` for its sender and the map of its profile
for its next-hop.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator

from bench.configurations import write_configuration
from bench.load import Target, measure, wait_for
from bench.policy import TENANTS
from bench.policy import requests as policy_requests
from bench.processes import running
from bench.report import Row
from bench.roles import role, workplace

GOAL_US = 30.0
REQUESTS = 16_000


def transport_requests(seed: int) -> Iterator[bytes]:
    """Return an endless run of look-ups of senders."""
    draw = random.Random(seed)  # noqa: S311 - which tenant asks is no secret
    while True:
        yield _netstring(
            f"transport news-{draw.randrange(10**6)}@t{draw.randrange(TENANTS)}.example"
        )


def tls_requests(seed: int) -> Iterator[bytes]:
    """Return an endless run of look-ups of next-hops."""
    draw = random.Random(seed)  # noqa: S311 - which tenant asks is no secret
    while True:
        yield _netstring(f"tls-private dest{draw.randrange(10**4)}.example")


def _netstring(text: str) -> bytes:
    data = text.encode("ascii")
    return b"%d:%b," % (len(data), data)


def run() -> list[Row]:
    """Measure, and return the rows."""
    with workplace() as directory, contextlib.ExitStack() as stack:
        configuration = write_configuration(directory / "gatepost", TENANTS)
        ours = stack.enter_context(role("policy", configuration))
        path = f"{directory}/echo"
        echo = stack.enter_context(running([sys.executable, "-m", "bench.echo", path, "asyncio"]))
        wait_for(path)
        socket = ours.socket("maps")
        spent = measure(
            [
                Target("map transport", ours.pid, socket, transport_requests, b",", REQUESTS),
                Target("map tls-private", ours.pid, socket, tls_requests, b",", REQUESTS),
                Target("echo on asyncio", echo.pid, path, policy_requests, b"\n\n", REQUESTS),
            ]
        )
    echo_us = spent.pop("echo on asyncio")
    return [
        Row(
            f"{name}, {TENANTS:,} tenants",
            f"{value:.1f} µs of CPU",
            f"{value / echo_us:.1f} × the bare asyncio policy echo",
            f"≤ {GOAL_US:g} µs",
            value <= GOAL_US,
        )
        for name, value in spent.items()
    ] + [Row("echo on asyncio", f"{echo_us:.1f} µs of CPU")]
