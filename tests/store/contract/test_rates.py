"""What every store must do with sums of counts, and with Gmail's shares."""

from __future__ import annotations

import contextlib

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.reporting import GMAIL
from gatepost.store.gmail import KEEP_DAYS, GmailDay
from gatepost.store.open import open_events, open_gmail, open_rates

DAY = 20_833
NOON = DAY * 86_400 + 12 * 3600.0
YAHOO = "yahoodns.net"


def event(number, kind=EventKind.DELIVERED, at=NOON, provider=YAHOO, tenant="acme", **details):
    return Event(f"e{number}", kind, at, tenant, provider=provider, details=details)


@pytest.fixture
def events(url):
    with contextlib.closing(open_events(url)) as opened:
        yield opened


@pytest.fixture
def rates(url):
    with contextlib.closing(open_rates(url)) as opened:
        yield opened


@pytest.fixture
def gmail(url):
    with contextlib.closing(open_gmail(url)) as opened:
        yield opened


def test_sums_are_of_whole_hours_and_of_one_tenant(events, rates):
    events.add(
        [
            event(1, at=NOON - 3600),
            event(2, at=NOON - 1),
            event(3),
            event(4, at=NOON + 3599),
            event(5, tenant="other"),
            event(6, EventKind.BOUNCED, severity="hard", **{"class": "invalid-recipient"}),
        ]
    )
    found = {
        (e.provider, e.kind, e.bounce_class, e.severity): e.count
        for e in rates.sums(NOON, NOON, "acme")
    }
    assert found == {
        (YAHOO, EventKind.DELIVERED, "", ""): 2,
        (YAHOO, EventKind.BOUNCED, "invalid-recipient", "hard"): 1,
    }
    assert sum(each.count for each in rates.sums(NOON - 3600, NOON, "acme")) == 5
    assert rates.sums(NOON, NOON, "nobody") == []


def test_who_has_complaints_or_bounces_and_from_where(events, rates):
    events.add(
        [
            event(1, tenant="sent"),
            event(2, EventKind.BOUNCED, tenant="bounced"),
            event(3, EventKind.COMPLAINED, tenant="complained", provider="mx.example"),
            event(4, EventKind.COMPLAINED, tenant="", provider=""),
            event(5, EventKind.COMPLAINED, tenant="past", at=NOON - 7200, provider="past.example"),
        ]
    )
    assert rates.tenants(NOON) == {"bounced", "complained"}
    assert rates.reporters(NOON) == {"mx.example"}


def test_gmails_shares_are_weighed_with_deliveries_of_their_day(events, gmail):
    day_before = NOON - 86_400
    events.add([event(n, at=day_before, provider=GMAIL) for n in range(100)])
    events.add([event(n, provider=GMAIL) for n in range(100, 400)])
    events.add([event(400), event(401, provider=GMAIL, tenant="other")])
    gmail.add(
        [
            GmailDay(DAY - 1, "a.example", "tacme", 0.02),
            GmailDay(DAY - 1, "b.example", "tacme", 0.01),
            GmailDay(DAY, "a.example", "tacme", 0.01),
            GmailDay(DAY, "a.example", "cspring", 0.5),
            GmailDay(DAY, "a.example", "", 0.004),
        ]
    )
    found = gmail.estimate("acme", 0, NOON)
    assert (found.count, found.of) == (5, 400)
    # A day that had begun before does not count.
    found = gmail.estimate("acme", (DAY - 1) * 86_400 + 1, NOON)
    assert (found.count, found.of) == (3, 300)
    assert gmail.estimate("other", 0, NOON) is None
    assert gmail.tenants(0) == {"acme"}
    assert gmail.tenants(NOON) == set()


def test_what_is_said_again_replaces_what_was_said(gmail):
    gmail.add([GmailDay(DAY, "a.example", "tacme", 0.02)])
    gmail.add([GmailDay(DAY, "a.example", "tacme", 0.03)])
    assert gmail.shares(0, NOON) == [GmailDay(DAY, "a.example", "tacme", 0.03)]
    assert gmail.last_day("a.example") == DAY
    assert gmail.last_day("b.example") is None


def test_old_shares_go(gmail):
    gmail.add(
        [GmailDay(DAY - KEEP_DAYS - 1, "a", "x", 0.1), GmailDay(DAY - KEEP_DAYS, "a", "x", 0.1)]
    )
    assert gmail.prune(NOON) == 1
    assert [each.day for each in gmail.shares(0, NOON)] == [DAY - KEEP_DAYS]
