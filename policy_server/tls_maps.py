"""What the TLS maps answer: at once from memory, or after the destination was found out.

Purpose: keep answers for as long as what they rest on is fresh, and let a look-up wait only where
nothing fresh is known.
Errors: `Unavailable` where mail has to wait; see `gatepost.decisions.tlsmap`.
Limits: 20,000 answers, a few MiB, and more destinations than are busy at once.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol

from gatepost.decisions.tlsmap import decide_policy, is_silent
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Snapshot
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.nexthop import NextHop, nexthop_domain, parse_nexthop
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls

MAX_POLICIES = 20_000


class Destinations(Protocol):
    """What is known of destinations.

    Attributes:
        generation: Another number when all that was known was dropped.
    """

    generation: int

    def known(self, nexthop: NextHop) -> Knowledge | None:
        """Return what is known and fresh, or None."""

    async def learn(self, nexthop: NextHop) -> Knowledge:
        """Return what is known, after finding it out if need be."""


class TlsMaps:
    """The answers of all TLS maps.

    Args:
        version: The Postfix that asks.
        operator: What it asks for itself of every delivery.
        clock: Unix time in seconds.
        destinations: What is known of destinations, or None if nothing ever is.
    """

    def __init__(
        self,
        version: PostfixVersion,
        operator: OperatorTls = ASKS_NOTHING,
        clock: Callable[[], float] = lambda: 0.0,
        destinations: Destinations | None = None,
    ) -> None:
        self._version = version
        self._operator = operator
        self._clock = clock
        self._destinations = destinations
        self._made_for: Snapshot | None = None
        self._generation = 0
        self._made: dict[tuple[str, str], tuple[str | None, float]] = {}

    def postfix_is(self, version: PostfixVersion, operator: OperatorTls) -> None:
        """Take note of what Postfix has become; answers that were made are forgotten."""
        self._version, self._operator = version, operator
        self._made_for = None

    def policy(self, name: str, key: str, snapshot: Snapshot) -> str | Awaitable[str | None] | None:
        """Return the policy for a next-hop, None for no opinion, or what to wait for.

        Raises:
            Unavailable: If mail has to wait; what is waited for may raise it, too.
        """
        generation = 0 if self._destinations is None else self._destinations.generation
        stale = self._made_for is not snapshot or self._generation != generation
        if stale or len(self._made) >= MAX_POLICIES:
            self._made_for, self._made = snapshot, {}
            self._generation = generation
        made = self._made.get((name, key))
        # The clock is only asked about answers that end.
        if made is not None and (made[1] == math.inf or self._clock() < made[1]):
            return made[0]
        if self._destinations is None or not snapshot.tls.discovers or is_silent(name, snapshot):
            return self._make(name, key, snapshot, None)
        # Rules for sub-domains were found with the name itself, so parents have no answer.
        nexthop = None if key.startswith(".") else parse_nexthop(key)
        if nexthop is None:
            return self._make(name, key, snapshot, None)
        knowledge = self._destinations.known(nexthop)
        if knowledge is not None:
            return self._make(name, key, snapshot, knowledge)
        return self._later(name, key, snapshot, nexthop, self._destinations)

    def remembered(self, key: str, snapshot: Snapshot) -> Knowledge | None:
        """Return what is known and fresh of a next-hop, without finding out anything."""
        if self._destinations is None or not snapshot.tls.discovers:
            return None
        nexthop = parse_nexthop(key)
        return None if nexthop is None else self._destinations.known(nexthop)

    async def _later(
        self,
        name: str,
        key: str,
        snapshot: Snapshot,
        nexthop: NextHop,
        destinations: Destinations,
    ) -> str | None:
        knowledge = await destinations.learn(nexthop)
        return self._make(name, key, snapshot, knowledge)

    def _make(
        self, name: str, key: str, snapshot: Snapshot, knowledge: Knowledge | None
    ) -> str | None:
        now = self._clock()
        policy = decide_policy(name, key, snapshot, self._version, self._operator, knowledge, now)
        if self._made_for is snapshot:
            until = math.inf if knowledge is None else knowledge.renew_at
            if domain := nexthop_domain(key):
                until = min(until, snapshot.tls.promoted.until(domain, now))
            self._made[name, key] = (policy, until)
        return policy
