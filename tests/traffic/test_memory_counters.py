"""The counters in memory: what they keep, what they forget, and how large they may grow."""

from __future__ import annotations

import tracemalloc

import pytest

from gatepost.traffic import counters as module
from gatepost.traffic.counters import Amount, Holder, MemoryCounters, Row
from gatepost.traffic.quota import (
    MAX_COUNT,
    STEPS,
    Claim,
    Limit,
    Unit,
    campaign_name,
    family_of,
    window_name,
)
from gatepost.traffic.window import Window

NOW = 1_800_000_000.0
ONE = Amount(1, 1)
HOUR = Limit(2, 3_600)


def commit(counters: MemoryCounters, name: str, number: object, now: float = NOW) -> bool:
    who = Holder(f"s{number}", f"m{number}")
    return counters.commit(who, [Claim(name, HOUR)], ONE, now) is None


def test_what_was_kept_goes_on_to_count() -> None:
    before, after = MemoryCounters(), MemoryCounters()
    assert commit(before, "t", 1)
    assert commit(before, "t", 2, NOW + 1_800)
    rows = before.take_changed(10_000)
    assert before.take_changed(10_000) == []
    after.load(rows)
    assert not commit(after, "t", 3, NOW + 1_801)
    assert commit(after, "t", 4, NOW + 3_600 + 121)
    (row,) = rows
    assert row.until == pytest.approx(NOW + 1_800 + 3_600 + 120, abs=120)


def test_what_was_counted_before_the_load_is_added() -> None:
    before, after = MemoryCounters(), MemoryCounters()
    assert commit(before, "t", 1)
    assert commit(after, "t", 2, NOW + 5)
    after.load(before.take_changed(10_000))
    assert not commit(after, "t", 3, NOW + 6)


def test_so_many_at_most_are_taken_for_writing() -> None:
    counters = MemoryCounters()
    for number in range(5):
        commit(counters, f"t{number}", number)
    sizes = [len(counters.take_changed(2)) for _ in range(4)]
    assert sizes == [2, 2, 1, 0]


def test_rows_that_could_not_be_written_are_written_again() -> None:
    counters = MemoryCounters()
    commit(counters, "t", 1)
    rows = counters.take_changed(10_000)
    counters.put_back(rows)
    commit(counters, "t", 2)
    (row,) = counters.take_changed(10_000)
    assert row.counts[0][1] == 2


def test_what_counts_nothing_any_more_is_forgotten() -> None:
    counters = MemoryCounters()
    for number in range(5_000):
        commit(counters, f"t{number}", number)
    counters.take_changed(10_000)
    for _ in range(5):
        counters.tidy(NOW + 60)
    assert len(counters) == 5_000
    for _ in range(5):
        counters.tidy(NOW + 4_000)
    assert len(counters) == 0
    # What is reserved stays.
    counters.reserve(Holder("s", "m"), [Claim("t", HOUR)], ONE, NOW + 4_000)
    counters.tidy(NOW + 4_001)
    assert len(counters) == 1


def test_a_counter_that_went_to_nothing_is_written_before_it_is_forgotten() -> None:
    counters = MemoryCounters()
    commit(counters, "t", 1)
    counters.take_changed(10)
    assert counters.refund("m1", NOW)
    counters.tidy(NOW)
    (row,) = counters.take_changed(10)
    assert sum(count for _, count in row.counts) == 0
    counters.tidy(NOW)
    counters.tidy(NOW)
    assert len(counters) == 0


