"""Events of tenants that were moved to another lane and back: from the policy server's sheet.

Purpose: the policy server decides who is moved, and writes to no store on the way of mail; the back
role makes events of what stands on its sheet.
Format: ``tenant.lane_changed`` with ``from``, ``to``, ``why`` and ``mode``. What would have
happened in mode observe is told to the platform alone, with the tenant among the details.
Limits: the last `MAX_CHANGES` stand on the sheet; if more happen while the store is away, the first
of them are told in the log only.
Errors: `StoreUnavailable`, to `Hourly`, who tries again; what is stored twice is one event.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gatepost.feedback.event_ids import event_id
from gatepost.feedback.events import Event, EventKind
from gatepost.modes import Mode
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.paths import burst_path
from gatepost.runtime.traffic.reading import BURST
from gatepost.runtime.traffic.sheet import SheetWatch
from gatepost.store.events import EventStore

EVERY_S: Final = 2.0
_WORDS: Final = ("from", "to", "why", "mode")


class LaneEvents(Hourly):
    """Stores events, until `stop`."""

    def __init__(
        self,
        run_dir: Path,
        open_store: Callable[[], EventStore],
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
    ) -> None:
        """Start the thread.

        Args:
            run_dir: Where the sheet is.
            open_store: Opens the store, on the thread that uses it.
            metrics: Where failures are counted.
            every_s: Seconds between two looks.
        """
        self._watch = SheetWatch(burst_path(run_dir))
        self._open_store = open_store
        self._store: EventStore | None = None
        self._stored: set[str] = set()
        super().__init__("lane-events", self._look, metrics, first_s=0.0, every_s=every_s)

    def _look(self) -> None:
        self._watch.look()
        found = events_of(self._watch.last(BURST))
        new = [each for each in found if each.id not in self._stored]
        if not new:
            return
        if self._store is None:
            self._store = self._open_store()
        self._store.add(new)
        self._stored = {each.id for each in found}


def events_of(data: Any) -> list[Event]:
    """Return the events of what a sheet says; what is not as it must be is left out."""
    changes = data.get("changes") if isinstance(data, dict) else None
    if not isinstance(changes, list):
        return []
    found = []
    for change in changes:
        try:
            at, tenant = float(change["at"]), str(change["tenant"])
            details: dict[str, str | int | float] = {word: str(change[word]) for word in _WORDS}
        except (TypeError, KeyError, ValueError):
            continue
        key = event_id("lane", tenant, str(details["to"]), repr(at))
        if details["mode"] == Mode.OBSERVE.value:
            details["tenant"], tenant = tenant, ""
        found.append(Event(key, EventKind.LANE_CHANGED, at, tenant, details=details))
    return found
