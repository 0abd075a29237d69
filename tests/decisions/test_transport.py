"""The map from an envelope sender to the service that delivers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.transport import decide_transport, effective_pair, tenant_at_delivery
from gatepost.errors import Unavailable
from gatepost.feedback.token import Keyring, Purpose
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.rules import Profile
from gatepost.traffic.lanes import Lane, Source
from tests.decisions.cases import return_path, snapshots, token
from tests.world import ENFORCE, KEYS, LANES, NOW, OFF, PROFILES, snapshot, tenant

ACME = tenant(
    "acme", senders=("acme.example", "xn--exmple-cua.org"), profile="private", lane="bulk"
)
MAIL = tenant("mail", senders=(".mail.example",), profile="bank")
PLAIN = tenant("plain", senders=("plain.example",))
WORLD = snapshot(ACME, MAIL, PLAIN)
ACME_SERVICE, MAIL_SERVICE = "gp-bulk-private", "gp-normal-bank"


def service(sender: str, world: Snapshot = WORLD) -> str | None:
    return decide_transport(sender, world, NOW).service


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("news@acme.example", ACME_SERVICE),
        ("News@ACME.Example", ACME_SERVICE),
        ("news@acme.example.", ACME_SERVICE),
        ('"a b"@acme.example', ACME_SERVICE),
        ('"a@evil.example"@acme.example', ACME_SERVICE),
        ("x@exämple.org", ACME_SERVICE),
        ("x@EXÄMPLE.org", ACME_SERVICE),
        ("x@xn--exmple-cua.org", ACME_SERVICE),
        ("x@XN--EXMPLE-CUA.ORG.", ACME_SERVICE),
        ("x@a.mail.example", MAIL_SERVICE),
        ("x@b.a.mail.example", MAIL_SERVICE),
        ("x@mail.example", None),
        ("x@www.acme.example", None),
        ("x@plain.example", None),
        ("x@stranger.example", None),
        ("bare", None),
        ("x@[192.0.2.1]", None),
        ("x@", None),
        ("@acme.example", ACME_SERVICE),
        (return_path("acme"), ACME_SERVICE),
        (return_path("acme").upper(), ACME_SERVICE),
        ("postmaster@bounces.example", None),
        ("@bounces.example", None),
        ("x@sub.bounces.example", None),
    ],
)
def test_sender_to_service(sender: str, expected: str | None) -> None:
    assert service(sender) == expected


@pytest.mark.parametrize("key", ["", "<>", '"<>"'])
@pytest.mark.parametrize(
    ("profile", "expected"), [(None, None), ("private", "gp-normal-private"), ("standard", None)]
)
def test_the_null_sender_in_all_its_spellings(key: str, profile, expected) -> None:
    assert service(key, snapshot(ACME, null_sender_profile=profile)) == expected


def test_the_null_sender_s_profile_follows_the_default_mode() -> None:
    for mode in (Mode.OBSERVE, Mode.OFF):
        modes = replace(ENFORCE, tls=mode)
        route = decide_transport("<>", snapshot(null_sender_profile="private", modes=modes), NOW)
        assert (route.service, route.tenant) == (None, None)
        assert route.why == f"null sender; null_sender_profile private in mode {mode}"


@pytest.mark.parametrize("key", ["< >", "<>@acme.example", "MAILER-DAEMON", "<a@acme.example>"])
def test_no_other_key_is_the_null_sender(key: str) -> None:
    world = snapshot(ACME, null_sender_profile="private")
    assert service(key, world) != "gp-normal-private"


@pytest.mark.parametrize(
    "sender",
    [
        "a" * 48 + "@bounces.example",
        token("acme", Purpose.COMPLAINT) + "@bounces.example",
    ],
)
def test_a_token_that_does_not_verify_makes_mail_wait(sender: str) -> None:
    with pytest.raises(Unavailable, match="bounce domain"):
        service(sender)


def test_a_key_that_was_removed_too_early_makes_mail_wait() -> None:
    with pytest.raises(Unavailable):
        service(return_path("acme"), snapshot(ACME, keyring=Keyring({1: KEYS.keys[1]}, 1)))


def test_a_token_of_a_tenant_that_is_gone_makes_mail_wait() -> None:
    with pytest.raises(Unavailable, match="not configured"):
        service(return_path("acme"), snapshot(MAIL))


def test_without_a_bounce_domain_nothing_is_a_token() -> None:
    assert service(return_path("acme"), snapshot(ACME, bounce_domain=None)) is None


@pytest.mark.parametrize(
    ("lane", "tls", "pair"),
    [
        (Mode.ENFORCE, Mode.ENFORCE, ("bulk", "private")),
        (Mode.ENFORCE, Mode.OBSERVE, ("bulk", "standard")),
        (Mode.ENFORCE, Mode.OFF, ("bulk", "standard")),
        (Mode.OBSERVE, Mode.ENFORCE, ("normal", "private")),
        (Mode.OFF, Mode.ENFORCE, ("normal", "private")),
        (Mode.OBSERVE, Mode.OBSERVE, ("normal", "standard")),
        (Mode.OFF, Mode.OFF, ("normal", "standard")),
    ],
)
def test_modes_choose_the_pair(lane: Mode, tls: Mode, pair: tuple[str, str]) -> None:
    acme = replace(ACME, modes=replace(OFF, lane=lane, tls=tls))
    assert effective_pair(acme) == pair
    expected = None if pair == ("normal", "standard") else f"gp-{pair[0]}-{pair[1]}"
    assert service("x@acme.example", snapshot(acme)) == expected


def test_a_pair_that_needs_a_service_and_has_none_makes_mail_wait() -> None:
    lost = replace(WORLD, services={})
    with pytest.raises(Unavailable, match="no service gp-bulk-private"):
        service("x@acme.example", lost)
    # A pair that asks for nothing goes Postfix's own way.
    assert service("x@plain.example", lost) is None
    strict = {**PROFILES, "standard": Profile("standard", Requirement(Level.ENCRYPT))}
    with pytest.raises(Unavailable):
        service("x@plain.example", replace(snapshot(PLAIN, profiles=strict), services={}))


def test_the_reason_is_told() -> None:
    assert decide_transport("x@acme.example", WORLD, NOW).why == (
        "sender domain acme.example; lane bulk, profile private"
    )
    assert decide_transport(return_path("acme"), WORLD, NOW).why == (
        "token return path; lane bulk, profile private"
    )
    assert decide_transport("x@plain.example", WORLD, NOW).why == (
        "sender domain plain.example; lane normal and profile standard are ordinary"
    )
    assert decide_transport("x@x.example", WORLD, NOW).why == "no tenant owns x.example"
    assert decide_transport("bare", WORLD, NOW).why == "the sender has no domain"
    assert decide_transport("<>", WORLD, NOW).why == "null sender"
    assert tenant_at_delivery("x@acme.example", WORLD, NOW)[0] is ACME


@given(st.text(max_size=60) | st.text(max_size=50).map("{}@bounces.example".format), snapshots())
def test_any_key_is_answered_or_waits(key: str, world: Snapshot) -> None:
    try:
        route = decide_transport(key, world, NOW)
    except Unavailable:
        return
    assert route.service is None or route.service in world.services


def pooled() -> Snapshot:
    sources = (Source("192.0.2.1"), Source("192.0.2.2"))
    return snapshot(ACME, lanes={**LANES, "bulk": Lane("bulk", sources=sources)})


def test_a_message_with_a_token_keeps_its_source_and_others_spread() -> None:
    world = pooled()
    address = return_path("acme")
    kept = {decide_transport(address, world, NOW + second).service for second in range(20)}
    assert len(kept) == 1
    spread = [decide_transport("a@acme.example", world, NOW + n).service for n in range(20)]
    assert spread.count("gp-bulk-private") == spread.count("gp-bulk-private-2") == 10
    at_once = {decide_transport("a@acme.example", world, NOW + n / 10).service for n in range(10)}
    assert len(at_once) == 1, "the recipients of one message stay together"


INSTANCE = snapshot(ACME, MAIL, lanes={**LANES, "bulk": Lane("bulk", instance=True)})


def test_mail_of_an_instance_s_lane_is_handed_over_with_its_profile_to_come() -> None:
    route = decide_transport("a@acme.example", INSTANCE, NOW)
    assert route.answer("postfix") == "gp-bulk:unix:../postfix-gp-bulk/private/gatepost"
    assert (route.service, route.instance) == ("gp-bulk-private", "bulk")
    inside = decide_transport("a@acme.example", INSTANCE, NOW, within="bulk")
    assert inside.answer("postfix") == "gp-bulk-private:"


def test_an_instance_keeps_mail_of_a_tenant_that_has_moved_on() -> None:
    assert decide_transport("a@a.mail.example", INSTANCE, NOW, within="bulk").answer("q") == (
        "gp-bulk-bank:"
    )


@pytest.mark.parametrize(
    ("sender", "lane"),
    [
        ("<>", "bulk"),
        ('"<>"', "bulk"),
        ("double-bounce@mail.sender.example", "bulk"),
        ("a@acme.example", "normal"),
        ("a@acme.example", "gone"),
    ],
)
def test_an_instance_gives_back_what_does_not_belong_to_it(sender: str, lane: str) -> None:
    assert decide_transport(sender, INSTANCE, NOW, within=lane).answer("postfix") is None


def test_an_instance_gives_nothing_back_whose_tenant_cannot_be_told() -> None:
    with pytest.raises(Unavailable):
        decide_transport(f"{'a' * 48}@bounces.example", INSTANCE, NOW, within="bulk")
