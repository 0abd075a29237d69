"""Whether a warm-up has room: what has left, and what was handed out since."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import pytest

from gatepost.runtime.metrics import Metrics
from gatepost.runtime.traffic.warmups import WarmupDesk
from gatepost.traffic.handed import KEEP_S
from gatepost.traffic.warmup import DAY_S, Warmup, WarmupRules
from tests.world import NOW, snapshot

TODAY = int(NOW // DAY_S)
KEY = "lane fresh"


class World:
    """A desk, with clocks and counts that a test moves."""

    def __init__(self) -> None:
        self.wall, self.steady = NOW, 0.0
        self.sent: tuple[int, Mapping[str, int]] | None = (TODAY, {})
        self.read = True
        rules = WarmupRules({"fresh": Warmup(TODAY, (3, 5), "normal")})
        self.snapshot = replace(snapshot(), warmups=rules)
        self.metrics = Metrics("policy")
        self.desk = WarmupDesk(
            lambda: self.sent,
            lambda: self.read,
            lambda: self.snapshot,
            self.metrics,
            clock=lambda: self.wall,
            steady=lambda: self.steady,
        )

    def hand_out(self, count: int) -> None:
        for _ in range(count):
            self.desk.hand_out([KEY])

    def reached(self, count: int, day: int = TODAY) -> None:
        self.sent = (day, {KEY: count})

    def shown(self) -> dict[str, float]:
        return {
            name.removeprefix("gatepost_warmup_"): samples[0][2]
            for name, _, _, samples in self.metrics.families()
            if name.startswith("gatepost_warmup")
        }


@pytest.fixture
def world() -> World:
    return World()


def test_what_was_handed_out_fills_a_day_and_what_has_left_does(world: World) -> None:
    assert not world.desk.over(KEY)
    world.hand_out(2)
    assert not world.desk.over(KEY)
    world.reached(2)
    assert not world.desk.over(KEY), "the two that left are those that were handed out"
    world.hand_out(1)
    assert world.desk.over(KEY)
    assert world.desk.overs() == [KEY]
    world.reached(3)
    assert world.desk.over(KEY)
    assert world.shown() == {"cap": 3, "sent": 3}


def test_what_did_not_leave_is_given_up(world: World) -> None:
    world.hand_out(3)
    assert world.desk.over(KEY)
    world.steady = KEEP_S + 1
    assert not world.desk.over(KEY)


def test_while_the_log_is_not_read_nothing_is_given_up(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        world.hand_out(3)
        world.read = False
        # The back role may be about to start.
        assert world.desk.over(KEY)
        world.steady = 100 * KEEP_S
        assert world.desk.over(KEY)
        world.read = True
        assert not world.desk.over(KEY)
    assert [line.split(" ")[0] for line in caplog.messages] == [
        "warmup-over",
        "warmup-uncounted",
        "warmup-counted",
    ]
    world.sent = None
    world.hand_out(3)
    assert world.desk.over(KEY), "a store that cannot be read is no better"


def test_what_had_left_before_a_start_accounts_for_nothing_that_comes_after(world: World) -> None:
    world.reached(1)
    world.hand_out(1)
    assert not world.desk.over(KEY)
    world.hand_out(1)
    assert world.desk.over(KEY)


def test_the_next_day_has_room_of_its_own(world: World) -> None:
    world.reached(3)
    assert world.desk.over(KEY)
    world.wall += DAY_S
    assert not world.desk.over(KEY), "what was sent on another day does not count"
    world.reached(4, TODAY + 1)
    world.hand_out(1)
    assert world.desk.over(KEY)
    world.wall += DAY_S
    assert not world.desk.over(KEY), "it is over"
    assert world.shown() == {}


def test_before_its_first_day_nothing_goes_this_way(world: World) -> None:
    world.wall -= DAY_S
    assert world.desk.over(KEY)


def test_of_no_warm_up_nothing_is_said(world: World) -> None:
    assert not world.desk.over("tenant acme")


def test_the_log_tells_it_once_a_day(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        world.reached(3)
        for _ in range(5):
            world.desk.over(KEY)
        world.wall += DAY_S
        world.reached(9, TODAY + 1)
        world.desk.over(KEY)
    assert caplog.messages == [
        'warmup-over of="lane fresh" day=1 cap=3 sent=3 handed_out=0 lane=normal',
        'warmup-over of="lane fresh" day=2 cap=5 sent=9 handed_out=0 lane=normal',
    ]


def test_a_reload_forgets_what_is_no_warm_up_any_more(world: World) -> None:
    world.hand_out(3)
    assert world.desk.over(KEY)
    rules = world.snapshot.warmups
    world.snapshot = replace(world.snapshot, warmups=WarmupRules())
    assert not world.desk.over(KEY)
    world.snapshot = replace(world.snapshot, warmups=rules)
    assert not world.desk.over(KEY)
