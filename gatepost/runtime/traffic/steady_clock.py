"""The clock of quotas: it never steps, and goes on where it was after a restart.

Purpose: a clock that is set forward must not empty all windows, and one that is set back must not
keep them shut.
Source: clock_gettime(2), CLOCK_BOOTTIME; random(4), boot_id.
Format: seconds. Within one boot it runs with the time since the boot, whatever the wall clock does.
After another boot it goes on from the last mark by as much as the wall clock has gone on since, and
not at all if that has gone back.
Errors: none; a host without a boot id is taken for one that was booted anew.
Not handled: a wall clock that is wrong by hours at a boot, which nothing here can tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gatepost.store.quotas import ClockMark

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the clock goes by.

    Attributes:
        boot: Name of the boot, or empty.
        since_boot: Returns seconds since then.
        wall: Returns Unix time in seconds.
    """

    boot: str
    since_boot: Callable[[], float]
    wall: Callable[[], float]


def system_sources() -> Sources:
    """Return those of this host."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = ""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Sources(boot, lambda: time.clock_gettime(clock), time.time)


class SteadyClock:
    """Tells the time; begins with that of the wall until there is a mark to go on from."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._offset = sources.wall() - sources.since_boot()

    def __call__(self) -> float:
        """Return the time."""
        return self._sources.since_boot() + self._offset

    def resume(self, mark: ClockMark | None) -> None:
        """Go on from a mark; from none, as it is."""
        if mark is None:
            return
        sources = self._sources
        since_boot = sources.since_boot()
        if mark.boot == sources.boot and sources.boot and since_boot >= mark.since_boot:
            passed = since_boot - mark.since_boot
        else:
            passed = max(sources.wall() - mark.wall, 0.0)
        self._offset = mark.at + passed - since_boot

    def mark(self) -> ClockMark:
        """Return where it is."""
        sources = self._sources
        since_boot = sources.since_boot()
        return ClockMark(sources.boot, since_boot, since_boot + self._offset, sources.wall())
