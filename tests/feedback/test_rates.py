"""Rates: the intervals are those of the books, and each event has the right denominator."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback.events import EventKind
from gatepost.feedback.rates import (
    UNCLASSIFIED,
    By,
    measure,
    providers_that_report,
    rates_of,
    wilson,
)
from gatepost.feedback.reporting import GMAIL, LOOPS, OUTLOOK, Loop, listed, provider_at

YAHOO, ELSEWHERE = "yahoodns.net", "mx.example"
SENT, BOUNCED = EventKind.DELIVERED, EventKind.BOUNCED
COMPLAINED, UNSUBSCRIBED = EventKind.COMPLAINED, EventKind.UNSUBSCRIBED


@dataclass(frozen=True)
class Count:
    kind: EventKind
    count: int
    provider: str = YAHOO
    tenant: str = "acme"
    campaign: str = ""
    mail_type: str = ""
    bounce_class: str = ""
    severity: str = ""


def rates(*counts, by=By.TENANT, tenant=None, known=tuple(LOOPS)):
    return rates_of(counts, by, providers_that_report(counts, known), tenant)


@pytest.mark.parametrize(
    ("count", "of", "share", "low", "high"),
    [
        (3, 1_000, 0.30, 0.10, 0.88),
        (1, 200, 0.50, 0.09, 2.78),
        (30, 10_000, 0.30, 0.21, 0.43),
        (0, 3_840, 0.00, 0.00, 0.10),
    ],
)
def test_intervals_are_those_that_were_computed_elsewhere(count, of, share, low, high):
    found = measure(count, of)
    assert [round(100 * each, 2) for each in (found.share, found.low, found.high)] == [
        share,
        low,
        high,
    ]


@pytest.mark.parametrize(
    ("of", "tenth", "three_tenths"),
    [(500, 2, 4), (1_000, 3, 7), (5_000, 10, 23), (10_000, 17, 41), (50_000, 64, 174)],
)
def test_how_many_complaints_it_takes(of, tenth, three_tenths):
    for share, needed in ((0.001, tenth), (0.003, three_tenths)):
        assert wilson(needed, of)[0] > share
        assert wilson(needed - 1, of)[0] <= share


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_an_interval_holds_the_share(count, of):
    found = measure(count, of)
    assert 0 <= found.low <= found.share <= found.high <= 1 or not of
    assert 0 <= found.low <= found.high <= 1


@given(st.integers(1, 10**6).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_an_interval_is_monotone(case):
    count, of = case
    assert wilson(count, of)[0] >= wilson(count - 1, of)[0]
    # The same share of more mail proves more.
    assert wilson(count * 10, of * 10)[0] >= wilson(count, of)[0]


def test_complaints_are_a_share_of_mail_to_those_who_report():
    (found,) = rates(
        Count(SENT, 1_000, YAHOO),
        Count(SENT, 50_000, GMAIL),
        Count(SENT, 50_000, ELSEWHERE),
        Count(COMPLAINED, 3, YAHOO),
    )
    assert (found.delivered, found.reporting, found.complained) == (101_000, 1_000, 3)
    assert found.complaints.share == 0.003


def test_who_has_reported_about_anybody_reports():
    counts = (
        Count(SENT, 500, ELSEWHERE),
        Count(SENT, 500, ELSEWHERE, tenant="other"),
        Count(COMPLAINED, 1, ELSEWHERE, tenant="other"),
    )
    assert [(each.tenant, each.reporting) for each in rates(*counts)] == [
        ("acme", 500),
        ("other", 500),
    ]


def test_who_is_enrolled_at_yahoo_alone_takes_rates_of_mail_to_yahoo():
    counts = (Count(SENT, 1_000, YAHOO), Count(SENT, 9_000, OUTLOOK), Count(COMPLAINED, 3, YAHOO))
    assert listed([Loop.YAHOO]) == {YAHOO}
    assert listed([]) == set(LOOPS)
    (found,) = rates(*counts, known=listed([Loop.YAHOO]))
    assert found.reporting == 1_000
    (found,) = rates(*counts)
    assert found.reporting == 10_000


def test_gmail_is_never_one_that_reports():
    counts = (Count(SENT, 500, GMAIL), Count(COMPLAINED, 1, GMAIL))
    assert GMAIL not in providers_that_report(counts, listed(()))


def test_a_complaint_from_nowhere_is_taken_against_all_but_gmail():
    (found,) = rates(
        Count(SENT, 100, YAHOO),
        Count(SENT, 5_000, ELSEWHERE),
        Count(SENT, 50_000, GMAIL),
        Count(COMPLAINED, 3, ""),
    )
    assert found.reporting == 5_100


def test_bounces_are_a_share_of_what_came_to_an_end():
    (found,) = rates(
        Count(BOUNCED, 90, bounce_class="invalid-recipient", severity="hard"),
        Count(BOUNCED, 8, bounce_class="spam-block", severity="none"),
        Count(BOUNCED, 2),
        Count(EventKind.DEFERRED, 1_000, bounce_class="greylisted", severity="soft"),
        Count(SENT, 100),
    )
    assert found.bounced == {"invalid-recipient": 90, "spam-block": 8, UNCLASSIFIED: 2}
    assert (found.failed, found.hard, found.bounces.of) == (100, 90, 200)
    assert found.bounces.share == 0.45


def test_a_list_of_dead_addresses_has_a_rate():
    (found,) = rates(Count(BOUNCED, 300, severity="hard"))
    assert found.bounces.share == 1
    assert found.bounces.low > 0.98


def test_rates_by_campaign_and_mail_type_are_those_of_one_tenant():
    counts = (
        Count(SENT, 10, campaign="spring", mail_type="news"),
        Count(SENT, 20, campaign="spring", mail_type="news", tenant="other"),
        Count(UNSUBSCRIBED, 1, campaign="spring", mail_type="news"),
        Count(SENT, 5, campaign="", mail_type="receipt"),
    )
    assert [(e.tenant, e.name, e.delivered) for e in rates(*counts, by=By.CAMPAIGN)] == [
        ("other", "spring", 20),
        ("acme", "spring", 10),
        ("acme", "", 5),
    ]
    found = rates(*counts, by=By.MAIL_TYPE, tenant="acme")
    assert [(e.name, e.delivered, e.unsubscribed) for e in found] == [
        ("news", 10, 1),
        ("receipt", 5, 0),
    ]
    assert [(e.tenant, e.name) for e in rates(*counts, by=By.PROVIDER)] == [("", YAHOO)]


def test_what_says_nothing_of_rates_makes_no_row():
    assert rates(Count(EventKind.ACCEPTED, 5), Count(EventKind.SUPPRESSED, 5)) == []


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("mta5.am0.yahoodns.net", YAHOO),
        ("gmail-smtp-in.l.google.com", GMAIL),
        ("outlook-com.olc.protection.outlook.com", OUTLOOK),
        # A firm's mailboxes report nothing to us.
        ("firm-example.mail.protection.outlook.com", "outlook.com"),
        ("mx.example.org", "example.org"),
    ],
)
def test_who_runs_a_mail_server(host, provider):
    assert provider_at(host) == provider
    assert (provider in LOOPS) == (provider in {YAHOO, OUTLOOK})
