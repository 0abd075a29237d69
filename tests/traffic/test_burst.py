"""Who is moved, who stays, who comes back, and that nobody flaps."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gatepost.traffic.burst import (
    SWEEP,
    Burst,
    BurstBook,
    BurstRules,
    Cap,
    LaneChange,
    enough,
)
from gatepost.traffic.quota import Limit, Unit
from gatepost.traffic.state import Backlog, Moved

BURST = Burst("burst", Limit(20, 1), 2000, Limit(10, 1), 1000, 60)
BY_RATE = Burst("burst", Limit(20, 1), None, Limit(10, 1), None, 60)
WALL = 1_790_000_000.0


class Traffic:
    """A book with its clock and a backlog that is set by hand."""

    def __init__(self, burst: Burst = BURST) -> None:
        self.rules = BurstRules(burst=burst)
        self.book = BurstBook()
        self.now = 1000.0
        self.backlog: dict[str, Backlog | None] = {}

    def send(self, rate: float, seconds: float, tenant: str = "acme") -> list[str]:
        """Send at a steady rate, move when told to, look every second; return who was moved."""
        found, end, looked = [], self.now + seconds, self.now
        while self.now < end:
            burst = self.rules.burst_of(tenant)
            assert burst is not None
            why = self.book.count(tenant, burst, 1, 1, self.now)
            if why:
                base = self.backlog.get(tenant)
                moved = Moved(WALL + self.now, why)
                self.book.move(tenant, burst, moved, base.messages if base else 0, self.now)
                found.append(f"to {why}")
            if self.now - looked >= 1:
                looked = self.now
                found += [_words(each) for each in self.look()]
            self.now += 1 / rate
        return found

    def look(self) -> list[LaneChange]:
        names = [each for each, found in self.backlog.items() if found]
        return self.book.look(self.rules, self.backlog.get, names, self.now, WALL + self.now)

    def wait(self, seconds: int) -> list[str]:
        found = []
        for _ in range(seconds):
            self.now += 1
            found += [_words(each) for each in self.look()]
        return found


def _words(change: LaneChange) -> str:
    return f"{'back' if change.moved is None else 'to'} {change.why}"


def test_a_flood_is_moved_once_and_comes_back_after_it() -> None:
    traffic = Traffic()
    assert traffic.send(500, 5) == ["to more than 20/second"]
    moved = traffic.book.in_burst("acme")
    assert moved is not None
    assert moved.why == "more than 20/second"
    assert traffic.wait(59) == []
    assert traffic.wait(2) == ["back below its thresholds for 60 s"]
    assert traffic.book.in_burst("acme") is None


def test_a_rate_between_the_thresholds_keeps_it_where_it_is() -> None:
    traffic = Traffic()
    assert traffic.send(15, 300) == []
    traffic.send(500, 1)
    assert traffic.send(15, 300) == []
    assert traffic.send(5, 70) == ["back below its thresholds for 60 s"]


def test_a_rate_that_wavers_around_the_threshold_does_not_flap() -> None:
    traffic, dice = Traffic(), random.Random(7)
    moves = []
    for _ in range(60):
        moves += traffic.send(dice.choice((5, 15, 25, 40)), dice.choice((5, 20)))
    # At most one there and back within the time that it stays.
    assert len(moves) <= 3


def test_a_backlog_alone_moves_and_half_of_it_lets_go() -> None:
    traffic = Traffic()
    traffic.backlog["acme"] = Backlog(2000, 2000)
    assert traffic.wait(3) == []
    traffic.backlog["acme"] = Backlog(2001, 2001)
    assert traffic.wait(1) == ["to 2001 messages outstanding, more than 2000"]
    traffic.backlog["acme"] = Backlog(1001, 1001)
    assert traffic.wait(300) == []
    traffic.backlog["acme"] = Backlog(1000, 1000)
    assert traffic.wait(61) == ["back below its thresholds for 60 s"]


def test_the_queue_of_a_flood_keeps_it_in_burst_when_only_a_rate_was_named() -> None:
    traffic = Traffic(BY_RATE)
    traffic.send(500, 2)
    traffic.backlog["acme"] = Backlog(50_000, 50_000)
    assert traffic.wait(600) == []
    traffic.backlog["acme"] = Backlog(1200, 1200)
    assert traffic.wait(61) == ["back below its thresholds for 60 s"]


def test_mail_that_waited_before_the_flood_keeps_nobody_there() -> None:
    traffic = Traffic(BY_RATE)
    traffic.backlog["acme"] = Backlog(30_000, 30_000)
    traffic.send(500, 1)
    traffic.backlog["acme"] = Backlog(80_000, 80_000)
    assert traffic.wait(120) == []
    traffic.backlog["acme"] = Backlog(30_000, 30_000)
    assert traffic.wait(61) == ["back below its thresholds for 60 s"]


def test_a_backlog_that_nobody_knows_moves_nobody_and_keeps_nobody() -> None:
    traffic = Traffic()
    traffic.backlog["acme"] = Backlog(5000, 5000)
    traffic.wait(1)
    traffic.backlog["acme"] = None
    assert traffic.wait(61) == ["back below its thresholds for 60 s"]
    traffic.backlog["acme"] = None
    assert traffic.wait(61) == []


@pytest.mark.parametrize(
    ("burst", "base", "expected"),
    [
        (BURST, 5000, 1000),
        (BY_RATE, 0, 1200),
        (BY_RATE, 5000, 5000),
        (Burst("burst", Limit(600, 60), None, Limit(300, 60)), 0, 600),
    ],
)
def test_how_much_may_wait_when_it_comes_back(burst: Burst, base: int, expected: int) -> None:
    assert enough(burst, base) == expected


def test_recipients_are_counted_where_the_threshold_says_so() -> None:
    burst = Burst("burst", Limit(100, 1, Unit.RECIPIENTS), None, Limit(50, 1, Unit.RECIPIENTS))
    book = BurstBook()
    assert book.count("acme", burst, 1, 100, 0.0) is None
    assert book.count("acme", burst, 0, 1, 0.0) == "more than 100/second recipients"


def test_one_tenant_does_not_count_for_another() -> None:
    traffic = Traffic()
    traffic.send(500, 1)
    assert traffic.book.in_burst("beta") is None
    assert traffic.send(5, 10, "beta") == []
    assert len(traffic.book) == 1


def test_a_restart_takes_up_who_was_in_burst_and_they_stay_as_long_as_anybody() -> None:
    traffic = Traffic()
    traffic.send(500, 1)
    kept = traffic.book.kept()
    traffic.book = BurstBook()
    traffic.book.restore(traffic.rules, kept, traffic.now)
    moved = traffic.book.in_burst("acme")
    assert moved is not None
    assert moved.since == pytest.approx(WALL + 1000, abs=1)
    assert traffic.wait(59) == []
    assert traffic.wait(2) == ["back below its thresholds for 60 s"]


def test_a_restart_takes_up_nobody_without_rules() -> None:
    book = BurstBook()
    book.restore(BurstRules(bursts={"beta": BURST}), {"acme": (WALL, "why", 0)}, 0.0)
    assert book.in_burst("acme") is None


def test_who_has_no_burst_lane_any_more_comes_back_at_once() -> None:
    traffic = Traffic()
    traffic.send(500, 1)
    traffic.rules = BurstRules()
    assert traffic.wait(1) == ["back it has no burst lane any more"]


def test_new_numbers_hold_for_who_is_in_burst() -> None:
    traffic = Traffic()
    traffic.send(500, 1)
    traffic.rules = BurstRules(burst=Burst("burst", Limit(20, 1), None, Limit(10, 1), None, 5))
    assert traffic.wait(4) == []
    assert traffic.wait(2) == ["back below its thresholds for 5 s"]


def test_reloads_without_other_rates_forget_nothing_that_was_measured() -> None:
    traffic = Traffic()
    found = []
    for stay in range(60, 72):
        # As after a reload: what a tenant's neighbour changes makes all rules anew.
        traffic.rules = BurstRules(burst=replace(BURST, stay_s=stay))
        found += traffic.send(25, 0.5)
    assert found == ["to more than 20/second"]


def test_a_clock_that_goes_back_moves_nobody_and_keeps_nobody_for_ever() -> None:
    traffic = Traffic()
    traffic.send(5, 10)
    traffic.now -= 500
    assert traffic.send(5, 10) == []
    traffic.send(500, 1)
    traffic.now -= 500
    assert traffic.wait(62) == ["back below its thresholds for 60 s"]


def test_tenants_that_do_not_send_are_forgotten() -> None:
    traffic = Traffic()
    for n in range(3 * SWEEP):
        traffic.book.count(f"t{n}", BURST, 1, 1, traffic.now)
    assert traffic.book.watched == 3 * SWEEP
    traffic.wait(5)
    assert traffic.book.watched == 0


def test_rules_of_a_tenant_stand_before_those_of_all() -> None:
    rules = BurstRules(BURST, Cap(10), {"acme": BY_RATE}, {"acme": None, "beta": Cap(5)})
    assert rules.burst_of("acme") is BY_RATE
    assert rules.burst_of("beta") is BURST
    assert [rules.cap_of(each) for each in ("acme", "beta", "gamma")] == [None, Cap(5), Cap(10)]
    assert rules.any
    assert not BurstRules().any
