"""What every store must do with slowed pairs and with what was sent on a day."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.maillog.evidence import Batch, LogPosition
from gatepost.store import sqlite_lanes
from gatepost.store.lanes import KEEP_DAYS, LaneStore
from gatepost.store.open import open_deliveries, open_lanes
from gatepost.traffic.shaping import Slowed, by_hand

NOW = 1_800_000_000.5
PAIR = ("bulk", "mail.example")
BY_RULE = Slowed(*PAIR, NOW, (0.0, 12.5, 25.0), 60.0, 30.0, "421 slow down é", "rate", "", 50.0, 2)
BY_HAND = by_hand(PAIR, 30.0, 600.0, "they asked", "root", NOW)


@pytest.fixture
def lanes(url: str) -> Iterator[LaneStore]:
    with contextlib.closing(open_lanes(url)) as opened:
        yield opened


def test_nothing_is_slowed_at_first(lanes: LaneStore) -> None:
    assert lanes.slowed() == []
    assert lanes.lift(*PAIR) == []
    assert lanes.version() == 0


def test_rules_and_the_operator_slow_a_pair_side_by_side(lanes: LaneStore, url: str) -> None:
    lanes.slow(BY_RULE)
    before = lanes.version()
    lanes.slow(BY_HAND)
    assert lanes.version() != before
    with contextlib.closing(open_lanes(url)) as again:
        assert sorted(again.slowed(), key=lambda each: each.by) == [BY_RULE, BY_HAND]


def test_each_side_replaces_its_own_word_alone(lanes: LaneStore) -> None:
    later = replace(BY_RULE, since=NOW + 5, strikes=3)
    lanes.slow(BY_HAND)
    lanes.slow(BY_RULE)
    lanes.slow(later)
    assert sorted(lanes.slowed(), key=lambda each: each.by) == [later, BY_HAND]


def test_lifting_forgets_both_and_says_what_there_was(lanes: LaneStore) -> None:
    other = replace(BY_RULE, provider="other.example")
    for each in (BY_RULE, BY_HAND, other):
        lanes.slow(each)
    before = lanes.version()
    assert sorted(lanes.lift(*PAIR), key=lambda each: each.by) == [BY_RULE, BY_HAND]
    assert lanes.slowed() == [other]
    assert lanes.version() != before


def test_only_what_is_forgotten_is_dropped(lanes: LaneStore) -> None:
    lanes.slow(BY_RULE)
    over = BY_RULE.until + BY_RULE.total_s
    assert lanes.prune(over - 1) == 0
    assert lanes.slowed() == [BY_RULE]
    assert lanes.prune(over) == 1
    assert lanes.slowed() == []


def test_the_number_of_pairs_is_bounded(lanes: LaneStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_lanes, "MAX_SLOWED", 3)
    for number in range(5):
        lanes.slow(replace(BY_RULE, provider=f"p{number}.example", since=NOW + number))
    assert [each.provider for each in lanes.slowed()] == ["p2.example", "p3.example", "p4.example"]


def test_what_was_sent_is_added_up_with_the_position_of_the_log(lanes: LaneStore, url: str) -> None:
    day = 20_000
    first, second = (LogPosition("log", 10, offset, "/log") for offset in (1, 2))
    sent = {("lane fresh", day): 2, ("tenant acme", day): 1, ("lane fresh", day - KEEP_DAYS - 1): 9}
    with contextlib.closing(open_deliveries(url)) as deliveries:
        assert deliveries.add(Batch([], first, None, sent=sent))
        # Somebody who reads the same again finds that others were there.
        assert not deliveries.add(Batch([], second, None, sent=sent))
        assert deliveries.add(Batch([], second, first, sent={("lane fresh", day): 3}))
    assert lanes.sent_on(day) == {"lane fresh": 5, "tenant acme": 1}
    assert lanes.sent_on(day + 1) == {}
    lanes.prune(day * 86_400.0)
    assert lanes.sent_on(day - KEEP_DAYS - 1) == {}
    assert lanes.sent_on(day) == {"lane fresh": 5, "tenant acme": 1}
