"""Each change of a lane is one event, however often it is read, and waits for a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.paths import burst_path
from gatepost.runtime.traffic.lane_events import LaneEvents, events_of
from gatepost.runtime.traffic.sheet import TrafficSheet

CHANGE = {
    "at": 1_800_000_000.0,
    "tenant": "acme",
    "from": "normal",
    "to": "burst",
    "why": "more than 20/second",
    "mode": "enforce",
}


class Store:
    """A store of events, which may be away."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.away = False
        self.asked = 0

    def add(self, events: list[Event]) -> int:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("locked")
        self.events += events
        return len(events)


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_an_event_says() -> None:
    (event,) = events_of({"changes": [CHANGE]})
    assert (event.kind, event.tenant, event.at) == (EventKind.LANE_CHANGED, "acme", CHANGE["at"])
    assert event.details == {
        "from": "normal",
        "to": "burst",
        "why": "more than 20/second",
        "mode": "enforce",
    }
    assert events_of({"changes": [CHANGE]})[0].id == event.id
    assert events_of({"changes": [{**CHANGE, "to": "normal"}]})[0].id != event.id


def test_observe_is_told_to_the_platform_alone() -> None:
    (event,) = events_of({"changes": [{**CHANGE, "mode": "observe"}]})
    assert event.tenant == ""
    assert event.details["tenant"] == "acme"


def test_what_is_broken_is_left_out() -> None:
    for data in (None, [], {}, {"changes": 5}, {"changes": [1, {}, {"at": "x"}]}):
        assert events_of(data) == []


def test_each_is_stored_once_and_waits_for_the_store(tmp_path: Path) -> None:
    store, metrics = Store(), Metrics("back")
    store.away = True
    sheet = TrafficSheet(burst_path(tmp_path), every_s=0.01)
    sheet.put("burst", {"tenants": {}, "changes": [CHANGE]})
    watch = LaneEvents(tmp_path, lambda: store, metrics, every_s=0.01)
    wait(lambda: store.asked > 1)
    store.away = False
    wait(lambda: bool(store.events))
    second = {**CHANGE, "at": CHANGE["at"] + 1, "to": "normal"}
    sheet.put("burst", {"tenants": {}, "changes": [CHANGE, second]})
    wait(lambda: len(store.events) > 1)
    watch.stop()
    sheet.stop()
    assert [each.details["to"] for each in store.events] == ["burst", "normal"]
