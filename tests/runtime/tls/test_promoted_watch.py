"""A destination of a promoted rule that drops TLS is told once, counted, and told to be back."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.maillog.evidence import Batch, LogPosition, Record
from gatepost.maillog.model import TlsClass
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.tls.promoted_watch import PromotedWatch
from gatepost.store.open import open_deliveries, open_survey
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import PromotedRule

DAY = 86_400.0
NOW = 1_800_000_000.0
RULES = {"a.example": PromotedRule(Requirement(Level.ENCRYPT), NOW - 9 * DAY, NOW + 9 * DAY)}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def seen(url: str) -> Callable[[TlsClass, float], None]:
    """Store a delivery."""

    def seen(tls: TlsClass, at: float) -> None:
        record = Record(
            at, "Q", "acme", "u@a.example", "a.example", "mx.a.example", "192.0.2.1", "a.example",
            "smtp", tls,
        )  # fmt: skip
        with contextlib.closing(open_deliveries(url)) as store:
            assert store.add(Batch([record], LogPosition(str(at), 0, 1, "")))

    return seen


def watch(
    url: str, rules: dict[str, PromotedRule], **times: float
) -> tuple[PromotedWatch, Metrics]:
    metrics = Metrics("back")
    made = PromotedWatch(
        lambda: rules,
        lambda: open_deliveries(url),
        lambda: open_survey(url),
        metrics,
        **{"first_s": 3600.0, **times},
    )
    return made, metrics


def gauge(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("gatepost_promoted_dropped", {"role": "back"})


def test_a_drop_is_told_once_and_so_is_the_end_of_it(
    url: str, seen: Callable[[TlsClass, float], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made, metrics = watch(url, RULES)
    seen(TlsClass.ENCRYPTED, NOW - 300)
    made.look(NOW)
    assert (caplog.messages, made.dropped()) == ([], [])
    seen(TlsClass.REFUSED, NOW - 200)
    made.look(NOW)
    made.look(NOW + 1)
    [line] = caplog.messages
    assert line.startswith("promoted-dropped domain=a.example asked=encrypt downgrade=defer why=")
    assert gauge(metrics) == 1.0
    assert made.dropped() == [
        "a.example no longer offers what its promoted rule asks for; run gatepost tls promote"
    ]
    seen(TlsClass.ENCRYPTED, NOW - 100)
    made.look(NOW)
    assert caplog.messages[1:] == ["promoted-recovered domain=a.example"]
    assert made.dropped() == []
    made.stop()


def test_rules_that_ended_and_others_are_of_no_interest(
    url: str, seen: Callable[[TlsClass, float], None], caplog: pytest.LogCaptureFixture
) -> None:
    seen(TlsClass.REFUSED, NOW - 200)
    made, _ = watch(url, RULES)
    made.look(RULES["a.example"].expires)
    made.stop()
    nothing, _ = watch("sqlite:////nonexistent/gatepost.db", {})
    nothing.look(NOW)
    nothing.stop()
    assert caplog.messages == []


def test_a_store_that_is_down_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    again = threading.Event()
    looks = []

    def rules() -> dict[str, PromotedRule]:
        looks.append(1)
        if len(looks) > 1:
            again.set()
        raise StoreUnavailable("gone")

    made = PromotedWatch(
        rules,
        lambda: open_deliveries(""),
        lambda: open_survey(""),
        Metrics("back"),
        first_s=0.001,
        every_s=0.001,
    )
    assert again.wait(20)
    made.stop()
    assert "store-unavailable reason=gone" in caplog.messages
