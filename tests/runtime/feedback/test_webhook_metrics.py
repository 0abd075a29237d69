"""What is exported of webhooks is counted from zero and has bounds."""

from __future__ import annotations

import pytest

from gatepost.runtime.feedback import webhook_metrics
from gatepost.runtime.feedback.webhook_metrics import WebhookMetrics
from gatepost.runtime.metrics import OTHER, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"gatepost_{name}", labels)


def test_counts_and_lags() -> None:
    metrics = Metrics("back")
    webhooks = WebhookMetrics(metrics, lambda: {"a": 12.5, "b": 0})
    webhooks.expect(["a", "b"])
    assert value(metrics, "webhook_batches_total", webhook="b", result="given-up") == 0
    webhooks.tried("a", "ok", 7)
    webhooks.tried("a", "failed", 9)
    assert value(metrics, "webhook_batches_total", webhook="a", result="ok") == 1
    assert value(metrics, "webhook_batches_total", webhook="a", result="failed") == 1
    assert value(metrics, "webhook_events_total", webhook="a") == 7
    assert value(metrics, "webhook_lag_seconds", webhook="a") == 12.5
    assert value(metrics, "webhook_lag_seconds", webhook="b") == 0


def test_beyond_the_limit_webhooks_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_metrics, "MAX_WEBHOOKS", 1)
    metrics = Metrics("back")
    webhooks = WebhookMetrics(metrics, lambda: {"a": 1, "b": 2})
    webhooks.expect(["a"])
    for name in ("a", "b", "c"):
        webhooks.tried(name, "ok", 3)
    assert value(metrics, "webhook_batches_total", webhook="a", result="ok") == 1
    assert value(metrics, "webhook_batches_total", webhook="b", result="ok") is None
    assert value(metrics, "webhook_batches_total", webhook=OTHER, result=OTHER) == 2
    assert value(metrics, "webhook_events_total", webhook="b") is None
    assert value(metrics, "webhook_lag_seconds", webhook="b") is None
