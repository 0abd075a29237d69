"""What is exported of webhooks.

Limits: 1,000 webhooks by name; further ones are counted together as `metrics.OTHER`, and their lag
is not shown.
Errors: counting never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.runtime.metrics import MAX_TENANTS, PREFIX, Metrics, Tally

MAX_WEBHOOKS = MAX_TENANTS
RESULTS = ("ok", "failed", "given-up", "gone")


class WebhookMetrics:
    """Counts what webhooks do."""

    def __init__(self, metrics: Metrics, lags: Callable[[], Mapping[str, float]]) -> None:
        """Declare the metrics.

        Args:
            metrics: Where.
            lags: Returns, by webhook, how old the first event is that was not told, in seconds.
        """
        labels = ["webhook", "result"]
        tries = Counter(
            f"{PREFIX}webhook_batches",
            "Tries to send a batch of events, by webhook and result; given-up are dead letters.",
            labels,
            registry=metrics.registry,
        )
        self._tries = Tally(tries, width=2, limit=MAX_WEBHOOKS * len(RESULTS))
        told = Counter(
            f"{PREFIX}webhook_events",
            "Events that a webhook's consumer took.",
            ["webhook"],
            registry=metrics.registry,
        )
        self._told = told
        metrics.registry.register(_Lags(lags))

    def expect(self, names: Iterable[str]) -> None:
        """Begin to count webhooks at zero."""
        for name in names:
            self._tries.expect(*((name, result) for result in RESULTS))

    def tried(self, name: str, result: str, events: int) -> None:
        """Count one try to send so many events."""
        self._tries[name, result]()
        if result == RESULTS[0] and (name, result) in self._tries:
            self._told.labels(name).inc(events)


class _Lags(Collector):
    def __init__(self, lags: Callable[[], Mapping[str, float]]) -> None:
        self._lags = lags

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        family = GaugeMetricFamily(
            f"{PREFIX}webhook_lag_seconds",
            "How old the first event is that a webhook's consumer has not taken; 0 for none.",
            labels=["webhook"],
        )
        for name, seconds in list(self._lags().items())[:MAX_WEBHOOKS]:
            family.add_metric([name], seconds)
        yield family
