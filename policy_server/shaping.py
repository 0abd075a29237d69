"""Holds back deliveries of slowed pairs, for the handlers.

Purpose: a TLS map is asked once before each connection, by the service of a lane and with the
next-hop: the one place where Postfix tells lane and destination together. What may go gets its
answer, a few wait for theirs, and the rest is told to come again: Postfix defers it.
Format of the log line: ``slowed lane=… provider=… rate=… until=… deferred=N waited=N why="…"``, at
most once a minute for a pair. Postfix itself logs the reply, see `gatepost.wire.socketmap.Temp`.
Limits: see `gatepost.traffic.shaping_gate`.
Errors: none. Where nothing is known of a pair or of a next-hop, nothing is held back.
Security: holding back is all that this does; what TLS is asked of the delivery is not its business.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from gatepost.decisions.shaping import provider_name
from gatepost.modes import Feature, Mode, Observation, Recorder
from gatepost.runtime.log import clean, log_event
from gatepost.runtime.traffic.shaping_metrics import DEFERRED, OBSERVED, PASSED, WAITED
from gatepost.snapshot import Snapshot
from gatepost.tls.nexthop import nexthop_domain
from gatepost.traffic.shaping import Slowed, in_words
from gatepost.traffic.shaping_gate import Gate, Pair

TELL_EVERY_S: Final = 60.0
_MAX_PROVIDER: Final = 64

_log = logging.getLogger("gatepost.shaping")


class SlowedPairs(Protocol):
    """Which pairs are slowed."""

    def is_slowed(self, lane: str) -> bool:
        """Tell whether any pair of a lane may be."""

    def rate_of(self, lane: str, provider: str) -> tuple[Slowed, float] | None:
        """Return who holds a pair back and how many deliveries a minute may pass, or None."""


class Hosts(Protocol):
    """Where next-hops lead to."""

    async def host_of(self, key: str) -> str | None:
        """Return the preferred mail server of a next-hop, or None if that is not known."""


class _Told:
    """What became of a pair's deliveries since that was logged."""

    def __init__(self) -> None:
        self.at = float("-inf")
        self.counts = dict.fromkeys((DEFERRED, WAITED, OBSERVED), 0)


class ShapingCheck:
    """Lets pass, lets wait, or sends back; to be used within one event loop."""

    def __init__(
        self,
        pairs: SlowedPairs,
        hosts: Hosts,
        recorder: Recorder,
        count: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            pairs: Which pairs are slowed.
            hosts: Where next-hops lead to.
            recorder: Takes observations.
            count: Counts a delivery, by what became of it.
            clock: Unix time in seconds.
            steady: Seconds of a clock that only goes forward.
        """
        self._pairs = pairs
        self._hosts = hosts
        self._recorder = recorder
        self._count = count
        self._clock = clock
        self._steady = steady
        # One for each mode: what is observed takes no turn away.
        self._gates = {Mode.ENFORCE: Gate(), Mode.OBSERVE: Gate()}
        self._told: dict[Pair, _Told] = {}
        self._stopping = asyncio.Event()

    def concerns(self, lane: str | None, key: str, snapshot: Snapshot) -> bool:
        """Tell whether a delivery may have to wait, so that `admit` has to be asked.

        Args:
            lane: The lane of the service that asks, or None if it does not tell.
            key: The key of the map; Postfix asks for parents of a next-hop with a leading dot.
            snapshot: The configuration.
        """
        return (
            lane is not None
            and snapshot.modes.lane is not Mode.OFF
            and not key.startswith(".")
            and self._pairs.is_slowed(lane)
        )

    async def admit(self, lane: str, key: str, snapshot: Snapshot) -> str | None:
        """Return None once a delivery may go, or why it has to come again.

        Args:
            lane: The lane.
            key: The next-hop.
            snapshot: The configuration.
        """
        provider = await self._provider(key, snapshot)
        found = self._pairs.rate_of(lane, provider) if provider else None
        if provider is None or found is None:
            return None
        slowed, rate = found
        pair, mode = (lane, provider), snapshot.modes.lane
        gate = self._gates[mode]
        wait_s = gate.ask(pair, rate, self._steady())
        if wait_s is None:
            return self._refused(pair, slowed, rate, mode, key)
        if wait_s == 0 or mode is Mode.OBSERVE:
            if wait_s:
                gate.left(pair)
            self._count(PASSED)
            return None
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
            return f"lane {lane} to {clean(provider, _MAX_PROVIDER)} is slowed, and Gatepost stops"
        except TimeoutError:
            self._tell(pair, slowed, rate, WAITED)
            return None
        finally:
            gate.left(pair)

    def stop(self) -> None:
        """Send back who waits."""
        self._stopping.set()

    async def _provider(self, key: str, snapshot: Snapshot) -> str | None:
        domain = nexthop_domain(key) or ""
        if domain and (group := snapshot.shaping.group_of_domain(domain)) is not None:
            return group
        host = await self._hosts.host_of(key)
        return None if host is None else provider_name(domain, host, snapshot.shaping)

    def _refused(self, pair: Pair, slowed: Slowed, rate: float, mode: Mode, key: str) -> str | None:
        lane, provider = pair
        said = f"lane {lane} to {clean(provider, _MAX_PROVIDER)} is {in_words(rate)}"
        said += f" and free again at {moment(slowed.until)}"
        if mode is Mode.OBSERVE:
            self._tell(pair, slowed, rate, OBSERVED)
            self._recorder.record(
                Observation(
                    self._clock(),
                    "",
                    Feature.LANE,
                    "defer",
                    f"{said}: {clean(slowed.why, 80)}",
                    recipient=f"@{nexthop_domain(key) or clean(key, 100)}",
                )
            )
            return None
        self._tell(pair, slowed, rate, DEFERRED)
        return f"{said}, see gatepost shaping list"

    def _tell(self, pair: Pair, slowed: Slowed, rate: float, what: str) -> None:
        """Count, and log once a minute."""
        self._count(what)
        told = self._told.get(pair)
        if told is None:
            if len(self._told) >= 10_000:
                self._told.clear()
            told = self._told[pair] = _Told()
        told.counts[what] += 1
        now = self._steady()
        if now < told.at + TELL_EVERY_S:
            return
        told.at = now
        counts, told.counts = told.counts, dict.fromkeys(told.counts, 0)
        log_event(
            _log,
            logging.INFO,
            "slowed",
            lane=pair[0],
            provider=pair[1],
            rate=in_words(rate),
            until=moment(slowed.until),
            **{name: count for name, count in counts.items() if count},
            why=slowed.why,
        )


def moment(at: float) -> str:
    """Return a Unix time as it stands in replies, in UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
