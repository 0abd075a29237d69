"""Counters that several nodes share, in the process that answers mail: made, watched, told of.

Purpose: one log line and the metrics when Valkey decides no more, and when it does again.
Errors: none; see `gatepost.traffic.valkey`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import Counter, Gauge

from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import PREFIX, Metrics
from gatepost.store.quotas import FleetMark
from gatepost.traffic.valkey import ValkeyCounters
from gatepost.traffic.valkey_link import Link
from gatepost.traffic.valkey_target import Target

# A start waits for the first answer, so that not even one message is counted alone.
PATIENCE_S: Final = 0.5

_log = logging.getLogger("gatepost.quota")


class FleetCounters:
    """Shared counters, and all around them; to be used on the thread of the event loop alone.

    Args:
        target: Where they are.
        clock: The clock of this node's counters.
        metrics: Where to count.

    Attributes:
        counters: The counters.
    """

    def __init__(self, target: Target, clock: Callable[[], float], metrics: Metrics) -> None:
        self._target = target
        self._metrics = metrics
        self._alone_since: float | None = None
        self._reason = ""
        self._joined = False
        self.counters = ValkeyCounters(Link(target), clock, nodes=target.nodes)
        ears = self.counters.calls.ears
        ears.interrupted, ears.joined, ears.broken = self._interrupted, self._has_joined, _broken
        self._watch(metrics)

    async def start(self) -> None:
        """Begin to share."""
        await self.counters.calls.start(PATIENCE_S)

    async def stop(self) -> None:
        """Leave."""
        await self.counters.calls.stop()

    def mark(self) -> FleetMark:
        """Return what a restart has to know."""
        calls = self.counters.calls
        return FleetMark(calls.era, calls.nodes)

    def resume(self, mark: FleetMark | None) -> None:
        """Go on from a mark, unless Valkey was heard since; from none, as it is."""
        if mark is not None and not self.counters.calls.era:
            self.counters.calls.era = mark.era
            self.counters.calls.heard_of(mark.nodes)

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        calls, alone = self.counters.calls, self.counters.alone
        found: dict[str, Any] = {
            "url": self._target.shown,
            "node": self._target.node,
            "shared": calls.shared,
            "nodes": calls.nodes,
            "unsent": calls.unsent,
        }
        if not calls.shared:
            found |= {"share": f"1/{alone.nodes}", "reason": self._reason}
        return found

    def _interrupted(self, reason: str) -> None:
        self._reason = reason
        if self._alone_since is not None:
            # It was told already, and is tried again every two seconds.
            return
        self._alone_since = time.monotonic()
        self._metrics.error("counters")
        log_event(
            _log,
            logging.WARNING,
            "counters-alone",
            counters=self._target.shown,
            reason=reason,
            share=f"1/{self.counters.alone.nodes}",
        )

    def _has_joined(self, told: int) -> None:
        if self._alone_since is None and self._joined:
            return
        after = None
        if self._alone_since is not None:
            after = round(time.monotonic() - self._alone_since, 1)
        self._alone_since, self._joined = None, True
        log_event(
            _log,
            logging.INFO,
            "counters-shared",
            counters=self._target.shown,
            nodes=self.counters.calls.nodes,
            after_s=after,
            told=told,
        )

    def _watch(self, metrics: Metrics) -> None:
        calls = self.counters.calls
        for name, text, value in (
            (
                "counters_shared",
                "1 if Valkey decides; at 0, this node alone.",
                lambda: calls.shared,
            ),
            ("counters_nodes", "Nodes that share counters, as last heard.", lambda: calls.nodes),
            ("counters_unsent", "Counters that Valkey has to be told.", lambda: calls.unsent),
        ):
            Gauge(PREFIX + name, text, registry=metrics.registry).set_function(value)
        alone = Counter(
            f"{PREFIX}counters_decided_alone",
            "Answers about quotas that this node gave without Valkey.",
            registry=metrics.registry,
        )
        self.counters.on_alone = alone.inc


def _broken(error: Exception) -> None:
    _log.error("quota-failed", exc_info=error)
