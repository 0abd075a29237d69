"""What every store must do with the status of tenants."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.feedback.events import EventKind
from gatepost.feedback.rules import Step
from gatepost.feedback.status import (
    NORMAL,
    WHOLE,
    Change,
    Part,
    Pause,
    Queued,
    Scope,
    Status,
    Whose,
)
from gatepost.store import postgres_tenant_status
from gatepost.store import sqlite_tenant_status as module
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_statuses, sqlite_path
from gatepost.store.postgres_server import connect
from gatepost.store.tenant_status import TenantStatusStore

AT = 1_800_000_000.25
WHY = "complaints 0.61 % (47 of 7,701, at least 0.46 %)"
PAUSE = Pause(Scope.MARKETING, "list bought", AT, AT + 3600, "root")


def change(at: float = AT, step: Step = Step.SLOW, **details: str) -> Change:
    found = {"mode": "enforce", "why": WHY, **details}
    return Change("acme", Whose.AUTOMATIC, at, "none", step.keyword, found)


@pytest.fixture
def statuses(url: str) -> Iterator[TenantStatusStore]:
    with contextlib.closing(open_statuses(url)) as opened:
        yield opened


@pytest.fixture
def events(url: str) -> Iterator[EventStore]:
    with contextlib.closing(open_events(url)) as opened:
        yield opened


def told(events):
    found = [each.event for each in events.after(0, 100)]
    assert {each.kind for each in found} <= {EventKind.STATUS_CHANGED}
    return [(each.details["whose"], each.details["from"], each.details["to"]) for each in found]


def test_who_has_no_row_is_normal(statuses, events):
    assert statuses.find("acme") == NORMAL
    assert statuses.all() == {}
    assert told(events) == []


def test_a_step_is_kept_and_told(statuses, events):
    version = statuses.version()
    assert statuses.set_step(change(), NORMAL, Step.SLOW, WHY)
    assert statuses.all() == {"acme": Status(Step.SLOW, AT, WHY)}
    assert statuses.version() != version
    (stored,) = events.after(0, 10)
    assert stored.event.tenant == "acme"
    assert stored.event.at == AT
    assert stored.event.details == {
        "whose": "automatic",
        "from": "none",
        "to": "slow",
        "mode": "enforce",
        "why": WHY,
    }


def test_what_the_ladder_would_do_is_told_to_the_platform_alone(statuses, events):
    assert statuses.set_step(change(mode="observe"), NORMAL, Step.SLOW, WHY)
    assert events.after(0, 10, tenant="acme") == []
    (stored,) = events.after(0, 10, tenant="")
    assert stored.event.details["tenant"] == "acme"


def test_a_step_that_was_computed_from_an_old_status_is_not_taken(statuses, events):
    assert statuses.set_step(change(), NORMAL, Step.SLOW, WHY)
    assert not statuses.set_step(change(AT + 1), NORMAL, Step.WARN, WHY)
    known = statuses.find("acme")
    statuses.resume("acme", AT + 2, "root", "spoke to them")
    assert not statuses.set_step(change(AT + 3), known, Step.PAUSE_ALL, WHY)
    assert not statuses.set_step(change(AT + 3), NORMAL, Step.PAUSE_ALL, WHY)
    assert statuses.find("acme") == Status(counted_from=AT + 2)
    assert told(events) == [("automatic", "none", "slow"), ("operator", "active", "active")]


def test_a_pause_and_a_step_do_not_touch_each_other(statuses):
    assert statuses.pause("acme", PAUSE) == NORMAL
    assert statuses.set_step(change(), statuses.find("acme"), Step.SLOW, WHY)
    assert statuses.find("acme") == Status(Step.SLOW, AT, WHY, PAUSE)
    again = replace(PAUSE, scope=Scope.ALL, until=None, since=AT + 5)
    assert statuses.pause("acme", again).pause == PAUSE
    assert statuses.find("acme") == Status(Step.SLOW, AT, WHY, again)


def test_a_step_computed_before_a_pause_is_taken(statuses):
    # An operator's pause changes nothing of what was computed.
    statuses.pause("acme", PAUSE)
    assert statuses.set_step(change(), NORMAL, Step.SLOW, WHY)


def test_a_resume_takes_back_both_and_counts_anew(statuses, events):
    statuses.pause("acme", PAUSE)
    statuses.set_step(change(AT + 1), statuses.find("acme"), Step.PAUSE_ALL, WHY)
    was = statuses.resume("acme", AT + 60, "anna", "spoke to them")
    assert was == Status(Step.PAUSE_ALL, AT + 1, WHY, PAUSE)
    assert statuses.find("acme") == Status(counted_from=AT + 60)
    assert told(events)[-1] == ("operator", "paused-marketing", "active")
    details = events.after(0, 10)[-1].event.details
    assert (details["by"], details["step"], details["reason"]) == (
        "anna",
        "pause-all",
        "spoke to them",
    )


def test_a_pause_ends_at_its_time_and_is_told_once(statuses, events):
    statuses.pause("acme", PAUSE)
    statuses.pause("other", replace(PAUSE, until=None))
    assert statuses.expire(AT + 3599) == []
    assert statuses.expire(AT + 3600) == ["acme"]
    assert statuses.expire(AT + 3601) == []
    assert statuses.find("acme") == NORMAL
    assert statuses.find("other").pause is not None
    last = events.after(0, 10)[-1].event
    assert (last.at, last.details["to"]) == (AT + 3600, "active")


def part(campaign="", domain="", **fields):
    scope = Part(campaign, domain).scope
    return replace(PAUSE, scope=scope, campaign=campaign, domain=domain, **fields)


SPRING, THERE = part("spring", since=AT + 1), part(domain="example.org", since=AT + 2)
BOTH = part("spring", "example.org", since=AT + 3, until=None, queued=Queued.HOLD)


def test_each_part_of_the_mail_has_a_pause_of_its_own(statuses, events):
    for pause in (PAUSE, SPRING, THERE, BOTH):
        statuses.pause("acme", pause)
    assert statuses.find("acme") == Status(pause=PAUSE, parts=(SPRING, THERE, BOTH))
    assert statuses.all() == {"acme": statuses.find("acme")}
    again = replace(SPRING, reason="another", since=AT + 4, queued=Queued.HOLD)
    assert statuses.pause("acme", again).parts == (SPRING, THERE, BOTH)
    assert statuses.find("acme").parts == (THERE, BOTH, again)
    assert statuses.find("acme").pause == PAUSE
    found = [each.event.details for each in events.after(0, 10)]
    assert [(each["from"], each["to"]) for each in found] == [
        ("active", "paused-marketing"),
        ("active", "paused-campaign"),
        ("active", "paused-domain"),
        ("active", "paused-campaign-domain"),
        ("paused-campaign", "paused-campaign"),
    ]
    assert [(each.get("campaign"), each.get("domain")) for each in found[:4]] == [
        (None, None),
        ("spring", None),
        (None, "example.org"),
        ("spring", "example.org"),
    ]
    assert [each["queued"] for each in found[:4]] == ["keep", "keep", "keep", "hold"]


def test_a_step_of_the_ladder_leaves_the_pauses_of_parts(statuses):
    statuses.pause("acme", BOTH)
    assert statuses.set_step(change(), statuses.find("acme"), Step.SLOW, WHY)
    assert statuses.find("acme") == Status(Step.SLOW, AT, WHY, parts=(BOTH,))


def test_one_pause_is_taken_back_alone(statuses, events):
    for pause in (PAUSE, SPRING, THERE):
        statuses.pause("acme", pause)
    statuses.set_step(change(AT + 1), statuses.find("acme"), Step.SLOW, WHY)
    was = statuses.resume("acme", AT + 9, "anna", "done", SPRING.part)
    assert was.parts == (SPRING, THERE)
    assert statuses.find("acme") == Status(Step.SLOW, AT + 1, WHY, PAUSE, parts=(THERE,))
    last = events.after(0, 10)[-1].event.details
    assert (last["from"], last["to"], last["campaign"]) == ("paused-campaign", "active", "spring")
    # What is not paused needs no resume, and none is told of.
    count = len(events.after(0, 100))
    assert statuses.resume("acme", AT + 10, "anna", "", SPRING.part).parts == (THERE,)
    assert len(events.after(0, 100)) == count
    statuses.resume("acme", AT + 11, "anna", "", WHOLE)
    assert statuses.find("acme") == Status(Step.SLOW, AT + 1, WHY, parts=(THERE,))


def test_a_resume_without_a_part_takes_back_all(statuses, events):
    for pause in (SPRING, THERE):
        statuses.pause("acme", pause)
    assert statuses.resume("acme", AT + 9, "anna", "").parts == (SPRING, THERE)
    assert statuses.find("acme") == Status(counted_from=AT + 9)
    assert events.after(0, 10)[-1].event.details["parts"] == 2


def test_the_pauses_of_parts_end_at_their_times(statuses, events):
    for pause in (replace(PAUSE, until=AT + 20), SPRING, replace(THERE, until=AT + 20), BOTH):
        statuses.pause("acme", pause)
    assert statuses.expire(AT + 19) == []
    assert statuses.expire(AT + 20) == ["acme"]
    assert statuses.find("acme").parts == (SPRING, BOTH)
    told = [each.event for each in events.after(0, 10)][-2:]
    assert {each.details.get("domain") for each in told} == {None, "example.org"}
    assert {each.at for each in told} == {AT + 20}
    assert statuses.expire(AT + 10**6) == ["acme"]
    assert statuses.find("acme").parts == (BOTH,)


def test_the_version_changes_with_each_change_and_for_every_connection(url, statuses):
    with contextlib.closing(open_statuses(url)) as other:
        seen = {other.version()}
        statuses.pause("acme", PAUSE)
        seen.add(other.version())
        statuses.resume("acme", AT, "root", "")
        seen.add(other.version())
        assert len(seen) == 3
        assert other.version() in seen


def test_octets_that_are_no_text_are_kept_as_escapes(statuses):
    statuses.pause("acme", replace(PAUSE, reason="a\udcffb"))
    assert statuses.find("acme").pause.reason == "a\\udcffb"


def test_the_history_has_what_observe_kept_from_the_tenant(statuses):
    statuses.set_step(change(mode="observe"), NORMAL, Step.SLOW, WHY)
    statuses.pause("acme", replace(PAUSE, since=AT + 1))
    statuses.pause("other", PAUSE)
    statuses.resume("acme", AT + 2, "root", "")
    found = statuses.history("acme", 10)
    assert [(e.details["whose"], e.details["to"]) for e in found] == [
        ("operator", "active"),
        ("operator", "paused-marketing"),
        ("automatic", "slow"),
    ]
    assert len(statuses.history("acme", 2)) == 2


@pytest.mark.usefixtures("statuses")
def test_the_history_is_found_by_an_index(url):
    values = {"tenant": "a", "limit": 1}
    if sqlite_path(url) is None:
        with contextlib.closing(connect(url)) as server:
            # An empty table is read whole unless that is forbidden.
            server.execute("set enable_seqscan = off")
            plan = server.execute(f"explain {postgres_tenant_status._HISTORY}", values)
            assert "events_status" in str(plan.fetchall())
        return
    with contextlib.closing(sqlite3.connect(sqlite_path(url))) as db:
        plan = db.execute(f"explain query plan {module._HISTORY}", values)
        assert "idx_events_status" in str(plan.fetchall())
