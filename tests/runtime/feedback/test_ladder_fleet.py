"""The ladder of two nodes on one server: their events are one rate, and lead to one step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Change
from gatepost.modes import Mode, Modes
from gatepost.runtime.feedback.ladder import Climber, Stores
from gatepost.store.open import open_events, open_gmail, open_rates, open_statuses
from lab.postgres import PrivatePostgres, programs
from tests.world import NOW, snapshot, tenant

YAHOO = "yahoodns.net"
RULES = LadderRules(window_s=24 * 3600, min_delivered=100, lane="bulk")
WORLD = replace(snapshot(tenant("acme", Modes(ladder=Mode.ENFORCE))), ladder=RULES)
NODES = ("mx1", "mx2")


@pytest.fixture
def url() -> Iterator[str]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with contextlib.closing(PrivatePostgres()) as server:
        yield server.url


def opened(url: str) -> contextlib.closing[Stores]:
    return contextlib.closing(
        Stores(open_statuses(url), open_events(url), open_rates(url), open_gmail(url))
    )


def happen(stores: Stores, node: str, kind: EventKind, count: int) -> None:
    stores.events.add(
        [Event(f"{node} {kind} {n}", kind, NOW, "acme", provider=YAHOO) for n in range(count)]
    )


def test_what_two_nodes_delivered_and_got_complaints_of_is_one_rate_and_one_step(
    url: str,
) -> None:
    known = {name: Climber() for name in NODES}
    written, apart = Barrier(2), Barrier(2)

    def node(name: str) -> list[Change]:
        with opened(url) as stores:
            # Neither has the deliveries that a rate takes.
            happen(stores, name, EventKind.DELIVERED, 60)
            apart.wait(30)
            before = known[name].climb(stores, WORLD, NOW)
            apart.wait(30)
            # Nor has either the complaints that the step takes, of what it delivered itself.
            happen(stores, name, EventKind.COMPLAINED, 2)
            written.wait(30)
            return before + known[name].climb(stores, WORLD, NOW + 2)

    with ThreadPoolExecutor(2) as pool:
        changes = [each for found in pool.map(node, NODES) for each in found]
    (change,) = changes
    assert (change.details["count"], change.details["of"]) == (4, 120)
    with opened(url) as stores:
        assert stores.statuses.find("acme").step > Step.NONE
        told = stores.events.after(0, 9, kinds=[EventKind.STATUS_CHANGED])
        assert [each.event.details["count"] for each in told] == [4]
        assert Climber().climb(stores, WORLD, NOW + 4) == []
