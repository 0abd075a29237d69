"""What the sheets say, as objects: who is in burst, and what is outstanding of whom.

Purpose: the policy server, the commands and the API read the same two files in the same way.
Format: section ``backlog`` of ``traffic.json``: ``{"as_of": …, "reader": …, "whole": …, "tenants":
{ID: [messages, recipients, oldest, arrived, others]}}``, times in seconds since the boot but for
``oldest``; the largest `MAX_TOLD` tenants. Section ``burst`` of ``burst.json``: ``{"tenants": {ID:
[since, why, base]}, "changes": [{…}]}``, the last `MAX_CHANGES`.
Limits: what was read from the log more than `OLD_S` ago is not known any more.
Errors: none. What is not as it must be is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gatepost.runtime.paths import burst_path, traffic_path
from gatepost.runtime.traffic.sheet import SheetWatch, since_boot
from gatepost.snapshot import Snapshot
from gatepost.traffic.outstanding import Reading, Told
from gatepost.traffic.state import NO_BACKLOG, Backlog, Moved

BACKLOG: Final = "backlog"
BURST: Final = "burst"
MAX_TOLD: Final = 5_000
MAX_CHANGES: Final = 100
OLD_S: Final = 60.0

Kept = dict[str, tuple[float, str, int]]


def reading_of(data: Any, now: float) -> Reading | None:
    """Return what the log tells, or None if that is not known.

    Args:
        data: The section, or None.
        now: Seconds since the boot.
    """
    return still_known(parse_reading(data), now)


def parse_reading(data: Any) -> Reading | None:
    """Return what the section says, however old it is, or None if it says nothing."""
    try:
        tenants = {
            str(tenant_id): Told(Backlog(int(row[0]), int(row[1]), float(row[2])), row[3], row[4])
            for tenant_id, row in data["tenants"].items()
        }
        return Reading(float(data["as_of"]), str(data["reader"]), tenants, bool(data["whole"]))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError):
        return None


def still_known(reading: Reading | None, now: float) -> Reading | None:
    """Return a reading, or None if it is too old by now (seconds since the boot)."""
    return None if reading is None or now - reading.as_of > OLD_S else reading


def kept_of(data: Any) -> Kept:
    """Return who is in burst: since when, why, and from which backlog."""
    try:
        return {
            str(tenant_id): (float(since), str(why), int(base))
            for tenant_id, (since, why, base) in data["tenants"].items()
        }
    except (TypeError, KeyError, ValueError, AttributeError):
        return {}


class SheetTraffic:
    """What is known of traffic, for who only looks on; implements `TrafficState`."""

    def __init__(self, run_dir: Path, *, clock: Callable[[], float] = since_boot) -> None:
        """Read both sheets.

        Args:
            run_dir: Where they are.
            clock: Seconds since the boot.
        """
        self._clock = clock
        self._traffic = SheetWatch(traffic_path(run_dir), clock=clock)
        self._burst = SheetWatch(burst_path(run_dir), clock=clock)
        self._reading: Reading | None = None
        self._kept: Kept = {}
        self.look()

    def look(self) -> None:
        """Read them again if they are others."""
        self._traffic.look()
        self._burst.look()
        self._reading = reading_of(self._traffic.section(BACKLOG), self._clock())
        self._kept = kept_of(self._burst.section(BURST))

    @property
    def known(self) -> bool:
        """Tell whether backlogs are known."""
        return self._reading is not None

    @property
    def is_measured(self) -> bool:
        """Tell whether the policy server says who is in burst."""
        return self._burst.section(BURST) is not None

    def backlogs(self) -> Mapping[str, Backlog]:
        """Return what is outstanding, of the tenants of whom anything is."""
        if self._reading is None:
            return {}
        return {
            tenant_id: told.backlog
            for tenant_id, told in self._reading.tenants.items()
            if told.backlog.messages
        }

    def bursts(self) -> Mapping[str, Moved]:
        """Return who is in burst."""
        return {id_: Moved(since, why) for id_, (since, why, _) in self._kept.items()}

    def in_burst(self, tenant_id: str) -> Moved | None:
        """Return since when and why a tenant is in burst, or None if it is not."""
        found = self._kept.get(tenant_id)
        return None if found is None else Moved(found[0], found[1])

    def backlog(self, tenant_id: str) -> Backlog | None:
        """Return what is outstanding of a tenant, or None where nobody knows."""
        if self._reading is None:
            return None
        told = self._reading.tenants.get(tenant_id)
        return NO_BACKLOG if told is None else told.backlog

    def over_warmup(self, key: str) -> bool:
        """Tell whether what was sent under a warm-up is over its cap of today."""
        return is_over(self._burst.section(WARMUP), key)


WARMUP: Final = "warmup"


def is_over(data: Any, key: str) -> bool:
    """Tell whether a section of warm-ups says that one is over its cap of today."""
    return isinstance(data, Mapping) and key in data.get("over", ())


def unknown_traffic(traffic: SheetTraffic, snapshot: Snapshot) -> list[str]:
    """Return what of the traffic is not known although the configuration asks for it."""
    rules = snapshot.bursts
    found = []
    if (rules.burst or rules.bursts) and not traffic.is_measured:
        found.append("the policy server does not say who is in burst, so nobody is taken to be")
    if rules.asks_for_backlog and not traffic.known:
        found.append("the back role does not say what is outstanding, so no backlog is full")
    return found
