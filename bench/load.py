"""Clients that ask one question after the other on kept connections, as smtpd(8) and smtp(8) do.

Purpose: give a server work while its own processor time is taken from /proc. The client's cost does
not enter the result, so it may be plain blocking Python.
Errors: `LoadError` if a server hangs up or answers something else than its protocol has.
"""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.processes import tree_cpu_seconds

CONNECTIONS = 8
ROUNDS = 5
_FULL_BACKLOG_TRIES = 1_000


class LoadError(Exception):
    """A server did not answer as its protocol has it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One server to measure.

    Attributes:
        name: For the table.
        pid: Its process.
        address: Path of its UNIX socket, or (host, port).
        requests: Makes an endless run of requests for one connection.
        end: What a reply ends with.
        count: Requests in one round.
    """

    name: str
    pid: int
    address: str | tuple[str, int]
    requests: Callable[[int], Iterator[bytes]]
    end: bytes
    count: int


def measure(targets: list[Target]) -> dict[str, float]:
    """Return target name to processor time per request in microseconds, median of rounds.

    The rounds are interleaved, so that whatever else the machine does meets all targets alike.
    """
    for target in targets:
        _round(target, target.count // 4)
    found: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            before = tree_cpu_seconds(target.pid)
            _round(target, target.count)
            spent = tree_cpu_seconds(target.pid) - before
            found[target.name].append(spent / target.count * 1e6)
    return {name: statistics.median(values) for name, values in found.items()}


def wait_for(address: str | tuple[str, int], timeout_s: float = 30) -> None:
    """Wait until something accepts connections at an address.

    Raises:
        LoadError: If nothing does in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            connect(address).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise LoadError(f"nothing answers at {address}")


def connect(address: str | tuple[str, int]) -> socket.socket:
    """Return a connection."""
    if isinstance(address, str):
        client = socket.socket(socket.AF_UNIX)
    else:
        client = socket.socket(socket.AF_INET)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.settimeout(30)
    for _ in range(_FULL_BACKLOG_TRIES):
        try:
            client.connect(address)
        except BlockingIOError:
            # Some servers listen with a backlog of five.
            time.sleep(0.01)
        else:
            return client
    raise LoadError(f"{address}: the backlog stays full")


def _round(target: Target, count: int) -> None:
    share = count // CONNECTIONS
    problems: list[BaseException] = []

    def ask(seed: int) -> None:
        try:
            _converse(target, seed, share)
        except (OSError, LoadError) as error:
            problems.append(error)

    threads = [
        threading.Thread(target=ask, args=(seed + os.getpid(),)) for seed in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise LoadError(f"{target.name}: {problems[0]}")


def _converse(target: Target, seed: int, count: int) -> None:
    requests = target.requests(seed)
    with connect(target.address) as client:
        for _ in range(count):
            client.sendall(next(requests))
            reply = b""
            while not reply.endswith(target.end):
                part = client.recv(65536)
                if not part:
                    raise LoadError(f"hung up after {reply[:80]!a}")
                reply += part
