"""Whose a queued message is: exactly what was named, and nothing that anybody else could own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.decisions.queued import (
    Evidence,
    Fit,
    Owner,
    Selection,
    fits,
    labelled,
    named_by_sender,
    owner_of,
)
from gatepost.feedback.sent import Message
from gatepost.feedback.status import Part
from gatepost.feedback.token import Purpose, Token, day_of, message_id_of, seal_token
from tests.world import KEYS, NOW, snapshot, tenant

ACME = tenant(
    "acme",
    senders=("acme.example",),
    campaign_header="x-campaign",
    mail_type_header="x-type",
    marketing_types=("newsletter",),
)
SHOP = tenant("shop", senders=("shop.example",))
MADE = snapshot(ACME, SHOP)
HOST, QUEUE_ID = "mail.example", "4jYy8m18F9zKmMf"
HERE = message_id_of(HOST, QUEUE_ID)
DAY = day_of(NOW)


def named(sender, made=MADE):
    return named_by_sender(sender, QUEUE_ID, HOST, made, NOW)


def token(number, day=DAY, keyring=KEYS):
    made = Token(number, b"12345678", 1, day)
    return f"{seal_token(made, Purpose.BOUNCE, keyring)}@bounces.example"


def booked(tenant="acme", campaign="spring", sender="a@acme.example", mail_type=""):
    return Message(HERE, NOW, tenant, QUEUE_ID, sender, campaign=campaign, mail_type=mail_type)


def test_the_sender_names_the_tenant_as_for_the_transport_map():
    by_domain = named("News@ACME.example")
    assert (by_domain.tenant, by_domain.evidence, by_domain.message) == (
        "acme",
        Evidence.DOMAIN,
        HERE,
    )
    by_token = named(token(SHOP.number))
    assert (by_token.tenant, by_token.evidence) == ("shop", Evidence.TOKEN)
    # Under this id, and not under the queue id of another instance, the book has it.
    assert by_token.message == b"12345678"


@pytest.mark.parametrize(
    "sender",
    [
        *("", "root", "a@other.example", "nothing@bounces.example"),
        token(ACME.number, day=DAY - 100),
        token(999),
        token(ACME.number, keyring=replace(KEYS, keys={2: bytes(32)})),
    ],
)
def test_who_is_not_named_is_nobody(sender):
    found = named(sender)
    assert (found.tenant, found.evidence, found.message) == ("", None, HERE)
    assert owner_of(found, None) is None


def test_the_book_names_whom_the_sender_does_not():
    assert owner_of(named("a@other.example"), booked()) == Owner(
        "acme", Evidence.BOOK, "spring", ""
    )
    assert owner_of(named("a@acme.example"), None) == Owner("acme", Evidence.DOMAIN)
    # What the book has is more than what anybody can write, and less than what is signed.
    assert owner_of(named("a@acme.example"), booked()).evidence is Evidence.BOOK
    assert owner_of(named(token(ACME.number)), booked()).evidence is Evidence.TOKEN


def test_where_sender_and_book_name_two_tenants_it_is_nobodys():
    assert owner_of(named("a@acme.example"), booked("shop")) is None
    assert owner_of(named(token(SHOP.number)), booked("acme")) is None


def test_what_only_the_log_told_of_has_unknown_labels():
    from_log = booked(sender="", campaign="")
    assert owner_of(named("a@acme.example"), from_log).campaign is None
    assert owner_of(named("a@acme.example"), booked(campaign="")).campaign == ""


IN, OUT = "u@example.org", "u@other.example"
SPRING = Owner("acme", Evidence.DOMAIN, "spring", "newsletter")


@pytest.mark.parametrize(
    ("owner", "recipients", "part", "marketing", "fit"),
    [
        (SPRING, [IN], Part(), False, Fit.YES),
        (SPRING, [], Part(), False, Fit.YES),
        (replace(SPRING, tenant="shop"), [IN], Part(), False, Fit.NO),
        (SPRING, [IN], Part("spring"), False, Fit.YES),
        (SPRING, [IN], Part("Spring"), False, Fit.NO),
        (replace(SPRING, campaign=""), [IN], Part("spring"), False, Fit.NO),
        (replace(SPRING, campaign=None), [IN], Part("spring"), False, Fit.UNKNOWN),
        (replace(SPRING, campaign=None), [OUT], Part("spring", "example.org"), False, Fit.NO),
        (SPRING, [IN], Part("", "example.org"), False, Fit.YES),
        (SPRING, ["U@EXAMPLE.ORG", IN], Part("", "example.org"), False, Fit.YES),
        (SPRING, [IN, OUT], Part("", "example.org"), False, Fit.PARTLY),
        (SPRING, [OUT], Part("", "example.org"), False, Fit.NO),
        # All that had to go there is through, and the rest is none of our business.
        (SPRING, [], Part("", "example.org"), False, Fit.NO),
        (SPRING, [IN, OUT], Part("spring", "example.org"), False, Fit.PARTLY),
        (SPRING, [IN], Part("autumn", "example.org"), False, Fit.NO),
        (SPRING, [IN], Part(), True, Fit.YES),
        (replace(SPRING, mail_type="Newsletter "), [IN], Part(), True, Fit.YES),
        (replace(SPRING, mail_type="receipt"), [IN], Part(), True, Fit.NO),
        (replace(SPRING, mail_type=None), [IN], Part(), True, Fit.UNKNOWN),
    ],
)
def test_what_is_meant(owner, recipients, part, marketing, fit):
    assert fits(owner, recipients, Selection(ACME, part, marketing)) is fit


def test_labels_from_the_message_itself_fill_what_the_book_does_not_know():
    headers = [("X-Campaign", " spring\r\n"), ("x-campaign", "second"), ("X-Type", "newsletter")]
    unknown = Owner("acme", Evidence.DOMAIN)
    assert labelled(unknown, headers, ACME) == SPRING
    assert labelled(unknown, [], ACME) == Owner("acme", Evidence.DOMAIN, "", "")
    assert labelled(replace(SPRING, campaign=""), headers, ACME).campaign == ""
    assert labelled(unknown, headers, SHOP) == Owner("acme", Evidence.DOMAIN, "", "")


SENDERS = ["", "a@acme.example", "b@shop.example", "c@other.example", "root"]


@settings(max_examples=50)
@given(
    st.sampled_from([*SENDERS, "acme", "shop"]),
    st.sampled_from([None, "acme", "shop"]),
    st.sampled_from(["spring", "autumn", ""]),
    st.lists(st.sampled_from([IN, OUT]), max_size=3),
    st.sampled_from(
        [Part(), Part("spring"), Part("", "example.org"), Part("spring", "example.org")]
    ),
)
def test_nothing_is_meant_that_anything_names_somebody_elses(
    sender, owner, campaign, recipients, part
):
    numbers = {"acme": ACME.number, "shop": SHOP.number}
    found = named(token(numbers[sender]) if sender in numbers else sender)
    book = None if owner is None else booked(owner, campaign)
    known = owner_of(found, book)
    fit = Fit.NO if known is None else fits(known, recipients, Selection(ACME, part))
    if fit in {Fit.YES, Fit.PARTLY}:
        assert {found.tenant, owner} - {"", None} == {"acme"}
        assert not part.campaign or campaign == part.campaign
        assert not part.domain or IN in recipients
        assert fit is Fit.PARTLY or not part.domain or OUT not in recipients