def test_however_many_campaigns_share_a_counter_beyond_the_thousandth() -> None:
    counters = MemoryCounters()
    tracemalloc.start()
    try:
        taken = sum(
            commit(counters, campaign_name("acme", f"c{number}"), number, NOW + number / 1_000)
            for number in range(30_000)
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken == module.MAX_IN_FAMILY + HOUR.count
    assert len(counters) == module.MAX_IN_FAMILY + 1
    assert peak < 8_000_000
    # Whoever makes up names finds no way around; other tenants do not notice.
    assert not commit(counters, campaign_name("acme", "one more"), "x", NOW + 31)
    assert commit(counters, campaign_name("acme", "c5"), "y", NOW + 31)
    assert commit(counters, campaign_name("globex", "c5"), "z", NOW + 31)
    for _ in range(3):
        counters.take_changed(10_000)
        counters.tidy(NOW + 4_000)
    assert len(counters) == 0
    assert commit(counters, campaign_name("acme", "one more"), "v", NOW + 4_000)


def test_the_families_of_all_tenants_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_FAMILIES", 10)
    counters = MemoryCounters()
    for number in range(50):
        commit(counters, campaign_name(f"t{number}", "a"), number)
    assert len(counters) == 10 + 40


def test_campaigns_that_were_kept_count_as_such() -> None:
    counters = MemoryCounters()
    step = Window(3_600).step(NOW)
    counters.load(
        Row((campaign_name("acme", f"c{n}"), "messages", 3_600), ((step, 1),), NOW + 3_800)
        for n in range(module.MAX_IN_FAMILY)
    )
    assert commit(counters, campaign_name("acme", "new"), 1)
    assert len(counters) == module.MAX_IN_FAMILY + 1
    assert {row.key[0] for row in counters.take_changed(10_000)} == {"campaigns acme"}


def test_ten_thousand_logins_at_once() -> None:
    counters = MemoryCounters()
    limits = [Limit(1, 60), Limit(5, 86_400)]
    for number in range(10_000):
        who = Holder(f"s{number}", f"m{number}")
        claims = [Claim(f"login acme u{number}", limit) for limit in limits]
        assert counters.reserve(who, claims, ONE, NOW) is None
    assert counters.reservations == 10_000
    counters.tidy(NOW + module.RESERVED_S)
    assert counters.reservations == 0


def test_no_table_of_sessions_or_messages_grows_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    counters = MemoryCounters()
    claims = [Claim("t", Limit(100, 60))]
    for number in range(10):
        counters.reserve(Holder(f"s{number}", "m"), claims, ONE, NOW)
    assert counters.reservations == 3
    (usage,) = counters.usage(claims, NOW)
    assert usage.reserved == 3
    for number in range(10):
        counters.commit(Holder("s", f"m{number}"), claims, ONE, NOW)
    assert not counters.refund("m6", NOW)
    assert counters.refund("m9", NOW)


def test_a_refund_of_what_no_longer_counts_is_nothing() -> None:
    counters = MemoryCounters()
    second = [Claim("t", Limit(5, 1))]
    assert counters.commit(Holder("s", "m"), second, ONE, NOW) is None
    counters.commit(Holder("s", "n"), second, ONE, NOW + 30)
    assert counters.refund("m", NOW + 30)
    (usage,) = counters.usage(second, NOW + 30)
    assert usage.used == 1


def test_a_window_keeps_counts_in_order_and_stops_at_the_largest() -> None:
    window = Window(60)
    for step, count in ((5, 1), (3, 1), (4, 2), (3, 1)):
        window.add(step, count)
    assert window.counts() == [(3, 2), (4, 2), (5, 1)]
    window.add(6, 2**60)
    assert window.used(0) == MAX_COUNT
    window.add(7, 1)
    assert window.counts()[-1][0] == 6
    assert window.opens_in(MAX_COUNT, MAX_COUNT, 10.0) == pytest.approx((6 + STEPS + 1) * 2 - 10)


def test_a_quota_in_words() -> None:
    assert str(Limit(5, 3_600, Unit.RECIPIENTS)) == "5/hour recipients"
    assert str(Limit(5, 900)) == "5/15m"
    assert Limit(100, 60).words == "100 messages per minute"
    assert Limit(5, 90, Unit.RECIPIENTS).words == "5 recipients in 90s"
    assert [window_name(s) for s in (1, 604_800, 172_800, 7_200, 61)] == [
        *("second", "week", "2d", "2h", "61s")
    ]
    assert family_of("tenant acme") == ""
    assert family_of(campaign_name("acme", "a b")) == "campaigns acme"
