"""The counters of quotas: what every engine does, and the one that keeps them in memory.

`valkey` has the one that several nodes share.

Purpose: a place is reserved at RCPT TO, before the client sends the message, and taken once at its
end. Nothing tells of a message that came to nothing in between, so a reservation ends by itself:
when the same session begins another message, and after `RESERVED_S` without a word of it. One that
has ended too early costs nothing but a second look: `commit` counts only what there is room for.
    So what was accepted never exceeds a limit, whatever sessions do, and an interrupted message
takes room for a while and never for good.
Limits: reservations of 100,000 sessions, the oldest going first; `MAX_IN_FAMILY` counters of one
family, and 100,000 of all, of which further ones share one. A message is known again for 60 s after
it was counted, for as many as come in that time and at most 100,000.
Errors: none.
Security: names of families come from clients: no table grows with what they make up.
Not handled: threads. All calls come from one, so each is whole.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gatepost.traffic.quota import STEPS, Claim, Shortage, Unit, Usage, family_of
from gatepost.traffic.window import Window

RESERVED_S: Final = 120.0
REMEMBERED_S: Final = 60.0
MAX_SESSIONS: Final = 100_000
MAX_REMEMBERED: Final = 100_000
MAX_IN_FAMILY: Final = 1_000
MAX_IN_FAMILIES: Final = 100_000
# How many counters one call of `tidy` looks at.
_TIDY: Final = 2_000

Key = tuple[str, str, int]


class Holder(NamedTuple):
    """Who takes a place.

    Attributes:
        session: What handles one message at a time, such as an smtpd(8) process.
        message: Name of the message, the same at all its stages.
    """

    session: str
    message: str


class Amount(NamedTuple):
    """How much a message is."""

    messages: int
    recipients: int


@dataclass(frozen=True, slots=True)
class Row:
    """One counter as it is kept.

    Attributes:
        key: Name, unit, length of the window in seconds.
        counts: Steps with their counts, oldest first; see `Window`.
        until: From when on (seconds of the counters' clock) nothing of it counts any more.
    """

    key: Key
    counts: tuple[tuple[int, int], ...]
    until: float


class Counters(Protocol):
    """What decides about quotas. `now` is in seconds, of a clock that never steps."""

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        """Have a message hold an amount of each claim from now on, or of none of them.

        Asked again for the same message, it then holds the new amount and not both.
        """

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        """Count a message once and end its reservation, or count nothing if there is no room."""

    def release(self, session: str, message: str) -> None:
        """End the reservation of a session if it is one of another message than this."""

    def refund(self, message: str, now: float) -> bool:
        """Count a message no more that was counted lately; tell whether it was known."""

    def usage(self, claims: Iterable[Claim], now: float) -> list[Usage]:
        """Return how far quotas are used."""


class SharedCounters(Protocol):
    """As `Counters`, for those that are kept elsewhere: an answer may have to be waited for."""

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | Awaitable[Shortage | None] | None:
        """See `Counters.reserve`."""

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | Awaitable[Shortage | None] | None:
        """See `Counters.commit`."""

    def release(self, session: str, message: str) -> None:
        """See `Counters.release`."""

    def refund(self, message: str, now: float) -> bool:
        """See `Counters.refund`."""


@dataclass(slots=True)
class _Reservation:
    message: str
    held: dict[Key, tuple[Window, int]]
    ends: float


class _Place(NamedTuple):
    """What a message takes of one counter."""

    key: Key
    window: Window
    step: int
    amount: int


class _Counted(NamedTuple):
    ends: float
    places: list[_Place]


class MemoryCounters:
    """Implements `Counters` in the memory of one process."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._now = 0.0
        # Nothing ends before this time.
        self._soonest = math.inf
        self._windows: dict[Key, Window] = {}
        self._family_of: dict[Key, str] = {}
        self._families: dict[str, int] = {}
        self._sessions: OrderedDict[str, _Reservation] = OrderedDict()
        self._counted: OrderedDict[str, _Counted] = OrderedDict()
        self._changed: set[Key] = set()
        self._to_tidy: list[Key] = []

    def __len__(self) -> int:
        """Return how many counters there are."""
        return len(self._windows)

    @property
    def reservations(self) -> int:
        """How many messages hold a reservation."""
        return len(self._sessions)

    @property
    def unwritten(self) -> int:
        """How many counters have changed since they were last written."""
        return len(self._changed)

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        """See `Counters.reserve`."""
        now = self._advance(now)
        reservation = self._reservation(holder)
        held = reservation.held if reservation is not None else {}
        places, shortage = self._look(claims, amount, held, now)
        if shortage is not None:
            return shortage
        if reservation is None:
            reservation = _Reservation(holder.message, held, 0.0)
            self._sessions[holder.session] = reservation
            if len(self._sessions) > MAX_SESSIONS:
                self._drop(self._sessions.popitem(last=False)[1])
        else:
            self._sessions.move_to_end(holder.session)
        for key, window, _, take in places:
            before = held.get(key)
            window.pending += take if before is None else take - before[1]
            held[key] = (window, take)
        reservation.ends = now + RESERVED_S
        self._soonest = min(self._soonest, reservation.ends)
        return None

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        """See `Counters.commit`."""
        now = self._advance(now)
        reservation = self._reservation(holder)
        if holder.message in self._counted:
            return None
        if reservation is not None:
            self._drop(self._sessions.pop(holder.session))
        places, shortage = self._look(claims, amount, {}, now)
        if shortage is not None:
            return shortage
        for key, window, step, take in places:
            window.add(step, take)
            self._changed.add(key)
        ends = now + REMEMBERED_S
        self._counted[holder.message] = _Counted(ends, places)
        if len(self._counted) > MAX_REMEMBERED:
            self._counted.popitem(last=False)
        self._soonest = min(self._soonest, ends)
        return None

    def release(self, session: str, message: str) -> None:
        """See `Counters.release`."""
        self._reservation(Holder(session, message))

    def refund(self, message: str, now: float) -> bool:
        """See `Counters.refund`."""
        self._advance(now)
        counted = self._counted.pop(message, None)
        if counted is None:
            return False
        for key, window, step, amount in counted.places:
            window.take_back(step, amount)
            self._changed.add(key)
        return True

    def usage(self, claims: Iterable[Claim], now: float) -> list[Usage]:
        """See `Counters.usage`."""
        now = self._advance(now)
        found = []
        for claim in claims:
            window = self._windows.get(claim.key) or Window(claim.limit.window_s)
            opens = window.opens_in(1, claim.limit.count, now) or 0.0
            found.append(Usage(claim, window.used(now), window.pending, opens))
        return found

    def load(self, rows: Iterable[Row]) -> None:
        """Add what was kept to what was counted since."""
        for row in rows:
            self._window(row.key).load(row.counts)

    def count(self, key: Key, step: int, amount: int) -> None:
        """Count what somebody else decided about."""
        self._window(key).add(step, amount)
        self._changed.add(key)

    def count_no_more(self, key: Key, step: int, amount: int) -> None:
        """Take back what was counted so."""
        window = self._windows.get(key)
        if window is not None:
            window.take_back(step, amount)
            self._changed.add(key)

    def knows(self, message: str) -> bool:
        """Tell whether a message was counted lately."""
        return message in self._counted

    @property
    def counting(self) -> int:
        """How many counters count anything."""
        now = self._now
        return sum(1 for window in self._windows.values() if window.used(now))

    def rows(self) -> list[Row]:
        """Return all counters that count anything."""
        return [
            Row(key, tuple(window.counts()), window.until)
            for key, window in self._windows.items()
            if window.used(self._now)
        ]

    def add(self, rows: Iterable[Row]) -> None:
        """Add what was counted elsewhere, as something that is to be written."""
        for row in rows:
            self.load((row,))
            self._changed.add(row.key)

    def subtract(self, rows: Iterable[Row]) -> None:
        """Count no more what is counted elsewhere now."""
        for row in rows:
            for step, count in row.counts:
                self.count_no_more(row.key, step, count)

    def take_changed(self, most: int) -> list[Row]:
        """Return counters that have changed since they were last returned, so many at most."""
        found = []
        for _ in range(min(most, len(self._changed))):
            key = self._changed.pop()
            window = self._windows.get(key)
            if window is not None:
                found.append(Row(key, tuple(window.counts()), window.until))
        return found

    def put_back(self, rows: Iterable[Row]) -> None:
        """Take note that rows could not be written."""
        self._changed.update(row.key for row in rows)

    def tidy(self, now: float) -> None:
        """Forget some of the counters that count nothing any more; call it again and again."""
        now = self._advance(now)
        if not self._to_tidy:
            self._to_tidy = list(self._windows)
        for key in self._to_tidy[-_TIDY:]:
            window = self._windows.get(key)
            if window is not None and key not in self._changed and window.idle(now):
                del self._windows[key]
                family = self._family_of.pop(key, "")
                if family:
                    self._leave(family)
        del self._to_tidy[-_TIDY:]

    def _advance(self, now: float) -> float:
        """Return the time, which never goes back, after ending what has ended by then."""
        if now <= self._now:
            return self._now
        self._now = now
        if now >= self._soonest:
            self._end(now)
        return now

    def _end(self, now: float) -> None:
        sessions, counted = self._sessions, self._counted
        # Both are in the order in which they end.
        while sessions and next(iter(sessions.values())).ends <= now:
            self._drop(sessions.popitem(last=False)[1])
        while counted and next(iter(counted.values())).ends <= now:
            counted.popitem(last=False)
        first = [next(iter(sessions.values())).ends] if sessions else []
        first += [next(iter(counted.values())).ends] if counted else []
        self._soonest = min(first, default=math.inf)

    def _reservation(self, holder: Holder) -> _Reservation | None:
        reservation = self._sessions.get(holder.session)
        if reservation is not None and reservation.message != holder.message:
            self._drop(self._sessions.pop(holder.session))
            return None
        return reservation

    @staticmethod
    def _drop(reservation: _Reservation) -> None:
        for window, amount in reservation.held.values():
            window.pending -= amount

    def _look(
        self,
        claims: Sequence[Claim],
        amount: Amount,
        held: dict[Key, tuple[Window, int]],
        now: float,
    ) -> tuple[list[_Place], Shortage | None]:
        """Return what a message takes, and why it cannot if it cannot.

        Args:
            claims: What it counts for.
            amount: How much it is.
            held: What it has reserved already.
            now: Seconds.
        """
        worst: Shortage | None = None
        places = []
        for claim in claims:
            key, limit = claim.key, claim.limit
            window = self._windows.get(key)
            if window is None:
                key, window = self._make(claim, now)
            step = window.step(now)
            take = more = amount[limit.unit is Unit.RECIPIENTS]
            if key in held:
                more -= held[key][1]
            used = window.used_at(step) + window.pending
            if more > 0 and used + more > limit.count:
                opens = None if take > limit.count else window.opens_in(more, limit.count, now)
                if worst is None or opens is None or _later(opens, worst):
                    worst = Shortage(claim, used, opens)
            places.append(_Place(key, window, step, take))
        return places, worst

    def _window(self, key: Key) -> Window:
        """Return a counter that somebody else decided about, and so bounds in number."""
        window = self._windows.get(key)
        if window is None:
            family = family_of(key[0])
            if family and self._enter(family):
                self._family_of[key] = family
            window = self._windows[key] = Window(key[2])
        return window

    def _make(self, claim: Claim, now: float) -> tuple[Key, Window]:
        """Make a counter, or return that of the family if it has too many of its own."""
        key = claim.key
        family = family_of(claim.name)
        if family:
            shared = (family, key[1], key[2])
            window = self._windows.get(shared)
            # What began to count with the others goes on there, or it could count twice the limit.
            in_use = window is not None and not window.idle(now)
            if in_use or not self._enter(family):
                if window is None:
                    window = self._windows[shared] = Window(key[2])
                return shared, window
            self._family_of[key] = family
        window = self._windows[key] = Window(key[2])
        return key, window

    def _enter(self, family: str) -> bool:
        if len(self._family_of) >= MAX_IN_FAMILIES:
            return False
        if self._families.get(family, 0) >= MAX_IN_FAMILY:
            return False
        self._families[family] = self._families.get(family, 0) + 1
        return True

    def _leave(self, family: str) -> None:
        self._families[family] -= 1
        if not self._families[family]:
            del self._families[family]


def shifted(row: Row, seconds: float) -> Row:
    """Return a counter for a clock that is so many seconds ahead of its own."""
    by = math.ceil(seconds * STEPS / row.key[2])
    counts = tuple((step + by, count) for step, count in row.counts)
    return Row(row.key, counts, row.until + by * row.key[2] / STEPS)


def _later(opens: float, than: Shortage) -> bool:
    return than.opens_in_s is not None and opens > than.opens_in_s
