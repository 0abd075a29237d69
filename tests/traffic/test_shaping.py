"""How a pair is slowed, and that it always comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.traffic.shaping import (
    FLOOR,
    SETTLE_S,
    SUSPEND,
    Group,
    Rule,
    ShapingRules,
    Slowed,
    Target,
    Unit,
    by_hand,
    counts_again,
    in_words,
    lowest,
    mended,
    steps_of,
    strike,
)

NOW = 1_800_000_000.0
PAIR = ("bulk", "mail.example")
EIGHTH = Rule("eighth", to=Target(1 / 8), for_s=600, every_s=300, at_most_s=2_400)
WHOLE_DAY = 86_400

targets = st.one_of(
    st.just(SUSPEND),
    st.integers(2, 1_000).map(lambda parts: Target(1 / parts)),
    st.integers(1, 100_000).map(lambda rate: Target(float(rate), Unit.RATE)),
)
rules = st.builds(
    Rule,
    st.just("rule"),
    to=targets,
    for_s=st.integers(1, WHOLE_DAY),
    every_s=st.integers(1, WHOLE_DAY),
    at_most_s=st.integers(1, 7 * WHOLE_DAY),
)
bases = st.floats(0, 1e7, allow_nan=False)


def struck(rule: Rule = EIGHTH, base: float = 80.0, now: float = NOW) -> Slowed:
    return strike(None, rule, PAIR, base, "too fast", now)


@pytest.mark.parametrize(
    ("to", "base", "steps"),
    [
        (Target(1 / 8), 80.0, (10, 20, 40)),
        (Target(1 / 4), 80.0, (20, 40)),
        (Target(1 / 2), 80.0, (40,)),
        (Target(1 / 3), 90.0, (30, 60)),
        (SUSPEND, 80.0, (0, 10, 20, 40)),
        (Target(30.0, Unit.RATE), 80.0, (30, 60, 120)),
        (Target(1 / 8), 0.0, (FLOOR, FLOOR, FLOOR)),
    ],
)
def test_steps(to: Target, base: float, steps: tuple[float, ...]) -> None:
    assert steps_of(to, base) == pytest.approx(steps)


def test_it_comes_back_step_by_step() -> None:
    slowed = struck()
    seen = [slowed.rate_at(NOW + after) for after in (0, 599, 600, 899, 900, 1_199, 1_200, 9_999)]
    assert seen == [10, 10, 20, 20, 40, 40, None, None]
    assert slowed.until == NOW + 1_200


def test_a_new_signal_puts_it_back_for_longer_and_ever_longer_up_to_a_limit() -> None:
    first = struck()
    second = strike(first, EIGHTH, PAIR, 9.0, "again", NOW + 700)
    assert second.rate_at(NOW + 700) == 10, "a share of what it was before it was slowed"
    assert (second.first_s, second.every_s, second.strikes) == (1_200, 600, 1)
    third = strike(second, EIGHTH, PAIR, 9.0, "again", NOW + 800)
    fourth = strike(third, EIGHTH, PAIR, 9.0, "again", NOW + 900)
    assert (third.first_s, fourth.first_s, fourth.every_s) == (2_400, 2_400, 2_400)


def test_the_last_time_is_remembered_for_as_long_as_it_took() -> None:
    first = struck()
    over = first.until + first.total_s
    assert strike(first, EIGHTH, PAIR, 80.0, "", over - 1).strikes == 1
    assert strike(first, EIGHTH, PAIR, 80.0, "", over) == replace(
        first, since=over, why="", strikes=0
    )


def test_what_was_under_way_when_it_was_slowed_does_not_count_again() -> None:
    slowed = struck()
    assert counts_again(None, NOW)
    assert not counts_again(slowed, NOW - 1)
    assert not counts_again(slowed, NOW + SETTLE_S - 1)
    assert counts_again(slowed, NOW + SETTLE_S)
    short = struck(replace(EIGHTH, for_s=4))
    assert counts_again(short, NOW + 2)


def test_of_a_clock_that_was_put_back_nobody_stays_slowed() -> None:
    slowed = struck()
    back = NOW - 100 * WHOLE_DAY
    assert slowed.rate_at(back) == 10
    assert mended(slowed, back).until == back + slowed.total_s
    assert mended(slowed, NOW + 1) is slowed
    # And replies of that time count.
    assert counts_again(slowed, back)


def test_by_hand_there_is_one_step() -> None:
    slowed = by_hand(PAIR, 0.0, 60, "why", "root", NOW)
    assert [slowed.rate_at(NOW + after) for after in (0, 59.9, 60)] == [0, 0, None]


def test_who_holds_back_the_most_counts() -> None:
    hand, rule = by_hand(PAIR, 15.0, 2_000, "why", "root", NOW), struck()
    assert lowest([hand, rule], NOW) == (rule, 10)
    assert lowest([hand, rule], NOW + 700) == (hand, 15)
    assert lowest([hand, rule], NOW + 2_000) is None
    assert lowest([], NOW) is None


def test_words() -> None:
    assert [str(to) for to in (SUSPEND, Target(1 / 8), Target(30.0, Unit.RATE))] == [
        "suspend",
        "1/8",
        "30/minute",
    ]
    assert (in_words(0.0), in_words(12.5)) == ("suspended", "slowed to 12.5/minute")


def test_groups() -> None:
    found = ShapingRules(
        True, (), (Group("big", (".mail.example",), frozenset({"own.example"})), Group("other"))
    )
    assert found.group_of_host("mx.mail.example") == "big"
    assert found.group_of_host("mail.example") == "big"
    assert found.group_of_host("mxmail.example") is None
    assert found.group_of_domain("own.example") == "big"
    assert found.group_of_domain("mx.own.example") is None


@settings(max_examples=50)
@given(rules, bases, st.lists(st.tuples(st.floats(0, 1e6), bases), max_size=6))
def test_never_below_the_floor_and_always_back(
    rule: Rule, base: float, again: list[tuple[float, float]]
) -> None:
    now, slowed = NOW, strike(None, rule, PAIR, base, "", NOW)
    for gap, measured in again:
        now += gap
        before = slowed
        slowed = strike(before, rule, PAIR, measured, "", now)
        if not before.is_forgotten(now):
            assert slowed.base >= before.base
            assert slowed.first_s >= before.first_s
    longest = max(rule.at_most_s, rule.for_s, rule.every_s)
    assert slowed.total_s <= len(slowed.rates) * longest
    assert slowed.rate_at(slowed.until) is None
    assert slowed.rate_at(now) == slowed.rates[0]
    assert all(rate >= FLOOR for rate in slowed.rates[rule.to.number == 0 :])
    assert list(slowed.rates) == sorted(slowed.rates)


@settings(max_examples=50)
@given(rules, bases, st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
def test_the_allowance_never_falls_by_itself(rule: Rule, base: float, moments: list[float]) -> None:
    slowed = strike(None, rule, PAIR, base, "", NOW)
    seen = [slowed.rate_after(moment) for moment in sorted(moments)]
    rates = [float("inf") if rate is None else rate for rate in seen]
    assert rates == sorted(rates)
