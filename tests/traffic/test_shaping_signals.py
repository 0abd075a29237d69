"""When replies are enough, and how much a pair delivers."""

from __future__ import annotations

import pytest

from gatepost.traffic.shaping import SUSPEND, Rule
from gatepost.traffic.shaping_signals import MAX_REPLIES, Signals

# The beginning of a minute.
NOW = 1_800_000_000.0
PAIR, OTHER = ("bulk", "mail.example"), ("fast", "mail.example")
THREE = Rule("three", count=3, within_s=60, to=SUSPEND)


@pytest.fixture
def signals() -> Signals:
    return Signals()


def test_so_many_replies_within_so_long(signals: Signals) -> None:
    assert [signals.reply(PAIR, THREE, NOW + after) for after in (0, 30, 61, 62, 63)] == [
        *(False, False, False, True),
        False,
    ]


def test_the_edge_of_the_window(signals: Signals) -> None:
    assert [signals.reply(PAIR, THREE, NOW + after) for after in (0, 1, 60)] == [False, False, True]


def test_it_begins_anew_once_it_was_reached(signals: Signals) -> None:
    seen = [signals.reply(PAIR, THREE, NOW) for _ in range(6)]
    assert seen == [False, False, True] * 2


def test_pairs_and_rules_count_by_themselves(signals: Signals) -> None:
    other = Rule("other", count=3, within_s=60)
    for pair, rule in ((PAIR, THREE), (OTHER, THREE), (PAIR, other)) * 2:
        assert not signals.reply(pair, rule, NOW)
    signals.forget(PAIR)
    assert not signals.reply(PAIR, THREE, NOW)
    assert signals.reply(OTHER, THREE, NOW)


def test_a_share_of_what_is_delivered(signals: Signals) -> None:
    rule = Rule("share", count=2, within_s=60, share=0.1)
    for number in range(41):
        signals.delivery(PAIR, NOW + 1, f"Q{number}")
    assert [signals.reply(PAIR, rule, NOW + 2) for _ in range(5)] == [False] * 4 + [True]
    # What was delivered before the window does not count.
    later = NOW + 600
    assert [signals.reply(PAIR, rule, later) for _ in range(2)] == [False, True]


def test_of_a_busy_pair_so_many_are_always_enough(signals: Signals) -> None:
    rule = Rule("share", count=1, within_s=60, share=0.5)
    for number in range(10 * MAX_REPLIES):
        signals.delivery(PAIR, NOW, f"Q{number}")
    seen = [signals.reply(PAIR, rule, NOW) for _ in range(MAX_REPLIES)]
    assert seen == [False] * (MAX_REPLIES - 1) + [True]


def test_the_busiest_of_the_last_minutes_counts(signals: Signals) -> None:
    assert signals.rate(PAIR, NOW) == 0
    for minute, count in ((-30, 50), (-5, 20), (-1, 7)):
        for number in range(count):
            signals.delivery(PAIR, NOW + 60 * minute, f"Q{minute} {number}")
    assert signals.rate(PAIR, NOW) == 20
    assert signals.rate(PAIR, NOW + 6 * 60) == 7
    assert signals.rate(PAIR, NOW + 3_600) == 0
    assert signals.rate(OTHER, NOW) == 0


def test_a_message_with_many_recipients_counts_once(signals: Signals) -> None:
    for queue_id in ("A", "A", "A", "B"):
        signals.delivery(PAIR, NOW, queue_id)
    assert signals.rate(PAIR, NOW) == 2


def test_a_line_that_is_late_counts_for_the_last_minute(signals: Signals) -> None:
    for at, queue_id in ((NOW, "A"), (NOW - 61, "B"), (NOW + 1, "C")):
        signals.delivery(PAIR, at, queue_id)
    assert signals.rate(PAIR, NOW) == 3


def test_the_number_of_pairs_is_bounded() -> None:
    signals = Signals(max_pairs=2)
    for name in ("a", "b", "a", "c"):
        signals.delivery(("bulk", name), NOW, name)
    assert len(signals) == 2
    assert [signals.rate(("bulk", name), NOW) for name in "abc"] == [1, 0, 1]
