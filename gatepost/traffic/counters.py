"""The counters of quotas: what every engine does, and the one that keeps them in memory.

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

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gatepost.traffic.quota import Claim, Shortage, Unit, Usage, family_of
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


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes a place.

    Attributes:
        session: What handles one message at a time, such as an smtpd(8) process.
        message: Name of the message, the same at all its stages.
    """

    session: str
    message: str


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a message is."""

    messages: int
    recipients: int

    def of(self, unit: Unit) -> int:
        """Return it in a unit."""
        return self.messages if unit is Unit.MESSAGES else self.recipients


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


@dataclass(slots=True)
class _Reservation:
    message: str
    held: dict[Key, tuple[Window, int]]
    ends: float


@dataclass(frozen=True, slots=True)
class _Counted:
    ends: float
    parts: tuple[tuple[Key, Window, int, int], ...]


class MemoryCounters:
    """Implements `Counters` in the memory of one process."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._now = 0.0
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
        wanted = [self._window(claim, now) for claim in claims]
        found = self._shortage(claims, wanted, amount, held, now)
        if found is not None:
            return found
        if reservation is None:
            reservation = _Reservation(holder.message, held, 0.0)
            self._sessions[holder.session] = reservation
            if len(self._sessions) > MAX_SESSIONS:
                self._drop(*self._sessions.popitem(last=False))
        for claim, (key, window) in zip(claims, wanted, strict=True):
            take = amount.of(claim.limit.unit)
            before = held.get(key)
            window.pending += take - (before[1] if before is not None else 0)
            held[key] = (window, take)
        reservation.ends = now + RESERVED_S
        self._sessions.move_to_end(holder.session)
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
            self._drop(holder.session, self._sessions.pop(holder.session))
        wanted = [self._window(claim, now) for claim in claims]
        found = self._shortage(claims, wanted, amount, {}, now)
        if found is not None:
            return found
        parts = []
        for claim, (key, window) in zip(claims, wanted, strict=True):
            step, take = window.step(now), amount.of(claim.limit.unit)
            window.add(step, take)
            parts.append((key, window, step, take))
            self._changed.add(key)
        self._counted[holder.message] = _Counted(now + REMEMBERED_S, tuple(parts))
        if len(self._counted) > MAX_REMEMBERED:
            self._counted.popitem(last=False)
        return None

    def release(self, session: str, message: str) -> None:
        """See `Counters.release`."""
        reservation = self._sessions.get(session)
        if reservation is not None and reservation.message != message:
            self._drop(session, self._sessions.pop(session))

    def refund(self, message: str, now: float) -> bool:
        """See `Counters.refund`."""
        self._advance(now)
        counted = self._counted.pop(message, None)
        if counted is None:
            return False
        for key, window, step, amount in counted.parts:
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
            window = self._windows.get(row.key)
            if window is None:
                family = family_of(row.key[0])
                if family and self._enter(family):
                    self._family_of[row.key] = family
                window = self._windows[row.key] = Window(row.key[2])
            window.load(row.counts)

    def take_changed(self) -> list[Row]:
        """Return the counters that have changed since the last call."""
        changed, self._changed = self._changed, set()
        found = []
        for key in changed:
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
        if now < self._now:
            return self._now
        self._now = now
        sessions, counted = self._sessions, self._counted
        while sessions and next(iter(sessions.values())).ends <= now:
            self._drop(*sessions.popitem(last=False))
        while counted and next(iter(counted.values())).ends <= now:
            counted.popitem(last=False)
        return now

    def _reservation(self, holder: Holder) -> _Reservation | None:
        self.release(holder.session, holder.message)
        return self._sessions.get(holder.session)

    def _drop(self, _session: str, reservation: _Reservation) -> None:
        for window, amount in reservation.held.values():
            window.pending -= amount

    def _shortage(
        self,
        claims: Sequence[Claim],
        wanted: Sequence[tuple[Key, Window]],
        amount: Amount,
        held: dict[Key, tuple[Window, int]],
        now: float,
    ) -> Shortage | None:
        worst: Shortage | None = None
        for claim, (key, window) in zip(claims, wanted, strict=True):
            limit = claim.limit
            take = amount.messages if limit.unit is Unit.MESSAGES else amount.recipients
            if key in held:
                take -= held[key][1]
            used = window.used(now) + window.pending
            if take > 0 and used + take > limit.count:
                opens = window.opens_in(take, limit.count, now)
                if amount.of(limit.unit) > limit.count:
                    opens = None
                if worst is None or opens is None or _later(opens, worst):
                    worst = Shortage(claim, used, opens)
        return worst

    def _window(self, claim: Claim, now: float) -> tuple[Key, Window]:
        key = claim.key
        window = self._windows.get(key)
        if window is not None:
            return key, window
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


def _later(opens: float, than: Shortage) -> bool:
    return than.opens_in_s is not None and opens > than.opens_in_s
