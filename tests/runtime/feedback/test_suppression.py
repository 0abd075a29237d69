"""The suppression list as the policy server has it."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.runtime.feedback.suppression import SuppressionDesk, SuppressionUpkeep
from gatepost.runtime.metrics import Metrics
from gatepost.store.open import open_events, open_suppression
from tests.world import snapshot

NOW = 1_800_000_000.0
RULES = SuppressionRules()


def test_a_database_that_is_new_holds_nobody(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    desk = SuppressionDesk(url, Metrics("policy"))
    assert desk.lookup.find("acme", "ann@example.org", NOW, RULES) is None
    assert desk.status() == {"problem": ""}
    desk.close()


def test_what_is_told_is_stored_once_and_counted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    metrics = Metrics("policy")
    desk = SuppressionDesk(url, metrics)
    event = Event("suppressed-1", EventKind.SUPPRESSED, NOW, "acme", recipient="ann@example.org")
    desk.tell(event)
    desk.tell(event)
    desk.count("suppressed")
    desk.close()
    with contextlib.closing(open_events(url)) as store:
        assert [each.event.id for each in store.after(0, 10)] == ["suppressed-1"]
    assert metrics.counts()["suppression_checks"] == {"suppressed": 1}
    assert metrics.counts()["suppression_events_stored"] == {"all": 2}


def test_a_database_that_cannot_be_opened_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "gatepost.db"
    with caplog.at_level(logging.WARNING):
        desk = SuppressionDesk(f"sqlite:///{path}", Metrics("policy"))
    assert caplog.messages[0].startswith("suppression-unavailable")
    with pytest.raises(StoreUnavailable):
        desk.lookup.find("acme", "ann@example.org", NOW, RULES)
    assert str(path) in desk.status()["problem"]
    path.parent.mkdir()
    with contextlib.closing(open_suppression(f"sqlite:///{path}")) as store:
        store.add([Suppressed("acme", "ann@example.org", Reason.MANUAL, NOW)], RULES)
    desk.lookup._refresh_at = 0.0
    assert desk.lookup.find("acme", "ann@example.org", NOW, RULES) is not None
    assert desk.status() == {"problem": ""}
    desk.close()


def test_what_has_ended_is_cleared_away(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    entry = Suppressed("acme", "ann@example.org", Reason.MANUAL, NOW, time.time() - 1)
    with contextlib.closing(open_suppression(url)) as store:
        store.add([entry, replace(entry, address="bob@example.org", expires=None)], RULES)
        upkeep = SuppressionUpkeep(url, snapshot, Metrics("back"))
        upkeep.prune()
        upkeep.stop()
        assert [each.address for each in store.page().entries] == ["bob@example.org"]


def test_a_store_of_another_kind_is_refused() -> None:
    with pytest.raises(StoreUnavailable):
        SuppressionDesk("mysql://", Metrics("policy"))
