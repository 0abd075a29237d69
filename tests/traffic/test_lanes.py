"""Names of what realises a lane, and which of its sources a message takes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.traffic.lanes import (
    Lane,
    Source,
    beside,
    hand_over,
    instance_name,
    pick_source,
    profile_of,
    service_name,
)

TWO = Lane("bulk", sources=(Source("192.0.2.10", weight=3), Source("192.0.2.11")))


def test_the_first_source_s_service_bears_no_number() -> None:
    assert service_name("bulk", "private") == "gp-bulk-private"
    assert service_name("bulk", "private", 2) == "gp-bulk-private-2"
    assert len(service_name("l" * 16, "p" * 16, 32)) == 39


@pytest.mark.parametrize(
    ("service", "profile"),
    [
        ("gp-bulk-private", "private"),
        ("gp-bulk-private-2", "private"),
        ("gp-bulk", None),
        ("smtp", None),
        ("out-bulk-private", None),
        ("", None),
    ],
)
def test_a_service_tells_its_profile(service: str, profile: str | None) -> None:
    assert profile_of(service) == profile


def test_an_instance_stands_beside_the_main_one() -> None:
    assert instance_name("burst") == "postfix-gp-burst"
    assert beside("postfix", "burst") == "postfix-gp-burst"
    assert hand_over("burst", "postfix") == "gp-burst:unix:../postfix-gp-burst/private/gatepost"


def test_a_lane_without_sources_has_one_that_postfix_chooses() -> None:
    assert list(Lane("bulk").numbers) == [1]
    assert Lane("bulk").source(1) == Source()
    assert pick_source(Lane("bulk"), "a@b.example", 7) == 1
    assert list(TWO.numbers) == [1, 2]
    assert TWO.source(2).address4 == "192.0.2.11"


@given(st.text(max_size=80), st.integers(), st.integers())
@settings(max_examples=50)
def test_a_message_of_its_own_keeps_its_source(key: str, spread: int, other: int) -> None:
    assert pick_source(TWO, key, spread) == pick_source(TWO, key, other)
    assert pick_source(TWO, None, spread) in TWO.numbers


def test_sources_have_their_weights() -> None:
    keys = Counter(pick_source(TWO, f"token{number}@b.example", 0) for number in range(4000))
    assert 0.70 < keys[1] / 4000 < 0.80
    for begin in (0, 1_800_000_000, -50):
        spread = Counter(pick_source(TWO, None, begin + number) for number in range(100))
        assert abs(spread[1] - 75) <= 2, "evenly, and not just in the long run"


@given(st.lists(st.integers(1, 100), min_size=2, max_size=32), st.integers())
@settings(max_examples=50)
def test_every_source_can_be_taken_and_none_else(weights: list[int], spread: int) -> None:
    lane = Lane("bulk", sources=tuple(Source(weight=weight) for weight in weights))
    assert pick_source(lane, None, spread) in lane.numbers
