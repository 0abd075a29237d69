"""From deliveries in the log to slowed pairs in the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import EventKind
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.modes import Mode
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.traffic.shaping import ShapingWatch, event_of_lift
from gatepost.snapshot import Snapshot
from gatepost.store.lanes import LaneStore
from gatepost.store.open import open_events, open_lanes
from gatepost.traffic.services import services_for
from gatepost.traffic.shaping import Rule, ShapingRules, Slowed, Target, by_hand
from tests.world import LANES, NOW, PROFILES, snapshot

PAIR = ("bulk", "a.example")
RULE = Rule("fast", frozenset({"rate-limited"}), count=2, within_s=60, to=Target(1 / 4), for_s=60)
WORLD = replace(
    snapshot(),
    services=services_for([("bulk", "standard")], LANES, PROFILES),
    shaping=ShapingRules(True, (RULE,)),
)
BUSY = "host mx.a.example[192.0.2.1] said: 450 4.7.1 too many messages (in reply to RCPT TO)"


class Watched:
    """A watch, its clock and its store."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory}/local.db"
        self.now = NOW
        self.snapshot: Snapshot = WORLD
        self.metrics = Metrics("back")
        self.broken = False
        with closing(open_lanes(self.url)), closing(open_events(self.url)):
            pass
        self.watch = ShapingWatch(
            self._open,
            lambda: open_events(self.url),
            lambda: self.snapshot,
            self.metrics,
            every_s=0.005,
            clock=lambda: self.now,
        )

    def _open(self) -> LaneStore:
        if self.broken:
            raise StoreUnavailable("gone")
        return open_lanes(self.url)

    def refused(self, number: int, at: float | None = None, reply: str = BUSY) -> Delivery:
        at = self.now if at is None else at
        place = ("gp-bulk-standard", "mx.a.example", "192.0.2.1", "deferred", "4.7.1")
        return Delivery(
            at, at, f"Q{number}", "a@a", "u@a.example", *place, TlsClass.UNKNOWN, reply=reply
        )

    def take(self, *deliveries: Delivery) -> None:
        self.watch.take(deliveries, self.snapshot)

    def stored(self) -> list[Slowed]:
        with closing(open_lanes(self.url)) as store:
            return store.slowed()

    def slowed_pairs(self) -> float:
        families = {name: samples for name, _, _, samples in self.metrics.families()}
        return families["gatepost_shaping_slowed_pairs"][0][2]

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.watch.stop()


def test_replies_slow_a_pair(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        watched.take(*(watched.refused(number, reply="") for number in range(10)))
        watched.take(*(watched.refused(number) for number in (10, 11)))
        watched.until(watched.stored)
    (slowed,) = watched.stored()
    assert (slowed.lane, slowed.provider) == PAIR
    assert slowed.rates == (3, 6), "a quarter of twelve a minute"
    assert slowed.why == "450 4.7.1 too many messages (in reply to RCPT TO)"
    lines = [line for line in caplog.messages if line.startswith("shaping ")]
    assert "\n".join(lines) == (
        'shaping lane=bulk provider=a.example rate="slowed to 3/minute" '
        "until=2027-01-15T08:11:00Z strikes=1 rule=fast mode=enforce "
        'why="450 4.7.1 too many messages (in reply to RCPT TO)"'
    )

    def told() -> list[object]:
        with closing(open_events(watched.url)) as events:
            return [each.event for each in events.page(0, 10).events]

    watched.until(told)
    with closing(open_events(watched.url)) as events:
        (event,) = (each.event for each in events.page(0, 10).events)
    assert (event.kind, event.tenant, event.provider) == (
        EventKind.SHAPING_CHANGED,
        "",
        "a.example",
    )
    assert event.details["state"] == "slowed"


def test_what_was_under_way_makes_it_no_worse(watched: Watched) -> None:
    watched.take(*(watched.refused(number) for number in range(2)))
    watched.take(*(watched.refused(number) for number in range(2, 8)))
    watched.until(watched.stored)
    assert watched.stored()[0].strikes == 0
    watched.now += 40
    watched.take(*(watched.refused(number) for number in range(8, 10)))
    watched.until(lambda: watched.stored()[0].strikes == 1)
    assert watched.stored()[0].first_s == 120


def test_it_says_when_it_is_over(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        watched.take(*(watched.refused(number) for number in range(2)))
        watched.until(watched.stored)
        watched.until(lambda: watched.slowed_pairs() == 1)
        watched.now += 60 + 600
        watched.until(lambda: watched.slowed_pairs() == 0)
    assert "shaping-over lane=bulk provider=a.example" in caplog.messages


@pytest.mark.parametrize(
    "change", [{"shaping": ShapingRules()}, {"modes": replace(WORLD.modes, lane=Mode.OFF)}]
)
def test_off_nobody_looks(watched: Watched, change: dict[str, object]) -> None:
    watched.snapshot = replace(WORLD, **change)  # type: ignore[arg-type]
    watched.take(*(watched.refused(number) for number in range(4)))
    assert len(watched.watch._signals) == 0


def test_a_log_of_long_ago_slows_nobody_down(watched: Watched) -> None:
    watched.take(*(watched.refused(number, NOW - 700) for number in range(4)))
    assert len(watched.watch._signals) == 0


def test_what_an_operator_lifts_is_lifted_and_counted_anew(watched: Watched) -> None:
    watched.take(*(watched.refused(number) for number in range(2)))
    watched.until(watched.stored)
    watched.now += 40
    watched.take(watched.refused(2))
    with closing(open_lanes(watched.url)) as store:
        (lifted,) = store.lift(*PAIR)
    watched.until(lambda: not watched.watch._known)
    watched.take(watched.refused(3))
    assert watched.stored() == []
    watched.take(watched.refused(4))
    watched.until(watched.stored)
    assert watched.stored()[0].strikes == 0
    event = event_of_lift(lifted, "root", "sorted out", NOW)
    assert event.details == {"lane": "bulk", "state": "lifted", "by": "root", "why": "sorted out"}


def test_what_was_known_before_a_restart_is_known_after_it(watched: Watched) -> None:
    watched.take(*(watched.refused(number) for number in range(2)))
    watched.until(watched.stored)
    again = ShapingWatch(
        watched._open,
        lambda: open_events(watched.url),
        lambda: watched.snapshot,
        Metrics("back"),
        every_s=0.005,
        clock=lambda: watched.now,
    )
    try:
        watched.until(lambda: again._known)
        watched.now += 40
        again.take([watched.refused(number) for number in range(2)], watched.snapshot)
        watched.until(lambda: watched.stored()[0].strikes == 1)
    finally:
        again.stop()


def test_a_clock_that_is_put_back_keeps_nobody_slowed(watched: Watched) -> None:
    with closing(open_lanes(watched.url)) as store:
        store.slow(by_hand(PAIR, 5.0, 60, "why", "root", NOW + 5_000_000))
    watched.until(lambda: watched.stored()[0].since == NOW)


def test_a_store_that_is_away_gets_it_later(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    try:
        watched.watch.stop()
        watched.broken, watched.metrics = True, Metrics("back")
        watched.watch = ShapingWatch(
            watched._open,
            lambda: open_events(watched.url),
            lambda: watched.snapshot,
            watched.metrics,
            every_s=0.005,
            clock=lambda: watched.now,
        )
        watched.take(*(watched.refused(number) for number in range(2)))
        watched.until(lambda: watched.metrics.counts().get("errors"))
        assert watched.stored() == []
        watched.broken = False
        watched.until(watched.stored)
    finally:
        watched.watch.stop()
