"""How much may be sent on which day, and what was handed out and has not left."""

from __future__ import annotations

import pytest

from gatepost.traffic.handed import KEEP_S, HandedOut
from gatepost.traffic.warmup import SCHEDULES, Warmup, WarmupRules, day_of

WARMUP = Warmup(20_000, (50, 100, 100), "normal")


@pytest.mark.parametrize(
    ("day", "cap"),
    [(19_999, 0), (20_000, 50), (20_001, 100), (20_002, 100), (20_003, None), (30_000, None)],
)
def test_caps(day: int, cap: int | None) -> None:
    assert WARMUP.cap_on(day) == cap


def test_a_day_is_one_in_utc() -> None:
    assert day_of(86_400 * 20_000) == 20_000
    assert day_of(86_400 * 20_000 - 0.5) == 19_999


def test_schedules_begin_small_and_never_fall() -> None:
    assert SCHEDULES["sendgrid"][:3] == (480, 672, 936)
    assert SCHEDULES["doubling"][:3] == (50, 100, 200)
    for caps in SCHEDULES.values():
        assert list(caps) == sorted(caps)


def test_keys() -> None:
    rules = WarmupRules({"fresh": WARMUP}, {"acme": Warmup(1, (5,), "slow")})
    assert rules.keys_of("acme", "fresh") == ("tenant acme", "lane fresh")
    assert rules.keys_of("acme", "bulk") == ("tenant acme",)
    assert rules.keys_of("other", "bulk") == ()
    assert set(rules.by_key()) == {"tenant acme", "lane fresh"}
    assert [rules.lane_above(key) for key in ("tenant acme", "lane fresh")] == ["slow", "normal"]
    assert rules
    assert not WarmupRules()


def test_what_has_left_is_handed_out_no_more() -> None:
    handed = HandedOut()
    for now in (0.0, 1.0, 50.0):
        handed.add(now)
    assert handed.total(50.0) == 3
    handed.left(2)
    assert handed.total(50.0) == 1
    handed.left(5)
    assert handed.total(50.0) == 0


def test_what_did_not_leave_is_given_up_unless_nobody_would_know() -> None:
    handed = HandedOut()
    handed.add(0.0)
    handed.add(100.0)
    assert handed.total(KEEP_S + 1, expire=False) == 2
    assert handed.total(KEEP_S) == 2
    assert handed.total(KEEP_S + 1) == 1
    assert handed.total(KEEP_S + 101) == 0
