"""The ladder at work: events in, steps out, each once."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.reporting import GMAIL
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Pause, Scope
from gatepost.modes import Mode, Modes
from gatepost.runtime.feedback.ladder import Climber, LadderWatch, Stores
from gatepost.runtime.metrics import Metrics
from gatepost.store.gmail import GmailDay
from gatepost.store.open import open_events, open_gmail, open_rates, open_statuses
from gatepost.store.sqlite_rates import SqliteRates
from gatepost.store.sqlite_tenant_status import SqliteTenantStatus
from lab.process import wait_until
from tests.world import NOW, snapshot, tenant

YAHOO = "yahoodns.net"
HOUR = 3600.0
RULES = LadderRules(window_s=24 * 3600, min_delivered=100, lane="bulk")


def world(mode=Mode.ENFORCE, **changes):
    tenants = (tenant(name, Modes(ladder=mode)) for name in ("acme", "other"))
    return replace(snapshot(*tenants), ladder=replace(RULES, **changes))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def stores(url):
    with contextlib.closing(open_stores(url)) as opened:
        yield opened


def open_stores(url):
    return Stores(open_statuses(url), open_events(url), open_rates(url), open_gmail(url))


def happen(stores, kind, count, at=NOW, name="acme", provider=YAHOO, **details):
    stem = f"{kind.value}-{at}-{name}-{provider}"
    stores.events.add(
        [
            Event(f"{stem}-{n}", kind, at, name, provider=provider, details=details)
            for n in range(count)
        ]
    )


def mail(stores, complaints, delivered=1000, at=NOW, **fields):
    happen(stores, EventKind.DELIVERED, delivered, at, **fields)
    happen(stores, EventKind.COMPLAINED, complaints, at, **fields)


def steps(stores):
    return {name: status.step for name, status in stores.statuses.all().items()}


def history(stores):
    found = [e.event for e in stores.events.after(0, 10**6, kinds=[EventKind.STATUS_CHANGED])]
    return [(e.tenant or e.details["tenant"], e.details["from"], e.details["to"]) for e in found]


def test_a_tenant_is_put_on_its_step_and_told_with_its_numbers(stores):
    mail(stores, 7)
    mail(stores, 2, name="other")
    (change,) = Climber().climb(stores, world(), NOW)
    assert (change.tenant, change.before, change.after) == ("acme", "none", "pause-marketing")
    assert steps(stores) == {"acme": Step.PAUSE_MARKETING}
    event = stores.events.after(0, 10**6, kinds=[EventKind.STATUS_CHANGED])[0].event
    assert event.tenant == "acme"
    assert event.details == {
        "whose": "automatic",
        "from": "none",
        "to": "pause-marketing",
        "mode": "enforce",
        "why": "complaints 0.70 % (7 of 1,000, at least 0.34 %)",
        "rate": "complaints",
        "count": 7,
        "of": 1000,
        "share": 0.007,
        "low": 0.003395,
        "high": 0.014378,
        "threshold": 0.003,
    }


def test_what_is_computed_again_changes_nothing(stores):
    mail(stores, 7)
    climber = Climber()
    assert len(climber.climb(stores, world(), NOW)) == 1
    for fresh in (climber, Climber()):
        for later in (0, 60, 4000):
            assert fresh.climb(stores, world(), NOW + later) == []
    assert history(stores) == [("acme", "none", "pause-marketing")]


def test_each_event_leads_to_one_look_at_its_tenant(stores, monkeypatch):
    climber = Climber()
    happen(stores, EventKind.BOUNCED, 1)
    climber.climb(stores, world(), NOW)
    looks = []
    sums = SqliteRates.sums
    monkeypatch.setattr(SqliteRates, "sums", lambda *args: looks.append(args[-1]) or sums(*args))
    mail(stores, 3, name="other")
    happen(stores, EventKind.DELIVERED, 1000)
    assert [each.after for each in climber.climb(stores, world(), NOW + 60)] == ["warn"]
    assert looks == ["other"]
    # Who is on a step is looked at, for it to be taken back; and nobody else.
    climber.climb(stores, world(), NOW + 120)
    assert looks == ["other", "other"]
    # Once an hour everybody.
    happen(stores, EventKind.BOUNCED, 1, at=NOW + 130)
    looks.clear()
    climber.climb(stores, world(), NOW + 7200)
    assert looks == ["acme", "other"]


def test_it_goes_up_as_complaints_come_in_and_down_by_time(stores):
    climber, made = Climber(), world()
    mail(stores, 3)
    climber.climb(stores, made, NOW)
    happen(stores, EventKind.COMPLAINED, 3, NOW + 1)
    climber.climb(stores, made, NOW + 60)
    assert steps(stores) == {"acme": Step.SLOW}
    # A whole window on that step, with better mail.
    mail(stores, 0, 5000, at=NOW + 12 * HOUR)
    assert climber.climb(stores, made, NOW + 24 * HOUR + 50) == []
    climber.climb(stores, made, NOW + 25 * HOUR + 60)
    assert steps(stores) == {"acme": Step.WARN}
    climber.climb(stores, made, NOW + 50 * HOUR + 60)
    assert steps(stores) == {"acme": Step.NONE}
    assert history(stores) == [
        ("acme", "none", "warn"),
        ("acme", "warn", "slow"),
        ("acme", "slow", "warn"),
        ("acme", "warn", "none"),
    ]


def test_after_a_resume_nothing_of_before_counts(stores):
    climber, made = Climber(), world()
    mail(stores, 50)
    climber.climb(stores, made, NOW)
    assert steps(stores) == {"acme": Step.PAUSE_ALL}
    stores.statuses.resume("acme", NOW + 60, "root", "spoke to them")
    for later in (61, 600, 4000):
        assert Climber().climb(stores, made, NOW + later) == []
    mail(stores, 7, at=NOW + 2 * HOUR)
    (change,) = climber.climb(stores, made, NOW + 2 * HOUR)
    assert (change.after, change.details["of"]) == ("pause-marketing", 1000)


def test_in_observe_the_platform_is_told_and_the_step_is_kept(stores):
    mail(stores, 50)
    (change,) = Climber().climb(stores, world(Mode.OBSERVE), NOW)
    assert change.details["mode"] == "observe"
    assert steps(stores) == {"acme": Step.PAUSE_ALL}
    assert stores.events.after(0, 10**6, tenant="acme", kinds=[EventKind.STATUS_CHANGED]) == []
    assert history(stores) == [("acme", "none", "pause-all")]


def test_off_is_off(stores):
    mail(stores, 50)
    assert Climber().climb(stores, world(Mode.OFF), NOW) == []


def test_who_is_not_configured_is_left_alone(stores):
    mail(stores, 50, name="gone")
    assert Climber().climb(stores, world(), NOW) == []


def test_hard_bounces_lead_to_steps_too(stores):
    happen(stores, EventKind.BOUNCED, 100, severity="hard", **{"class": "invalid-recipient"})
    (change,) = Climber().climb(stores, world(), NOW)
    assert change.details["rate"] == "hard bounces"
    assert change.after == "pause-all"


def test_mail_to_oneself_waters_nothing_down(stores):
    mail(stores, 7)
    # A tenant whose own domain has reported one complaint, and gets all the mail in the world.
    mail(stores, 1, 50_000, provider="acme.example")
    (change,) = Climber().climb(stores, world(), NOW)
    assert change.after == "pause-marketing"
    assert change.details["why"].startswith("complaints at known providers 0.70 % (7 of 1,000")


def test_gmails_shares_lead_to_steps_too(stores):
    day = int(NOW // 86_400)
    happen(stores, EventKind.DELIVERED, 1000, at=day * 86_400.0, provider=GMAIL)
    stores.gmail.add([GmailDay(day, "a.example", "tacme", 0.02)])
    rules = {"window_s": 3 * 86_400}
    (change,) = Climber().climb(stores, world(**rules), NOW)
    assert (change.details["rate"], change.details["count"]) == ("complaints at Gmail", 20)


def test_an_operators_pause_ends_and_the_step_stays(stores):
    mail(stores, 50)
    climber = Climber()
    climber.climb(stores, world(), NOW)
    stores.statuses.pause("acme", Pause(Scope.ALL, "x", NOW, NOW + 30))
    climber.climb(stores, world(), NOW + 60)
    status = stores.statuses.find("acme")
    assert (status.pause, status.step) == (None, Step.PAUSE_ALL)
    assert history(stores)[-1] == ("acme", "paused-all", "active")


def test_a_step_that_a_resume_overtook_is_not_taken(stores, monkeypatch):
    mail(stores, 50)
    sums = SqliteRates.sums

    def resumed(*args):
        found = sums(*args)
        stores.statuses.resume("acme", NOW, "root", "")
        return found

    monkeypatch.setattr(SqliteRates, "sums", resumed)
    assert Climber().climb(stores, world(), NOW) == []
    assert steps(stores) == {"acme": Step.NONE}


def test_after_a_failure_the_same_events_are_looked_at(stores, monkeypatch):
    climber = Climber()
    climber.climb(stores, world(), NOW)
    mail(stores, 7)
    set_step = SqliteTenantStatus.set_step

    def failing(*_):
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(SqliteTenantStatus, "set_step", failing)
    with pytest.raises(StoreUnavailable):
        climber.climb(stores, world(), NOW + 60)
    monkeypatch.setattr(SqliteTenantStatus, "set_step", set_step)
    assert len(climber.climb(stores, world(), NOW + 120)) == 1


def test_the_watch_tells_each_step_in_the_log(url, stores, caplog):
    mail(stores, 7, at=time.time())
    stores.statuses.pause("other", Pause(Scope.MARKETING, "x", NOW))
    metrics = Metrics("back")
    watch = LadderWatch(lambda: open_stores(url), world, metrics, first_s=0.01, every_s=0.01)
    wait_until(lambda: "ladder tenant=" in caplog.text, 10, "the step")
    watch.stop()
    told = [each for each in caplog.records if each.message.startswith("ladder ")]
    line = (
        "ladder tenant=acme from=none to=pause-marketing mode=enforce "
        'why="complaints 0.70 % (7 of 1,000, at least 0.34 %)"'
    )
    assert [each.message for each in told] == [line]
    assert told[0].levelno == logging.WARNING
    held = {
        (sample.labels["status"], sample.labels["effect"]): sample.value
        for family in metrics.registry.collect()
        if family.name == "gatepost_tenants_held"
        for sample in family.samples
    }
    assert {key for key, value in held.items() if value} == {
        ("pause-marketing", "yes"),
        ("operator-marketing", "yes"),
    }
    assert held["pause-all", "no"] == 0
