"""What a node does about quotas while it cannot reach the others: its share of what was left.

Purpose: mail goes on, and quotas hold as well as they can. Of each quota the node takes as much as
what was left of it when it last heard, divided by the number of nodes that were alive then.
Limits: a node alone lets pass at most ``limit / nodes``, rounded up, within a window. So of n nodes
k that are cut off let pass at most k shares more than the limit; if all that is known was known to
all, nothing more at all. What is known of 100,000 counters is kept, of those that were asked for
last: names that one tenant makes up push out what was known of others only if those are silent.
Errors: none.
Not handled: how what was known fades: all of it counts for one window from when it was heard, which
is too long and never too short.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from gatepost.traffic.counters import Amount, Holder, Key, MemoryCounters, Row
from gatepost.traffic.quota import STEPS, Claim, Limit, Shortage, Unit, Usage

_MAX_KNOWN: Final = 100_000
# Whoever needs more than a share asks again after this, when the others may be back.
_LATER_S: Final = 300.0
# In the store, what Valkey does not have yet stands beside what it has.
_APART: Final = "alone "


class Alone:
    """Counts for one node alone.

    Attributes:
        memory: What it has counted alone, and Valkey has not.
        own: What it has counted, and Valkey has.
        nodes: By how many nodes what is left is divided.
    """

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.memory = MemoryCounters()
        self.own = MemoryCounters()
        self.nodes = 1
        self._known: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def learn(self, key: Key, used: int, now: float) -> None:
        """Take note of how far a counter is used by all nodes."""
        self._known[key] = (used, now)
        self._known.move_to_end(key)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def forget_known(self) -> None:
        """Know nothing of what all nodes have used."""
        self._known.clear()

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        """See `Counters.reserve`."""
        shares = [self._share(claim, now) for claim in claims]
        shortage = self.memory.reserve(holder, shares, amount, now)
        return self._real(shortage, shares, claims, amount, now)

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        """See `Counters.commit`."""
        shares = [self._share(claim, now) for claim in claims]
        shortage = self.memory.commit(holder, shares, amount, now)
        return self._real(shortage, shares, claims, amount, now)

    def usage(self, claims: Iterable[Claim], now: float) -> list[Usage]:
        """See `Counters.usage`."""
        found = []
        for claim in claims:
            (usage,) = self.memory.usage([self._share(claim, now)], now)
            used = usage.used + self._used(claim, now)
            found.append(replace(usage, claim=claim, used=used))
        return found

    def take_changed(self, most: int) -> list[Row]:
        """Return what is to be written to the store, so many counters at most."""
        rows = self.own.take_changed(most)
        apart = self.memory.take_changed(most - len(rows))
        return rows + [replace(row, key=_apart(row.key)) for row in apart]

    def put_back(self, rows: Iterable[Row]) -> None:
        """Take note that rows could not be written."""
        for row in rows:
            counters, key = self._whose(row.key)
            counters.put_back([replace(row, key=key)])

    def load(self, rows: Iterable[Row]) -> None:
        """Add what was kept."""
        for row in rows:
            counters, key = self._whose(row.key)
            counters.load([replace(row, key=key)])

    def sent(self, row: Row) -> None:
        """Take note that Valkey has what was counted alone."""
        self.memory.subtract([row])
        self.own.add([row])

    def _whose(self, key: Key) -> tuple[MemoryCounters, Key]:
        if key[1].startswith(_APART):
            return self.memory, (key[0], key[1].removeprefix(_APART), key[2])
        return self.own, key

    def _used(self, claim: Claim, now: float) -> int:
        used, at = self._known.get(claim.key, (0, 0.0))
        return used if now - at < claim.limit.window_s * (1 + 1 / STEPS) else 0

    def _share(self, claim: Claim, now: float) -> Claim:
        limit = claim.limit
        left = max(limit.count - self._used(claim, now), 0)
        return Claim(claim.name, Limit(-(-left // self.nodes), limit.window_s, limit.unit))

    def _real(
        self,
        shortage: Shortage | None,
        shares: Sequence[Claim],
        claims: Sequence[Claim],
        amount: Amount,
        now: float,
    ) -> Shortage | None:
        """Return a shortage of a share as one of the quota: what has room in that may wait."""
        if shortage is None:
            return None
        claim = next(
            claim for claim, share in zip(claims, shares, strict=True) if share is shortage.claim
        )
        limit, opens = claim.limit, shortage.opens_in_s
        take = amount[limit.unit is Unit.RECIPIENTS]
        if opens is None and take <= limit.count:
            opens = limit.window_s * (1 + 1 / STEPS)
        if opens is not None and self._used(claim, now) + shortage.used + take <= limit.count:
            opens = min(opens, _LATER_S)
        return Shortage(claim, shortage.used, opens)


def joined(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows of the store without telling what Valkey has from what it has not."""
    for row in rows:
        name, unit, window_s = row.key
        yield replace(row, key=(name, unit.removeprefix(_APART), window_s))


def _apart(key: Key) -> Key:
    return (key[0], f"{_APART}{key[1]}", key[2])
