"""Ids of events: stable over process, spelling and order of sight, and apart for what differs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback import event_ids

MESSAGE = "00112233aabbccdd"
RECIPIENT = "User@Example.ORG"

IDS = {
    "accepted": event_ids.accepted_id(MESSAGE),
    "delivered": event_ids.delivered_id(MESSAGE, RECIPIENT),
    "failure": event_ids.failure_id(MESSAGE, RECIPIENT),
    "deferred": event_ids.deferred_id(MESSAGE, RECIPIENT, 7200.0),
    "blocked": event_ids.blocked_id(MESSAGE, RECIPIENT, 7200.0),
    "suppressed": event_ids.suppressed_id("acme", MESSAGE, RECIPIENT),
    "complaint": event_ids.complaint_id(MESSAGE, RECIPIENT),
    "unsubscribe": event_ids.unsubscribe_id(MESSAGE, RECIPIENT),
    "status": event_ids.status_id("acme", "automatic", 7200.5),
    "warning": event_ids.warning_id("acme", "signature covers nothing", 7200.0),
}


def test_each_kind_has_an_id_of_its_own():
    assert len(set(IDS.values())) == len(IDS)
    for each in IDS.values():
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", each)


def test_an_id_is_the_same_in_every_release():
    # A store of an older version must know again what it has.
    assert IDS["failure"] == "bounce-3dcd841046e45bf91a8d74c1d3d8731f"


@pytest.mark.parametrize("same", ["user@example.org", "USER@EXAMPLE.ORG", " user@example.org. "])
def test_the_spelling_of_an_address_does_not_matter(same):
    assert event_ids.failure_id(MESSAGE, same) == IDS["failure"]


def test_an_internationalised_domain_is_one_in_both_forms():
    assert event_ids.recipient_key("a@bücher.example") == "a@xn--bcher-kva.example"


@pytest.mark.parametrize("odd", ["", "postmaster", "a@", "@b", "a@[192.0.2.1]", "\udcff@\udcff"])
def test_what_is_no_address_has_an_id_too(odd):
    assert event_ids.failure_id(MESSAGE, odd).startswith("bounce-")


def test_a_delay_counts_once_an_hour():
    first = event_ids.deferred_id(MESSAGE, RECIPIENT, 3600.0)
    assert event_ids.deferred_id(MESSAGE, RECIPIENT, 7199.9) == first
    assert event_ids.deferred_id(MESSAGE, RECIPIENT, 7200.0) != first


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_lists_of_parts_that_differ_have_different_ids(one, other):
    assert (event_ids.event_id("x", *one) == event_ids.event_id("x", *other)) == (one == other)
