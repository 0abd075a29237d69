"""What was asked of a delivery, and whether it had it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatepost.decisions.enforcement import Judgement, judge
from gatepost.maillog.evidence import UNKNOWN_TENANT, Verdict
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level, Requirement
from tests.decisions.cases import return_path
from tests.world import ENFORCE, NOW, OBSERVE, snapshot, tenant

ACME = tenant("acme", senders=("acme.example",), profile="private", lane="bulk")
BANK = tenant("bank", senders=("bank.example",), profile="bank")
PLAIN = tenant("plain", senders=("plain.example",))
WORLD = snapshot(ACME, BANK, PLAIN)

ENCRYPTED, AUTHENTICATED = TlsClass.ENCRYPTED, TlsClass.AUTHENTICATED
PLAINTEXT, UNKNOWN = TlsClass.PLAINTEXT, TlsClass.UNKNOWN


def delivery(tls: TlsClass, **changes: Any) -> Delivery:
    version = "TLSv1.3" if tls in {ENCRYPTED, AUTHENTICATED} else ""
    whole = Delivery(
        NOW, NOW - 1, "4AAAA", "news@acme.example", "u@there.example", "gp-bulk-private",
        "mx.there.example", "192.0.2.1", "sent", "2.0.0", tls, version,
    )  # fmt: skip
    return replace(whole, **changes)


def made(
    tls: TlsClass, world: Snapshot = WORLD, nexthop: str = "there.example", **changes: Any
) -> Judgement:
    by_sender = changes.pop("by_sender", True)
    return judge(delivery(tls, **changes), [world], nexthop, by_sender=by_sender)


@pytest.mark.parametrize(
    ("tls", "version", "verdict", "got"),
    [
        (ENCRYPTED, "TLSv1.3", Verdict.MET, ""),
        (ENCRYPTED, "TLSv1.2", Verdict.MET, ""),
        (AUTHENTICATED, "TLSv1.3", Verdict.MET, ""),
        (ENCRYPTED, "TLSv1.1", Verdict.WEAKER, "TLSv1.1"),
        (ENCRYPTED, "SSLv3", Verdict.WEAKER, "SSLv3"),
        (ENCRYPTED, "", Verdict.UNPROVEN, "TLS of an unknown version"),
        (PLAINTEXT, "", Verdict.WEAKER, "plaintext"),
        (UNKNOWN, "", Verdict.UNPROVEN, "unknown"),
    ],
)
def test_a_profile_with_encrypt_and_a_version(tls, version, verdict, got):
    found = made(tls, version=version)
    asked = "" if verdict is Verdict.MET else "encrypt, TLSv1.2 or later (profile private)"
    assert found == Judgement("acme", verdict, asked, got)


@pytest.mark.parametrize(
    ("tls", "verdict"),
    [
        (AUTHENTICATED, Verdict.MET),
        (ENCRYPTED, Verdict.WEAKER),
        (PLAINTEXT, Verdict.WEAKER),
        (UNKNOWN, Verdict.UNPROVEN),
    ],
)
def test_a_profile_with_verify(tls, verdict):
    where = {"sender": "n@bank.example", "service": "gp-normal-bank"}
    assert made(tls, **where).verdict is verdict


def test_what_a_certificate_lacked_is_said():
    found = made(ENCRYPTED, sender="n@bank.example", service="gp-normal-bank")
    assert found.got == "TLSv1.3, certificate not verified"


@pytest.mark.parametrize("tls", [PLAINTEXT, UNKNOWN, ENCRYPTED])
def test_who_asks_for_nothing_gets_no_verdict(tls):
    where = {"sender": "n@plain.example", "service": ""}
    assert made(tls, **where) == Judgement("plain")


def test_mail_that_went_around_its_service_shows():
    # A table of the operator's that goes before ours sent it by the ordinary service.
    assert made(PLAINTEXT, service="").verdict is Verdict.WEAKER
    assert made(PLAINTEXT, service="relay").verdict is Verdict.WEAKER


def test_the_service_that_delivered_counts_whoever_sent():
    found = made(PLAINTEXT, sender="", service="gp-normal-private")
    assert (found.tenant, found.verdict) == ("", Verdict.WEAKER)
    found = made(PLAINTEXT, sender=None, service="gp-normal-private")
    assert (found.tenant, found.verdict) == (UNKNOWN_TENANT, Verdict.WEAKER)


def test_a_tenant_that_only_observes_is_promised_nothing():
    watched = snapshot(replace(ACME, modes=OBSERVE), modes=OBSERVE)
    assert made(PLAINTEXT, watched, service="") == Judgement("acme")


def test_of_long_ago_only_the_service_tells():
    assert made(PLAINTEXT, service="", by_sender=False) == Judgement("acme")
    assert made(PLAINTEXT, by_sender=False).verdict is Verdict.WEAKER


def test_the_exceptions_of_a_profile_are_its_word():
    where = {"sender": "n@bank.example", "service": "gp-normal-bank"}
    assert made(PLAINTEXT, nexthop="old.example", **where) == Judgement("bank")


def test_rules_for_everyone_count_for_mail_of_no_tenant():
    world = snapshot(PLAIN, everyone={"there.example": Requirement(Level.ENCRYPT)})
    where = {"sender": "x@elsewhere.example", "service": ""}
    found = made(PLAINTEXT, world, **where)
    assert found == Judgement(
        "", Verdict.WEAKER, "encrypt (tls.domains there.example)", "plaintext"
    )
    assert made(PLAINTEXT, world, "other.example", **where).verdict is Verdict.NOTHING
    assert made(PLAINTEXT, replace(world, modes=OBSERVE), **where).verdict is Verdict.NOTHING


def test_the_stricter_of_two_that_ask():
    world = snapshot(ACME, everyone={"there.example": Requirement(Level.VERIFY)})
    found = made(ENCRYPTED, world)
    assert found.verdict is Verdict.WEAKER
    assert found.asked == (
        "verify, TLSv1.2 or later (tls.domains there.example and profile private)"
    )


def test_a_token_return_path_names_the_tenant():
    world = snapshot(replace(ACME, modes=ENFORCE))
    assert made(ENCRYPTED, world, sender=return_path("acme")).tenant == "acme"


def test_a_token_that_cannot_be_opened_is_of_an_unknown_tenant():
    sender = "a" * 48 + "@" + return_path("acme").partition("@")[2]
    assert made(ENCRYPTED, sender=sender).tenant == UNKNOWN_TENANT


def test_what_was_not_sent_has_no_verdict():
    assert made(TlsClass.REFUSED, status="deferred") == Judgement("acme")


def test_a_profile_that_is_no_longer_configured_asks_for_nothing():
    where = {"sender": "n@plain.example", "service": "gp-normal-gone"}
    assert made(PLAINTEXT, **where) == Judgement("plain")


def test_around_a_reload_only_what_both_configurations_ask_is_an_alarm():
    before = snapshot(replace(ACME, modes=replace(ENFORCE, tls=Mode.OBSERVE)))
    found = delivery(PLAINTEXT, service="")
    for pair in ([WORLD, before], [before, WORLD]):
        assert judge(found, pair, "there.example").verdict is Verdict.NOTHING
    assert judge(found, [WORLD, WORLD], "there.example").verdict is Verdict.WEAKER
