"""What doctor says about promoted rules."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.maillog.evidence import Batch, LogPosition, Record
from gatepost.maillog.model import TlsClass
from gatepost.postfix.doctor.findings import Severity
from gatepost.runtime.tls.promoted_findings import promoted_findings
from gatepost.settings import Settings
from gatepost.store.open import open_deliveries
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import Downgrade, PromotedRule, PromotedRules

DAY = 86_400.0
NOW = 1_800_000_000.0
RULE = PromotedRule(Requirement(Level.ENCRYPT), NOW - 9 * DAY, NOW + 30 * DAY)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    record = Record(
        NOW - 60, "Q", "", "u@a.example", "a.example", "mx.a.example", "192.0.2.1", "a.example",
        "smtp", TlsClass.REFUSED,
    )  # fmt: skip
    with contextlib.closing(open_deliveries(url)) as store:
        assert store.add(Batch([record], LogPosition("x", 0, 1, "")))
    return Settings(tmp_path / "gatepost.yaml", state=url)


@pytest.mark.parametrize(
    ("downgrade", "severity", "fate"),
    [
        (Downgrade.DEFER, Severity.PROBLEM, "waits"),
        (Downgrade.ALERT, Severity.WARNING, "given up"),
    ],
)
def test_a_destination_that_dropped_tls(
    settings: Settings, downgrade: Downgrade, severity: Severity, fate: str
) -> None:
    rules = PromotedRules({"a.example": replace(RULE, downgrade=downgrade), "b.example": RULE})
    [found] = promoted_findings(settings, rules, NOW)
    assert found.severity is severity
    assert found.what.startswith("a.example no longer offers what its promoted rule asks for")
    assert fate in found.why
    assert "echo a.example | gatepost tls survey -" in found.mend[0]


def test_rules_that_end_soon(settings: Settings) -> None:
    soon = replace(RULE, expires=NOW + 6 * DAY)
    rules = PromotedRules({f"{n}.example": soon for n in range(7)} | {"late.example": RULE})
    [found] = promoted_findings(settings, rules, NOW)
    assert found.what.endswith("4.example and 2 more.")
    assert found.severity is Severity.WARNING
    # What has ended already is no news.
    assert list(promoted_findings(settings, rules, NOW + 6 * DAY)) == []


def test_nothing_to_say(settings: Settings) -> None:
    assert list(promoted_findings(settings, PromotedRules({"b.example": RULE}), NOW)) == []
    assert list(promoted_findings(settings, PromotedRules(configured=True), NOW)) == []
    nowhere = replace(settings, state="sqlite:////nonexistent/x.db")
    assert list(promoted_findings(nowhere, PromotedRules({"a.example": RULE}), NOW)) == []
