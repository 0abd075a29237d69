"""A meter recognises a flood early, a slow excess later, and no steady rate below its threshold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.traffic.quota import Limit
from gatepost.traffic.rate import Meter

ABOVE, BELOW = Limit(20, 1), Limit(10, 1)


def first_over(per_second: float, seconds: float) -> float | None:
    """Return after how many seconds a steady rate is recognised."""
    meter = Meter(ABOVE, BELOW, 0.0)
    for n in range(int(per_second * seconds)):
        at = n / per_second
        if meter.add(1, at):
            return at
    return None


@pytest.mark.parametrize(
    ("per_second", "within"), [(1000, 0.03), (500, 0.05), (100, 0.3), (25, 4.1), (21, 21)]
)
def test_recognises_what_is_faster(per_second: float, within: float) -> None:
    found = first_over(per_second, 60)
    assert found is not None
    assert found <= within


@pytest.mark.parametrize("per_second", [1, 19, 20])
def test_leaves_alone_what_is_not(per_second: float) -> None:
    assert first_over(per_second, 120) is None


def test_recognises_a_flood_by_its_21st_message() -> None:
    meter = Meter(ABOVE, BELOW, 0.0)
    assert [meter.add(1, 0.0) for _ in range(22)] == [False] * 20 + [True] * 2


def test_an_amount_counts_as_so_many() -> None:
    meter = Meter(Limit(100, 1), Limit(50, 1), 0.0)
    assert not meter.add(100, 0.0)
    assert meter.add(1, 0.0)


def test_what_was_over_counts_for_one_window_only() -> None:
    meter = Meter(ABOVE, BELOW, 0.0)
    meter.add(60_000, 0.0)
    assert not meter.idle(0.9)
    assert meter.idle(1.2)
    assert not meter.add(1, 1.2)
    assert not meter.above_low


def test_the_low_threshold_shows_a_rate_between_the_two() -> None:
    meter = Meter(ABOVE, BELOW, 0.0)
    over = [meter.add(1, n / 15) for n in range(150)]
    assert not any(over)
    assert meter.above_low
    for n in range(50):
        meter.add(1, 10 + n / 5)
    assert not meter.above_low


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 100)), max_size=50))
def test_a_clock_that_steps_never_lets_a_bucket_run_below_empty(
    steps: list[tuple[float, int]],
) -> None:
    meter, now = Meter(ABOVE, BELOW, 0.0), 0.0
    for step, amount in steps:
        now += step
        assert meter.add(amount, now) or amount <= 20
