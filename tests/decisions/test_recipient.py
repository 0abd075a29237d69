"""The RCPT TO check and the admission of a platform login's message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.recipient import Verdict, admit, decide_recipient, sender_allowed
from gatepost.feedback.session import tenant_of_session
from gatepost.modes import Feature, Mode, Modes
from gatepost.snapshot import Snapshot, Unknown
from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin, Tenant
from gatepost.tls.levels import Level, Requirement
from tests.decisions.cases import CLIENTS, RECIPIENTS, SENDERS, return_path, snapshots
from tests.world import KEYS, NOW, OBSERVE, OFF, snapshot, tenant

ACME = tenant("acme", senders=("acme.example",), logins=("acme",), profile="private", lane="bulk")
SHOP = tenant("shop", senders=("shop.example",), certificates=("aa:bb",))
WORLD = snapshot(ACME, SHOP, logins=[PlatformLogin("mailer", None)])
BY_ACME = Client(login="acme", address="192.0.2.1", port="4242")
STRANGER = Client(address="198.51.100.1", port="4242")


def decide(
    client: Client = BY_ACME,
    sender: str = "news@acme.example",
    recipient: str = "u@example.org",
    queue_id: str = "",
    world: Snapshot = WORLD,
) -> Verdict:
    return decide_recipient(RecipientFacts(client, sender, recipient, queue_id), world, NOW)


@pytest.mark.parametrize(
    ("sender", "text"),
    [
        ("news@acme.example", None),
        ("News@ACME.example", None),
        ("", None),
        (return_path("acme"), None),
        (return_path("acme").upper(), None),
        ("x@shop.example", "shop.example is not among the 1 sender domain of this account"),
        ("x@acme.example.evil.example", None),
        (
            return_path("shop"),
            "bounces.example is not among the 1 sender domain of this account",
        ),
        (
            "news@bounces.example",
            "bounces.example is not among the 1 sender domain of this account",
        ),
        ("bare", "this sender is not among the 1 sender domain of this account"),
        ("x@[192.0.2.1]", "this sender is not among the 1 sender domain of this account"),
    ],
)
def test_a_tenant_sends_from_its_own_domains(sender: str, text: str | None) -> None:
    if sender.endswith("evil.example"):
        text = f"{sender[2:]} is not among the 1 sender domain of this account"
    verdict = decide(sender=sender)
    assert verdict.tenant == "acme"
    assert verdict.reasons == (
        "tenant acme by login acme",
        f"sender {sender}: {text} (mode enforce)"
        if text
        else f"sender {sender or '<>'} may be used",
    )
    assert verdict.reject == (Reject("553", "5.7.1", text) if text else None)
    assert verdict.observations == ()
    seen = decide(sender=sender, world=snapshot(replace(ACME, modes=OBSERVE)))
    assert seen.reject is None
    found = [o.detail for o in seen.observations if o.feature is Feature.SENDER]
    assert found == ([text] if text else [])


def test_a_refusal_names_none_of_the_tenant_s_domains() -> None:
    reject = decide(sender="x@evil.example").reject
    assert reject is not None
    assert "acme" not in reject.text


def test_a_tenant_without_domains_sends_from_any() -> None:
    assert sender_allowed("x@anything.example", tenant("free"), WORLD, NOW)


def test_a_token_is_a_sender_in_the_bounce_domain_only() -> None:
    elsewhere = return_path("acme").replace("bounces.example", "evil.example")
    assert not sender_allowed(elsewhere, ACME, WORLD, NOW)


def test_without_a_bounce_domain_no_token_is_a_sender() -> None:
    assert not sender_allowed(return_path("acme"), ACME, snapshot(ACME, bounce_domain=None), NOW)


def test_a_platform_login_and_strangers_pass() -> None:
    assert decide(Client(login="mailer")) == Verdict(
        reasons=("platform login mailer: the tag header names the tenant",)
    )
    verdict = decide(STRANGER, sender="x@shop.example")
    assert (verdict.tenant, verdict.reject, verdict.observations) == ("", None, ())


# Mail of nobody

CLOSED = snapshot(ACME, unknown=Unknown.REJECT, inbound=frozenset({"in.example"}))
REFUSED = Reject("550", "5.7.1", "mail of an unknown account is not accepted here")


@pytest.mark.parametrize(
    ("sender", "recipient", "refused"),
    [
        ("x@evil.example", "u@example.org", True),
        ("x@evil.example", "u@[192.0.2.1]", True),
        ("x@evil.example", "u@not-in.example", True),
        ("x@evil.example", "u@sub.in.example", True),
        ("x@evil.example", "u@in.example", False),
        ("x@evil.example", "u@IN.example.", False),
        ("x@evil.example", "a@bounces.example", False),
        ("x@evil.example", "postmaster", False),
        ("", "u@example.org", False),
    ],
)
def test_mail_of_nobody_can_be_refused(sender: str, recipient: str, *, refused: bool) -> None:
    verdict = decide(STRANGER, sender, recipient, world=CLOSED)
    assert verdict.reject == (REFUSED if refused else None)
    assert verdict.tenant == ""
    seen = decide(STRANGER, sender, recipient, "Q", replace(CLOSED, modes=OBSERVE))
    assert seen.reject is None
    assert [(o.action, o.detail, o.queue_id, o.sender, o.recipient) for o in seen.observations] == (
        [("reject", REFUSED.text, "Q", sender, recipient)] if refused else []
    )
    off = replace(CLOSED, modes=OFF)
    assert decide(STRANGER, sender, recipient, world=off).observations == ()
    opened = snapshot(ACME, inbound=frozenset({"in.example"}))
    assert decide(STRANGER, sender, recipient, world=opened).reject is None


def test_without_a_bounce_domain_an_address_literal_does_not_come_in() -> None:
    world = snapshot(ACME, unknown=Unknown.REJECT, bounce_domain=None)
    assert decide(STRANGER, "x@evil.example", "u@[192.0.2.1]", world=world).reject == REFUSED


# The session header

CERTIFIED = Client(certificate="AA:BB", address="198.51.100.1", port="4242")


def test_a_certificate_is_vouched_for_once_a_message() -> None:
    first = decide(CERTIFIED, "x@shop.example")
    assert first.tenant == "shop"
    assert first.prepend is not None
    seen = replace(CERTIFIED, certificate="")
    assert tenant_of_session(first.prepend, seen, KEYS, NOW) == SHOP.number
    # Postfix has a queue id once a recipient was accepted, and keeps what was prepended.
    assert decide(CERTIFIED, "x@shop.example", queue_id="4Xyz").prepend is None


def test_a_refused_recipient_gets_no_session() -> None:
    verdict = decide(CERTIFIED, "x@evil.example")
    assert verdict.reject is not None
    assert verdict.prepend is None


@pytest.mark.parametrize(
    "client",
    [
        Client(login="acme", certificate="aa:bb"),
        Client(certificate="ff"),
        Client(login="mailer", certificate="aa:bb"),
    ],
)
def test_nothing_else_is_vouched_for(client: Client) -> None:
    assert decide(client, "").prepend is None


@pytest.mark.parametrize(
    ("modes", "check_from", "vouched"),
    [
        (OFF, False, False),
        (OFF, True, False),
        (replace(OFF, tag=Mode.OBSERVE), False, True),
        (replace(OFF, feedback=Mode.ENFORCE), False, True),
        (replace(OFF, sender=Mode.ENFORCE), False, False),
        (replace(OFF, sender=Mode.ENFORCE), True, True),
    ],
)
def test_the_milter_is_told_only_if_it_has_something_to_do(
    modes: Modes, *, check_from: bool, vouched: bool
) -> None:
    shop = replace(SHOP, modes=modes, check_from=check_from)

    def is_vouched(*others: Tenant, default: Modes = OFF) -> bool:
        world = snapshot(shop, *others, modes=default)
        return decide(CERTIFIED, "x@shop.example", world=world).prepend is not None

    assert is_vouched() == vouched
    # It would take the message for one of nobody, and edit it as such.
    assert is_vouched(default=replace(OFF, tag=Mode.ENFORCE))
    assert is_vouched(default=replace(OFF, feedback=Mode.OBSERVE))
    # It would take the message for one of another tenant.
    assert is_vouched(tenant("net", clients=("198.51.100.0/24",)))
    assert is_vouched(tenant("net", modes=OFF, clients=("198.51.100.0/24",))) == vouched


# What would become of a delivery


def routes(world: Snapshot, recipient: str = "u@example.org", sender: str = "a@acme.example"):
    verdict = decide(sender=sender, recipient=recipient, world=world)
    return [(o.feature, o.action, o.detail) for o in verdict.observations if o.action != "reject"]


def observing(**modes: Mode) -> Modes:
    return replace(OFF, **modes)


def test_tls_in_observe() -> None:
    world = snapshot(
        replace(ACME, modes=observing(tls=Mode.OBSERVE)),
        everyone={".gov.example": Requirement(Level.VERIFY)},
    )
    assert routes(world) == [(Feature.TLS, "route", "profile private: encrypt for example.org")]
    assert routes(world, "u@a.gov.example") == [
        (Feature.TLS, "route", "profile private: verify for a.gov.example")
    ]
    assert routes(world, "u@[192.0.2.1]") == [
        (Feature.TLS, "route", "profile private: encrypt for an address without a domain")
    ]
    assert routes(world, sender="") == []


def test_tls_in_observe_without_an_opinion() -> None:
    plain = replace(ACME, profile="standard", modes=observing(tls=Mode.OBSERVE))
    world = snapshot(plain, everyone={"a.example": Requirement(Level.ENCRYPT)})
    assert routes(world) == []
    assert routes(world, "u@a.example") == [
        (Feature.TLS, "route", "profile standard: encrypt for a.example")
    ]


def test_tls_in_observe_with_rules_that_exclude_each_other() -> None:
    bank = replace(ACME, profile="bank", modes=observing(tls=Mode.OBSERVE))
    other = Requirement(Level.VERIFY, match=frozenset({"mx.other.example"}))
    assert routes(snapshot(bank, everyone={"partner.example": other}), "u@partner.example") == [
        (
            Feature.TLS,
            "defer",
            (
                "partner.example: profile bank, domain partner.example and tls.domains "
                "partner.example accept no certificate name in common"
            ),
        )
    ]


@pytest.mark.parametrize(
    ("tls", "service"),
    [
        (Mode.OFF, "gp-bulk-standard"),
        (Mode.OBSERVE, "gp-bulk-standard"),
        (Mode.ENFORCE, "gp-bulk-private"),
    ],
)
def test_lane_in_observe(tls: Mode, service: str) -> None:
    world = snapshot(replace(ACME, modes=observing(lane=Mode.OBSERVE, tls=tls)))
    assert (Feature.LANE, "route", f"lane bulk, service {service}") in routes(world)
    plain = snapshot(replace(ACME, lane="normal", modes=observing(lane=Mode.OBSERVE)))
    assert routes(plain) == []


# Admission


def test_admission_is_the_same_check_for_all_recipients() -> None:
    modes = Modes(sender=Mode.OBSERVE, tls=Mode.OBSERVE, lane=Mode.OFF)
    acme = replace(ACME, modes=modes)
    verdict = admit(
        acme, "x@evil.example", ["a@x.example", "b@y.example"], "Q", snapshot(acme), NOW
    )
    assert verdict.reject is None
    assert [(o.action, o.recipient, o.queue_id) for o in verdict.observations] == [
        ("reject", "", "Q"),
        ("route", "a@x.example", "Q"),
        ("route", "b@y.example", "Q"),
    ]
    refused = admit(ACME, "x@evil.example", ["a@x.example"], "Q", WORLD, NOW)
    assert refused.reject == Reject(
        "553", "5.7.1", "evil.example is not among the 1 sender domain of this account"
    )


def test_a_feature_that_is_off_is_not_asked() -> None:
    off = replace(ACME, modes=OFF)
    verdict = admit(off, "x@evil.example", ["a@x.example"], "Q", snapshot(off), NOW)
    assert verdict == Verdict("acme")


RCPT = st.builds(RecipientFacts, CLIENTS, SENDERS, RECIPIENTS.map(lambda all_: all_[0]))


@given(RCPT, snapshots())
def test_a_verdict_is_fit_for_the_wire(facts: RecipientFacts, world: Snapshot) -> None:
    verdict = decide_recipient(facts, world, NOW)
    if not facts.sender:
        assert verdict.reject is None, "a refused bounce is a lost one"
    if verdict.reject is not None:
        assert verdict.reject.code[0] == "5"
        assert verdict.reject.text.isascii()
        assert verdict.reject.text.isprintable()
        assert len(verdict.reject.text) <= 200
        assert verdict.prepend is None
    for observation in verdict.observations:
        assert observation.detail.isascii()
        assert len(observation.detail) <= 200
