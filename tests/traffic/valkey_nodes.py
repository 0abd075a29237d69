"""Nodes of a fleet within one test, and wires that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import replace
from typing import Any

from gatepost.traffic.counters import Amount, Holder
from gatepost.traffic.quota import Claim, Limit, Unit
from gatepost.traffic.valkey import ValkeyCounters
from gatepost.traffic.valkey_link import Link
from gatepost.traffic.valkey_target import Target
from tests.traffic.valkey_servers import PATIENCE_S, Wire

NOW = 1_800_000_000.0
ONE = Amount(1, 1)
HOUR = 3_600


def claim(count: int, name: str = "tenant acme", unit: Unit = Unit.MESSAGES) -> Claim:
    return Claim(name, Limit(count, HOUR, unit))


class Node:
    """One node, and what it is told."""

    def __init__(self, target: Target, name: str, nodes: int = 1) -> None:
        self.at = NOW
        self.link = Link(replace(target, node=name))
        self.link.patience_s = PATIENCE_S
        self.counters = ValkeyCounters(self.link, lambda: self.at, nodes=nodes, tells_time=True)
        self.reasons: list[str] = []
        self.joined = asyncio.Event()
        self.left = asyncio.Event()
        ears = self.counters.calls.ears
        ears.interrupted, ears.joined = self._interrupted, self._joined
        self._number = 0

    def _interrupted(self, reason: str) -> None:
        self.reasons.append(reason)
        self.joined.clear()
        self.left.set()

    def _joined(self, _told: int) -> None:
        self.left.clear()
        self.joined.set()

    async def settled(self) -> None:
        """Wait until Valkey knows what this node knows."""
        async with asyncio.timeout(20):
            await self.joined.wait()
            # Each question is a call, and with it goes what is still to be told.
            while self.counters.calls.unsent or not self.counters.calls.shared:
                await self.used(claim(1))
                await asyncio.sleep(0)

    async def take(self, *claims: Claim, amount: Amount = ONE, message: str = "") -> bool:
        self._number += 1
        name = message or f"m{self._number}"
        answer = self.counters.commit(Holder(name, name), claims, amount, self.at)
        return (await answer if isinstance(answer, Awaitable) else answer) is None

    async def reserve(self, *claims: Claim, amount: Amount = ONE, message: str = "") -> bool:
        self._number += 1
        name = message or f"r{self._number}"
        answer = self.counters.reserve(Holder(name, name), claims, amount, self.at)
        return (await answer if isinstance(answer, Awaitable) else answer) is None

    async def used(self, each: Claim) -> int:
        (usage,) = await self.counters.usage([each], self.at)
        return usage.used


@contextlib.asynccontextmanager
async def fleet(target: Target, count: int = 3, *, join: bool = True) -> AsyncIterator[list[Node]]:
    """Return nodes, of which each knows of all."""
    nodes = [Node(target, f"n{number}", count) for number in range(count)]
    for node in nodes:
        await node.counters.calls.start(5 if join else 0)
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.counters.calls.stop()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@contextlib.asynccontextmanager
async def wired(target: Target, count: int = 3) -> AsyncIterator[list[tuple[Node, Wire]]]:
    """Return nodes, each with a wire that can be cut."""
    with tempfile.TemporaryDirectory(prefix="gp-") as directory:
        wires = [Wire(directory, target, f"n{number}") for number in range(count)]
        nodes = [Node(wire.target, f"n{n}", count) for n, wire in enumerate(wires)]
        for node, wire in zip(nodes, wires, strict=True):
            await wire.start()
            await node.counters.calls.start(5)
        try:
            yield list(zip(nodes, wires, strict=True))
        finally:
            for node, wire in zip(nodes, wires, strict=True):
                await node.counters.calls.stop()
                await wire.stop()
