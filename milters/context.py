"""What the callbacks of all connections share.

Purpose: callbacks run on libmilter's threads, which give them nothing but a connection. `Shared`
holds what belongs to no connection: configuration, recorder, metrics, admission client.
Errors: none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from gatepost.decisions.actions import Admission, Plan
from gatepost.decisions.facts import MessageFacts
from gatepost.decisions.message import wanted_headers
from gatepost.feedback.status import NO_STATUSES, Statuses
from gatepost.modes import Recorder
from gatepost.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class View:
    """One configuration as the callbacks need it; a message keeps the one that it started with."""

    snapshot: Snapshot
    wanted: frozenset[str]


class Views:
    """Makes the `View` for the current snapshot, once per reload.

    Args:
        current: Returns the snapshot in force; called for every message, so it must be cheap.
    """

    def __init__(self, current: Callable[[], Snapshot]) -> None:
        self._current = current
        snapshot = current()
        self._view = View(snapshot, wanted_headers(snapshot))

    def now(self) -> View:
        """Return the view of the snapshot in force."""
        snapshot = self._current()
        view = self._view
        if view.snapshot is not snapshot:
            # Two threads may both build it; either result is right, and assignment is atomic.
            view = self._view = View(snapshot, wanted_headers(snapshot))
        return view


class InFlight:
    """Counts messages between MAIL FROM and their end, so that a stop can wait for them.

    Messages that begin during a stop do not count: on a busy host there would be no end of them.
    """

    def __init__(self) -> None:
        self._count = 0
        self._stopping = False
        self._changed = threading.Condition()

    @property
    def count(self) -> int:
        """Return how many messages are in hand."""
        return self._count

    def enter(self) -> bool:
        """Note that a message has begun, and tell whether it counts and has to `leave`."""
        with self._changed:
            if not self._stopping:
                self._count += 1
            return not self._stopping

    def leave(self) -> None:
        """Note that a message which counts has ended, in whatever way."""
        with self._changed:
            self._count -= 1
            if not self._count:
                self._changed.notify_all()

    def wait_idle(self, seconds: float) -> bool:
        """Stop counting and wait until no message is in hand; tell whether it came in time."""
        with self._changed:
            self._stopping = True
            return self._changed.wait_for(lambda: not self._count, seconds)


@dataclass(frozen=True, slots=True)
class Shared:
    """What callbacks use beside their own connection.

    Attributes:
        views: The configuration.
        recorder: Takes observations.
        admit: Asks the policy server about a message of a platform login or of a campaign (tenant
            id, facts, campaign or empty); raises `PolicyUnavailable`.
        count: Counts one message by verdict: ``accept``, ``reject``, ``tempfail``, ``error``.
        clock: Unix time in seconds.
        in_flight: Messages in hand.
        statuses: Returns which tenants are paused.
        accepted: Takes each message that passes: the facts, what was done, the configuration.
    """

    views: Views
    recorder: Recorder
    admit: Callable[[str, MessageFacts, str], Admission]
    count: Callable[[str], None]
    clock: Callable[[], float]
    in_flight: InFlight = field(default_factory=InFlight)
    statuses: Callable[[], Statuses] = lambda: NO_STATUSES
    accepted: Callable[[MessageFacts, Plan, Snapshot], None] = lambda *_: None
