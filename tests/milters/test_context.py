from __future__ import annotations

import threading

from milters.context import InFlight, Views
from tests.world import snapshot, tenant


def test_a_view_is_made_once_for_each_configuration() -> None:
    first, second = snapshot(), snapshot(tenant("t", campaign_header="x-campaign"))
    current = first
    views = Views(lambda: current)
    before = views.now()
    assert before is views.now()
    assert before.snapshot is first
    current = second
    after = views.now()
    assert after is views.now()
    assert after.snapshot is second
    assert after.wanted - before.wanted == {"x-campaign"}


def test_messages_in_hand() -> None:
    in_flight = InFlight()
    assert in_flight.enter()
    assert in_flight.enter()
    assert in_flight.count == 2
    assert not in_flight.wait_idle(0)
    in_flight.leave()
    assert not in_flight.wait_idle(0)
    ended = threading.Event()

    def wait() -> None:
        if in_flight.wait_idle(3600):
            ended.set()

    # It is told of the end, and does not look for it from time to time.
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    in_flight.leave()
    waiting.join(30)
    assert ended.is_set()
    assert in_flight.count == 0


def test_messages_that_begin_during_a_stop_are_not_waited_for() -> None:
    in_flight = InFlight()
    assert in_flight.enter()
    assert not in_flight.wait_idle(0)
    assert not in_flight.enter()
    in_flight.leave()
    assert in_flight.wait_idle(0)
