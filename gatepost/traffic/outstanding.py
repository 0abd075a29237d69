"""What is outstanding of a tenant, between two readings of the log.

Purpose: the log tells of a message a moment after it was taken. Until then the policy server, which
took it, adds it to what the log told last, so that a flood does not run past its cap.
Format: each reading counts, of each tenant, the messages that have come since the reader began; as
many of those that wait here are in it. They leave oldest first.
Limits: a message that never appears, such as one whose client went away, is forgotten when the log
was read `KEEP_S` past it: until then the backlog is taken for larger than it is by as many. Of a
tenant that a reading does not name, what is `UNNAMED_S` older than it is in it.
Errors: none. All times are seconds since the boot, which all processes have in common.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gatepost.traffic.burst import Cap
from gatepost.traffic.quota import Unit
from gatepost.traffic.state import NO_BACKLOG, Backlog

KEEP_S: Final = 10.0
UNNAMED_S: Final = 2.0
# One step of what waits here; finer tells nothing more, as a reading comes once a second.
_STEP_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Told:
    """What the log tells of one tenant.

    Attributes:
        backlog: What is outstanding.
        arrived: Messages by SMTP that have come since the reader began.
        others: Messages that have come otherwise, likewise.
    """

    backlog: Backlog = NO_BACKLOG
    arrived: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the log tells of all tenants.

    Attributes:
        as_of: Up to when the log was read.
        reader: Which reader counts; another one begins at zero.
        tenants: By tenant id; who is not in it has nothing outstanding, or too little to be told,
            and its counts begin at zero when it is in one again.
        whole: Whether nobody was left out for having too little.
    """

    as_of: float
    reader: str
    tenants: Mapping[str, Told] = field(default_factory=dict)
    whole: bool = True


_NOTHING: Final = Told()


class _Waiting:
    """What of one tenant was taken and is in no reading yet: steps, oldest first, and the present.

    Attributes:
        messages: How many, in all of them.
        recipients: Likewise.
    """

    __slots__ = ("_at", "_messages", "_recipients", "_steps", "messages", "recipients")

    def __init__(self, now: float) -> None:
        # Each is when it began, messages, recipients.
        self._steps: deque[tuple[float, int, int]] = deque()
        # The step to which is added, apart from the others because that is done for each message.
        self._at = now
        self._messages = self._recipients = 0
        self.messages = self.recipients = 0

    def add(self, messages: int, recipients: int, now: float) -> None:
        if now - self._at >= _STEP_S:
            self._close(now)
        self._messages += messages
        self._recipients += recipients
        self.messages += messages
        self.recipients += recipients

    def take(self, messages: int) -> None:
        """Let so many messages go, with their share of the recipients."""
        self._close(self._at)
        steps = self._steps
        while messages > 0 and steps:
            began, most, recipients = steps[0]
            if most <= messages:
                messages -= most
                self._drop()
                continue
            share = recipients * messages // most
            steps[0] = began, most - messages, recipients - share
            self.messages -= messages
            self.recipients -= share
            return

    def take_until(self, at: float) -> None:
        """Let go what was taken before a time."""
        self._close(self._at)
        while self._steps and self._steps[0][0] < at:
            self._drop()

    def _close(self, now: float) -> None:
        """Put the present step to the others, and begin another."""
        if self._messages or self._recipients:
            self._steps.append((self._at, self._messages, self._recipients))
            self._messages = self._recipients = 0
        self._at = now

    def _drop(self) -> None:
        _, messages, recipients = self._steps.popleft()
        self.messages -= messages
        self.recipients -= recipients


class Outstanding:
    """What is outstanding of tenants, as of now."""

    def __init__(self) -> None:
        self._reading: Reading | None = None
        self._waiting: dict[str, _Waiting] = {}
        # What was told of each tenant last, by the same reader.
        self._seen: dict[str, Told] = {}

    @property
    def known(self) -> bool:
        """Tell whether there is a reading."""
        return self._reading is not None

    @property
    def waiting(self) -> int:
        """How many messages are in no reading yet."""
        return sum(each.messages for each in self._waiting.values())

    def large(self) -> list[str]:
        """Return the tenants of the reading."""
        return [] if self._reading is None else list(self._reading.tenants)

    def accept(self, tenant_id: str, messages: int, recipients: int, now: float) -> None:
        """Add what was taken just now; nothing as long as there is no reading."""
        if self._reading is None:
            return
        found = self._waiting.get(tenant_id)
        if found is None:
            found = self._waiting[tenant_id] = _Waiting(now)
        found.add(messages, recipients, now)

    def is_full(self, tenant_id: str, cap: Cap) -> bool:
        """Tell whether as much of a tenant is outstanding as may be; False where nobody knows."""
        reading = self._reading
        if reading is None:
            return False
        told, waiting = reading.tenants.get(tenant_id), self._waiting.get(tenant_id)
        if cap.unit is Unit.MESSAGES:
            found = 0 if told is None else told.backlog.messages
            return found + (0 if waiting is None else waiting.messages) >= cap.count
        found = 0 if told is None else told.backlog.recipients
        return found + (0 if waiting is None else waiting.recipients) >= cap.count

    def of(self, tenant_id: str) -> Backlog | None:
        """Return what is outstanding of a tenant, or None where nobody knows."""
        reading = self._reading
        if reading is None:
            return None
        told = reading.tenants.get(tenant_id)
        backlog = NO_BACKLOG if told is None else told.backlog
        waiting = self._waiting.get(tenant_id)
        if waiting is None:
            return backlog
        return Backlog(
            backlog.messages + waiting.messages,
            backlog.recipients + waiting.recipients,
            backlog.oldest,
        )

    def read(self, reading: Reading | None) -> dict[str, int]:
        """Go by a new reading, or by none; return what has come otherwise than by SMTP since.

        Args:
            reading: What the log tells, or None if nothing is known any more.
        """
        before, self._reading = self._reading, reading
        if reading is None:
            self._waiting.clear()
            self._seen.clear()
            return {}
        first = before is None or before.reader != reading.reader
        if first:
            self._seen.clear()
        others = self._arrive(reading, first=first)
        for tenant_id, waiting in list(self._waiting.items()):
            # How many had come before the first reading is not known.
            named = tenant_id in reading.tenants and not first
            waiting.take_until(reading.as_of - (KEEP_S if named else UNNAMED_S))
            if not (waiting.messages or waiting.recipients):
                del self._waiting[tenant_id]
        if reading.whole:
            for tenant_id in self._seen.keys() - reading.tenants.keys():
                del self._seen[tenant_id]
        return others

    def _arrive(self, reading: Reading, *, first: bool) -> dict[str, int]:
        """Let go what a reading tells of, and return what has come otherwise."""
        others = {}
        for tenant_id, told in reading.tenants.items():
            seen = self._seen.get(tenant_id, told if first else _NOTHING)
            if told.arrived < seen.arrived or told.others < seen.others:
                # The reader had forgotten it meanwhile.
                seen = _NOTHING
            self._seen[tenant_id] = told
            if told.others > seen.others:
                others[tenant_id] = told.others - seen.others
            waiting = self._waiting.get(tenant_id)
            if waiting is not None and not first:
                waiting.take(told.arrived - seen.arrived)
        return others
