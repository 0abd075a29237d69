"""The counters of quotas that several nodes share, in Valkey or Redis.

Purpose: as `MemoryCounters`, for a fleet. An answer costs one round trip, whatever a message counts
for. The node itself remembers which reservations its sessions hold and which messages it counted;
Valkey has nothing but counters, and each node keeps for itself what it has counted of them.
Limits: as of `valkey_calls`; a reservation ends up to 4 s late.
Errors: none. While Valkey cannot be asked, `Alone` decides.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gatepost.traffic import valkey_words as words_of
from gatepost.traffic.alone import Alone
from gatepost.traffic.counters import (
    MAX_REMEMBERED,
    MAX_SESSIONS,
    REMEMBERED_S,
    RESERVED_S,
    Amount,
    Holder,
    Key,
    Row,
)
from gatepost.traffic.quota import STEPS, Claim, Shortage, Usage, family_of
from gatepost.traffic.valkey_calls import Calls, Operation, Own
from gatepost.traffic.valkey_link import Link
from gatepost.traffic.valkey_words import Asked, Place, Taken

_MAX_ASKED: Final = 100_000


class _Held(NamedTuple):
    message: str
    ends: float
    places: list[Place]


class _Counted(NamedTuple):
    ends: float
    places: list[Place]
    # The same of the node's own counters.
    own: list[Own]


class ValkeyCounters:
    """Implements `SharedCounters`; to be used on the thread of one event loop.

    Args:
        link: The connection.
        clock: The clock of this node, which never steps, in seconds.
        nodes: How many nodes there are at least.
        tells_time: Whether Valkey goes by this node's clock, which is for tests.

    Attributes:
        alone: What decides without Valkey.
        calls: What asks Valkey.
        on_alone: Is told of each answer that is given without Valkey.
    """

    def __init__(
        self, link: Link, clock: Callable[[], float], *, nodes: int = 1, tells_time: bool = False
    ) -> None:
        self.alone = Alone()
        self.calls = Calls(link, self.alone, clock, nodes, tells_time=tells_time)
        self.on_alone: Callable[[], object] = int
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._counted: OrderedDict[str, _Counted] = OrderedDict()
        # By messages that Valkey may have counted or not: whether the node has.
        self._uncertain: dict[str, bool] = {}
        self._asked: dict[Key, Asked] = {}

    def __len__(self) -> int:
        """Return how many counters this node keeps."""
        return len(self.alone.own) + len(self.alone.memory)

    @property
    def reservations(self) -> int:
        """How many messages of this node hold a reservation."""
        return len(self._held) + self.alone.memory.reservations

    @property
    def unwritten(self) -> int:
        """How many counters have changed since they were last written."""
        return self.alone.own.unwritten + self.alone.memory.unwritten

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | Awaitable[Shortage | None] | None:
        """See `SharedCounters.reserve`."""
        if self.calls.shared:
            return self._reserve(holder, claims, amount, now)
        self.on_alone()
        return self.alone.reserve(holder, claims, amount, now)

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | Awaitable[Shortage | None] | None:
        """See `SharedCounters.commit`."""
        if holder.message in self._counted or self.alone.memory.knows(holder.message):
            return None
        if self.calls.shared:
            return self._commit(holder, claims, amount, now)
        self.on_alone()
        return self.alone.commit(holder, claims, amount, now)

    def release(self, session: str, message: str) -> None:
        """See `SharedCounters.release`."""
        held = self._held.get(session)
        if held is not None and held.message != message:
            del self._held[session]
            if self.calls.shared:
                self.calls.put(Operation(words_of.drop(held.places)))
        self.alone.memory.release(session, message)

    def refund(self, message: str, now: float) -> bool:
        """See `SharedCounters.refund`."""
        self._forget(now)
        counted = self._counted.pop(message, None)
        if counted is None:
            known = self.alone.memory.refund(message, now)
            if known and message in self._uncertain:
                self._uncertain[message] = False
            return known
        self._give_back(counted)
        return True

    async def usage(self, claims: Iterable[Claim], now: float) -> list[Usage]:
        """Return how far quotas are used."""
        asked = [words_of.asked(claim) for claim in claims]
        line = None
        if self.calls.shared:
            line = await self._ask(Operation(words_of.usage(asked)))
        if line is None:
            return self.alone.usage([each.claim for each in asked], now)
        return words_of.usages(line, asked)

    def load(self, rows: Iterable[Row]) -> None:
        """Add what was kept."""
        self.alone.load(rows)

    def take_changed(self, most: int) -> list[Row]:
        """See `MemoryCounters.take_changed`."""
        return self.alone.take_changed(most)

    def put_back(self, rows: Iterable[Row]) -> None:
        """See `MemoryCounters.put_back`."""
        self.alone.put_back(rows)

    def tidy(self, now: float) -> None:
        """Forget some of what counts nothing any more."""
        self.alone.own.tidy(now)
        self.alone.memory.tidy(now)
        self._forget(now)

    async def _reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        before = self._held.get(holder.session)
        drops: list[Place] = []
        held: list[Place] = []
        if before is not None:
            if before.message == holder.message and len(before.places) == len(claims):
                held = before.places
            else:
                drops = before.places
                del self._held[holder.session]
        asked = self._words(claims)
        line = await self._ask(Operation(words_of.take(b"r", drops, asked, amount, held)))
        if line is None:
            return self.alone.reserve(holder, claims, amount, now)
        found = words_of.taken(line, asked)
        if isinstance(found, Shortage):
            return found
        bucket, taken = found
        places = self._places(asked, taken, amount, now, bucket)
        self._held[holder.session] = _Held(holder.message, now + RESERVED_S, places)
        self._held.move_to_end(holder.session)
        if len(self._held) > MAX_SESSIONS:
            self._held.popitem(last=False)
        return None

    async def _commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        before = self._held.pop(holder.session, None)
        asked = self._words(claims)
        drops = [] if before is None else before.places
        operation = Operation(words_of.take(b"c", drops, asked, amount, ()))
        line = await self._ask(operation)
        if line is not None:
            return self._take(operation, line, holder.message, asked, amount, now)
        shortage = self.alone.commit(holder, claims, amount, now)

        def later(line: str | None) -> None:
            """Count in one place only what was counted in two."""
            here = self._uncertain.pop(holder.message, False)
            if line is None:
                return
            if self._take(operation, line, holder.message, asked, amount, now) is not None:
                return
            counted = self._counted[holder.message]
            if not here:
                del self._counted[holder.message]
                self._give_back(counted)
            elif not self.alone.memory.refund(holder.message, now):
                for place in counted.own:
                    self.alone.memory.count_no_more(*place)

        if operation.number:
            self._uncertain[holder.message] = shortage is None
        operation.later = later
        return shortage

    def _take(
        self,
        operation: Operation,
        line: str,
        message: str,
        asked: Sequence[Asked],
        amount: Amount,
        now: float,
    ) -> Shortage | None:
        """Take note of what was counted."""
        found = words_of.taken(line, asked)
        if isinstance(found, Shortage):
            return found
        places = self._places(asked, found[1], amount, now)
        own = [
            _own(each, how, place.amount, now)
            for each, how, place in zip(asked, found[1], places, strict=True)
        ]
        for each in own:
            self.alone.own.count(*each)
        self.calls.told(operation, own)
        self._counted[message] = _Counted(now + REMEMBERED_S, places, own)
        self._forget(now)
        return None

    def _places(
        self,
        asked: Sequence[Asked],
        taken: Sequence[Taken],
        amount: Amount,
        now: float,
        bucket: int | None = None,
    ) -> list[Place]:
        places = []
        learn = self.alone.learn
        for each, how in zip(asked, taken, strict=True):
            learn(each.claim.key, how.used, now)
            key = each.family if how.shared else each.key
            where = how.step if bucket is None else bucket
            places.append(Place(key, where, amount[each.by_recipients]))
        return places

    def _words(self, claims: Sequence[Claim]) -> list[Asked]:
        """Return claims in the words of the script, which are the same each time."""
        known, found = self._asked, []
        for claim in claims:
            asked = known.get(claim.key)
            if asked is None or asked.claim.limit is not claim.limit:
                if len(known) >= _MAX_ASKED:
                    known.clear()
                asked = known[claim.key] = words_of.asked(claim)
            found.append(asked)
        return found

    def _give_back(self, counted: _Counted) -> None:
        for place in counted.own:
            self.alone.own.count_no_more(*place)
        self.calls.owe(Operation(words_of.give_back(counted.places)))

    def _forget(self, now: float) -> None:
        """Forget messages that were counted long ago, and reservations that have ended."""
        counted, held = self._counted, self._held
        while counted and next(iter(counted.values())).ends <= now:
            counted.popitem(last=False)
        while held and next(iter(held.values())).ends + words_of.GRAIN_S <= now:
            held.popitem(last=False)
        if len(counted) > MAX_REMEMBERED:
            counted.popitem(last=False)

    async def _ask(self, operation: Operation) -> str | None:
        line = await self.calls.ask(operation)
        if line is None:
            self.on_alone()
        return line


def _own(asked: Asked, taken: Taken, amount: int, now: float) -> Own:
    name, unit, window_s = asked.claim.key
    key = (family_of(name), unit, window_s) if taken.shared else asked.claim.key
    return key, math.floor(now * (STEPS / window_s)), amount
