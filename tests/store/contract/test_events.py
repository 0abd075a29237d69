"""What every store must do with events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.store.events import (
    KEEP_COUNTS_S,
    KEEP_IDS_S,
    MAX_CAMPAIGNS,
    MAX_MAIL_TYPES,
    MAX_TEXT,
    OTHER,
    EventCount,
    EventStore,
    StoredEvent,
)
from gatepost.store.open import open_events
from gatepost.store.sqlite_events import PRUNE_ROWS, SCAN_ROWS

HOUR = 3600.0
DAY = 24 * HOUR
NOON = 20_000 * DAY + 12 * HOUR
HOUR_OF_NOON = 20_000 * 24 + 12


@pytest.fixture
def events(url: str) -> Iterator[EventStore]:
    with contextlib.closing(open_events(url)) as opened:
        yield opened


def event(number: object = 1, kind: EventKind = EventKind.DELIVERED, **fields: object) -> Event:
    plain = Event(f"e{number}", kind, NOON, "acme")
    return replace(plain, **fields)  # type: ignore[arg-type]


def ids(found: list[StoredEvent]) -> list[str]:
    return [each.event.id for each in found]


def test_an_empty_store_has_nothing_to_say(events: EventStore) -> None:
    assert events.after(0, 10) == []
    assert events.page(0, 10).events == ()
    assert events.page(0, 10).position == 0
    assert events.end() == 0
    assert events.position_at(0) == 0
    assert events.counts(0, NOON) == []
    assert events.prune(NOON) == 0
    assert events.add([]) == []


def test_an_event_is_found_by_its_id(events: EventStore) -> None:
    events.add([event(1), event(2, provider="google.com", details={"reply": "250 ok"})])
    found = events.find("e2")
    assert found is not None
    assert (found.provider, found.details) == ("google.com", {"reply": "250 ok"})
    assert events.find("e3") is None


def test_events_come_back_as_they_were(events: EventStore) -> None:
    full = Event(
        "b-1",
        EventKind.BOUNCED,
        NOON + 0.25,
        "acme",
        "0123456789abcdef",
        "4abc",
        "s@acme.example",
        "r@x.example",
        "spring",
        "marketing",
        "x.example",
        "y.example",
        {"class": "invalid-recipient", "severity": "hard", "reply": "550 5.1.1 né", "tries": 2},
    )
    assert events.add([full, event(2)]) == ["b-1", "e2"]
    assert [each.event for each in events.after(0, 10)] == [full, event(2)]


def test_positions_grow_and_a_limit_holds(events: EventStore) -> None:
    events.add([event(n) for n in range(5)])
    found = events.after(0, 3)
    assert ids(found) == ["e0", "e1", "e2"]
    assert ids(events.after(found[-1].position, 3)) == ["e3", "e4"]
    positions = [each.position for each in events.after(0, 9)]
    assert positions == sorted(set(positions))
    assert events.end() == positions[-1]


def test_an_id_is_stored_and_counted_once(events: EventStore) -> None:
    assert events.add([event(1), event(1), event(2)]) == ["e1", "e2"]
    assert events.add([event(2, kind=EventKind.BOUNCED), event(3)]) == ["e3"]
    assert ids(events.after(0, 9)) == ["e1", "e2", "e3"]
    assert [(each.kind, each.count) for each in events.counts(NOON, NOON + 1)] == [
        (EventKind.DELIVERED, 3)
    ]


def test_a_tenant_or_some_kinds_alone(events: EventStore) -> None:
    events.add(
        [
            event(1),
            event(2, tenant="beta"),
            event(3, kind=EventKind.BOUNCED),
            event(4, tenant="", kind=EventKind.WARNING),
            event(5, tenant="beta", kind=EventKind.BOUNCED),
        ]
    )
    assert ids(events.after(0, 9, "acme")) == ["e1", "e3"]
    assert ids(events.after(0, 9, "")) == ["e4"]
    assert ids(events.after(0, 9, kinds={EventKind.BOUNCED})) == ["e3", "e5"]
    assert ids(events.after(0, 9, "beta", {EventKind.BOUNCED, EventKind.WARNING})) == ["e5"]
    assert events.after(0, 9, kinds=()) == []


def test_a_page_tells_how_far_the_stream_was_read(events: EventStore) -> None:
    events.add([event(n, tenant="acme" if n % 2 else "beta") for n in range(1, 7)])
    page = events.page(0, 2, "acme")
    assert (ids(list(page.events)), page.position) == (["e1", "e3"], page.events[-1].position)
    page = events.page(page.position, 2, "acme")
    assert (ids(list(page.events)), page.position) == (["e5"], events.end())
    assert events.page(page.position, 2, "acme").position == events.end()
    assert ids(list(events.page(0, 9, until=page.events[-1].position).events))[-1] == "e5"


def test_what_nobody_asked_for_is_passed_over_in_bounded_steps(events: EventStore) -> None:
    many = [event(n) for n in range(SCAN_ROWS + 5)]
    events.add([*many, event("last", kind=EventKind.BOUNCED)])
    first = events.page(0, 9, kinds={EventKind.BOUNCED})
    assert (first.events, first.position) == ((), SCAN_ROWS)
    second = events.page(first.position, 9, kinds={EventKind.BOUNCED})
    assert ids(list(second.events)) == ["elast"]
    assert ids(events.after(0, 9, kinds={EventKind.BOUNCED})) == ["elast"]


def test_position_at_a_time(events: EventStore) -> None:
    events.add([event(n, at=NOON + n) for n in (0, 1, 2)])
    assert ids(events.after(events.position_at(NOON + 1), 9)) == ["e1", "e2"]
    assert events.position_at(NOON + 3) == events.end()
    assert events.position_at(0) == 0


def test_the_last_ones_and_how_many_there_are(events: EventStore) -> None:
    events.add([event(n, tenant="acme" if n % 2 else "beta") for n in range(6)])
    assert ids(events.after(events.last(2), 9)) == ["e4", "e5"]
    assert ids(events.after(events.last(2, "beta"), 9, "beta")) == ["e2", "e4"]
    assert events.last(99) == events.last(1, kinds={EventKind.BOUNCED}) == 0
    assert events.after(events.last(0), 9) == []
    assert events.count(0, events.end()) == 6
    assert events.count(1, 4, "acme") == 2
    assert events.count(0, 4, kinds={EventKind.BOUNCED}) == 0


def test_counts_by_everything_that_tells_them_apart(events: EventStore) -> None:
    bounce = event(
        1,
        kind=EventKind.BOUNCED,
        campaign="spring",
        mail_type="marketing",
        provider="google.com",
        details={"class": "invalid-recipient", "severity": "hard"},
    )
    others = [
        replace(bounce, id="2"),
        replace(bounce, id="3", details={"class": "invalid-recipient", "severity": "soft"}),
        replace(bounce, id="4", details={"class": "mailbox-full", "severity": "soft"}),
        replace(bounce, id="5", tenant="beta"),
        replace(bounce, id="6", at=NOON + HOUR),
        replace(bounce, id="7", at=NOON - 1),
    ]
    events.add([bounce, *others])
    start = (HOUR_OF_NOON, "acme", "spring", "marketing", "google.com", EventKind.BOUNCED)
    found = events.counts(NOON, NOON + 1)
    assert sorted(found, key=lambda each: (each.tenant, each.bounce_class, each.severity)) == [
        EventCount(*start, "invalid-recipient", 2, "hard"),
        EventCount(*start, "invalid-recipient", 1, "soft"),
        EventCount(*start, "mailbox-full", 1, "soft"),
        replace(EventCount(*start, "invalid-recipient", 1, "hard"), tenant="beta"),
    ]
    assert [each.tenant for each in events.counts(NOON, NOON + 1, "beta")] == ["beta"]
    assert [each.hour for each in events.counts(NOON + HOUR - 1, NOON + 2 * HOUR, "acme")][-1] == (
        HOUR_OF_NOON + 1
    )
    assert len(events.counts(NOON - 1, NOON + HOUR + 1)) == 6


@pytest.mark.parametrize(
    ("label", "limit"), [("campaign", MAX_CAMPAIGNS), ("mail_type", MAX_MAIL_TYPES)]
)
def test_labels_that_a_tenant_makes_up_are_few(events: EventStore, label: str, limit: int) -> None:
    events.add([event(n, **{label: f"c{n}"}) for n in range(limit - 1)])
    events.add([event(f"x{n}", **{label: f"x{n}"}) for n in range(50)])
    # The first ones go on under their names, others have a budget of their own.
    events.add(
        [
            event("again", **{label: "c0"}),
            event("other-tenant", tenant="beta", **{label: "x7"}),
            event("next-day", at=NOON + DAY, **{label: "x7"}),
            event("none"),
        ]
    )
    counts = {getattr(each, label): each.count for each in events.counts(NOON, NOON + 1, "acme")}
    assert len(counts) == limit + 2
    assert (counts["c0"], counts["x0"], counts[OTHER], counts[""]) == (2, 1, 49, 1)
    assert getattr(events.counts(NOON, NOON + 1, "beta")[0], label) == "x7"
    assert getattr(events.counts(NOON + DAY, NOON + DAY + 1)[0], label) == "x7"
    # The events themselves keep what the tenant said.
    assert getattr(events.after(0, 2000)[limit + 10].event, label) == "x11"


def test_pruning_leaves_counts_and_positions(events: EventStore) -> None:
    events.add([event(n, at=NOON + n) for n in range(4)])
    last = events.end()
    assert events.prune(NOON + 2) == 2
    assert ids(events.after(0, 9)) == ["e2", "e3"]
    assert events.counts(NOON, NOON + 1)[0].count == 4
    assert events.prune(NOON + DAY) == 2
    assert events.end() == last
    assert events.page(0, 9).position == last
    events.add([event(9)])
    assert events.after(last, 9)[0].position > last


def test_pruning_takes_many_steps(events: EventStore) -> None:
    events.add([event(n, at=NOON + n % 2) for n in range(2 * PRUNE_ROWS + 2)])
    assert events.prune(NOON + 1) == PRUNE_ROWS + 1
    assert events.prune(NOON + 2) == PRUNE_ROWS + 1


@pytest.mark.parametrize("kind", [EventKind.COMPLAINED, EventKind.UNSUBSCRIBED, EventKind.BOUNCED])
def test_what_acts_on_addresses_counts_once_even_after_its_event_has_gone(
    events: EventStore, kind: EventKind
) -> None:
    events.add([event(1, kind=kind)])
    events.prune(NOON + KEEP_IDS_S)
    assert events.after(0, 9) == []
    assert events.add([event(1, kind=kind)]) == []
    assert events.counts(NOON, NOON + 1)[0].count == 1
    # In the end nothing is left of it.
    events.prune(NOON + DAY + KEEP_IDS_S)
    assert events.add([event(1, kind=kind)]) == ["e1"]


def test_old_counts_go(events: EventStore) -> None:
    events.add([event(1), event(2, at=NOON + HOUR)])
    events.prune(NOON + HOUR + KEEP_COUNTS_S)
    assert [each.hour for each in events.counts(0, 2 * NOON)] == [HOUR_OF_NOON + 1]


def test_texts_of_strangers_are_stored_readably(events: EventStore) -> None:
    hostile = "x'\"; drop table events; --\0\n\x1b[31m\udc80"
    odd = event(
        recipient=hostile,
        campaign=hostile,
        provider="p" * 2 * MAX_TEXT,
        details={"reply": hostile, "long": "y" * 2 * MAX_TEXT, "rate": float("inf")},
    )
    assert events.add([odd]) == ["e1"]
    [found] = events.after(0, 9)
    readable = hostile.replace("\udc80", "\\udc80").replace("\0", "\\x00")
    assert found.event.recipient == found.event.details["reply"] == readable
    assert found.event.details["rate"] == "inf"
    assert len(str(found.event.details["long"])) == len(found.event.provider) == MAX_TEXT


def test_a_batch_is_stored_whole_or_not_at_all(events: EventStore) -> None:
    broken = event(2, tenant=None)
    with pytest.raises(TypeError):
        events.add([event(1), broken])
    assert events.after(0, 9) == []
    assert events.counts(0, 2 * NOON) == []
