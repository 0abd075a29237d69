"""What every store must do with what came back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.store import received as module
from gatepost.store.open import open_received
from gatepost.store.received import MAX_TEXT, Received, ReceivedStore

NOW = 1_800_000_000.0
REPORT = Received(
    "17-1.0", NOW, "complaint", "arf", "arf.mail.yahoo.com", "believed", "a token", "acme",
    "00ff00ff00ff00ff", ("complaint-1", "complaint-2"),
)  # fmt: skip


@pytest.fixture
def received(url: str) -> Iterator[ReceivedStore]:
    with contextlib.closing(open_received(url)) as opened:
        yield opened


def test_what_was_stored_last_comes_first(received):
    other = replace(REPORT, id="17-2.0", kind="bounce", result="no-token", events=())
    received.add(REPORT)
    received.add(other)
    assert received.latest(10) == [other, REPORT]
    assert received.latest(1) == [other]
    assert received.latest(10, kind="complaint") == [REPORT]
    assert received.latest(10, result="no-token") == [other]
    assert received.latest(10, "bounce", "believed") == []


def test_one_that_is_done_again_stands_once(received):
    received.add(replace(REPORT, result="not-sent", events=()))
    received.add(REPORT)
    assert received.latest(10) == [REPORT]


def test_another_report_with_the_same_event_is_known(received):
    received.add(REPORT)
    assert received.acted_on(REPORT.message, "complaint-1", but="18-1.0")
    assert received.acted_on(REPORT.message, "complaint-2", but="18-1.0")
    assert not received.acted_on(REPORT.message, "complaint-1", but=REPORT.id)
    assert not received.acted_on(REPORT.message, "complaint", but="18-1.0")
    assert not received.acted_on("ff", "complaint-1", but="18-1.0")


def test_only_what_gave_events_counts_for_a_reporter(received):
    received.add(REPORT)
    received.add(replace(REPORT, id="2.0", events=()))
    received.add(replace(REPORT, id="3.0", at=NOW - 10))
    received.add(replace(REPORT, id="4.0", tenant="other"))
    assert received.count("arf.mail.yahoo.com", "acme", NOW) == 1
    assert received.count("arf.mail.yahoo.com", "acme", NOW - 10) == 2
    assert received.count("example.org", "acme", 0) == 0


def test_what_acted_stays_longer(received):
    received.add(REPORT)
    received.add(replace(REPORT, id="2.0", events=()))
    assert received.prune(NOW, NOW) == 0
    assert received.prune(NOW + 1, NOW) == 1
    assert received.latest(10) == [REPORT]
    assert received.prune(NOW + 1, NOW + 1) == 1


def test_nonsense_does_not_fill_the_store(received, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    received.add(REPORT)
    for number in range(5):
        received.add(replace(REPORT, id=f"n{number}", events=()))
    assert received.prune(0, 0) == 2
    assert [each.id for each in received.latest(9)] == ["n4", "n3", "n2", REPORT.id]


def test_hostile_texts_are_cut(received):
    received.add(replace(REPORT, reporter="\udcff" * 400, reason="x" * 400))
    (found,) = received.latest(1)
    assert len(found.reason) == MAX_TEXT
    assert found.reporter == "\\udcff" * MAX_TEXT
