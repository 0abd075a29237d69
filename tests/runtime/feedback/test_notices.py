"""Warnings of a message: told, and not too often."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gatepost.decisions.actions import Notice, Plan
from gatepost.feedback.events import EventKind
from gatepost.runtime.feedback import notices
from gatepost.runtime.feedback.notices import Notices
from tests.world import NOW, message

PLAN = Plan(
    "acme",
    notices=(
        Notice("signed-header", "Feedback-ID", "Feedback-ID was not added"),
        Notice("several-recipients", "List-Unsubscribe", "List-Unsubscribe was not added"),
    ),
)
HOUR = 3600.0


def test_a_warning_says_what_of_which_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "gatepost.notices"):
        first, second = Notices().events(message(), PLAN, NOW)
    assert (first.kind, first.at, first.tenant) == (EventKind.WARNING, NOW, "acme")
    assert (first.queue_id, first.sender) == ("4Xyz123", "news@acme.example")
    assert len(first.message) == 16
    assert first.details == {
        "reason": "signed-header",
        "header": "Feedback-ID",
        "text": "Feedback-ID was not added",
    }
    assert first.id != second.id
    line = caplog.messages[0]
    assert line.startswith("tenant-warning tenant=acme reason=signed-header header=Feedback-ID")
    assert len(caplog.messages) == 2


def test_one_an_hour_for_each_tenant_and_header() -> None:
    told = Notices()
    assert len(told.events(message(), PLAN, NOW)) == 2
    assert told.events(message(queue_id="4Another"), PLAN, NOW + 1) == []
    (other, _) = told.events(message(), replace(PLAN, tenant="shop"), NOW)
    assert other.tenant == "shop"
    later = told.events(message(), PLAN, NOW + HOUR)
    assert len(later) == 2


def test_another_process_tells_it_by_the_same_id() -> None:
    ids = [
        [event.id for event in Notices().events(message(queue_id=name), PLAN, NOW)]
        for name in ("4One", "4Two")
    ]
    assert ids[0] == ids[1]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MAX_TOLD", 3)
    told = Notices()
    found = [
        event
        for number in range(9)
        for event in told.events(message(), replace(PLAN, tenant=f"t{number}"), NOW)
    ]
    assert len(found) == 3


def test_nothing_to_tell() -> None:
    assert Notices().events(message(), Plan("acme"), NOW) == []
