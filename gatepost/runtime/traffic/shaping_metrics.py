"""The metrics of shaping.

Source: see `metrics`, whose registry they are in.
Limits: 64 rules by name; further ones are counted together.
Errors: none.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from gatepost.runtime.metrics import MAX_VALUES, PREFIX, Metrics, Tally

PASSED, WAITED, DEFERRED, OBSERVED = "passed", "waited", "deferred", "observed"


class ShapingMetrics:
    """What the back role counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._pairs = Gauge(
            f"{PREFIX}shaping_slowed_pairs",
            "Pairs of lane and provider that are slowed, whatever the mode.",
            registry=metrics.registry,
        )
        self._strikes = Tally(
            Counter(
                f"{PREFIX}shaping_strikes",
                "How often a rule has slowed a pair, by rule.",
                ["rule"],
                registry=metrics.registry,
            ),
            limit=MAX_VALUES,
        )

    def slowed(self, pairs: int) -> None:
        """Say how many pairs are slowed."""
        self._pairs.set(pairs)

    def struck(self, rule: str) -> None:
        """Count that a rule has slowed a pair."""
        self._strikes[rule]()


def count_held(metrics: Metrics) -> Tally:
    """Return what counts deliveries of slowed pairs, by what became of them."""
    tally = Tally(
        Counter(
            f"{PREFIX}shaping_deliveries",
            "Deliveries of slowed pairs: passed at once, waited for a turn, deferred; or observed, "
            "which would have been deferred.",
            ["result"],
            registry=metrics.registry,
        ),
        limit=MAX_VALUES,
    )
    tally.expect(PASSED, WAITED, DEFERRED, OBSERVED)
    return tally
