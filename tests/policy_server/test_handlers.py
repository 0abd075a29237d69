"""What the two sockets answer, from request to reply."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from gatepost.errors import Unavailable
from gatepost.feedback.session import SESSION_HEADER
from gatepost.modes import Feature, Mode, Modes
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.snapshot import Unknown
from gatepost.tls.dane import MxHost, TlsaState
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.levels import Level
from gatepost.tls.nexthop import NextHop
from gatepost.tls.operator import OperatorTls
from gatepost.tls.reachability import NO_SIGHTS, HostSight, Sights
from gatepost.wire.policy import AccessRequest, Action, AdmitRequest
from gatepost.wire.socketmap import NotFound, Ok, Perm, Request
from policy_server.handlers import Handlers
from tests.world import NOW


def rcpt(**attributes: str) -> AccessRequest:
    return AccessRequest(
        {
            "request": "smtpd_access_policy",
            "protocol_state": "RCPT",
            "client_address": "192.0.2.9",
            "sender": "a@acme.example",
            "recipient": "x@dest.example",
            **attributes,
        }
    )


def test_own_sender_passes(world: Any) -> None:
    assert world.handlers.policy(rcpt(sasl_username="acme")) == Action("DUNNO")
    assert world.seen.counts["policy", "dunno"] == 1


def test_foreign_sender_is_refused_without_naming_the_tenants_domains(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        reply = world.handlers.policy(rcpt(sasl_username="acme", sender="ceo@other.example"))
    assert reply == Action(
        "553 5.7.1 other.example is not among the 1 sender domain of this account"
    )
    assert world.seen.counts["policy", "reject"] == 1
    (line,) = caplog.messages
    assert line.startswith("reject queue_id=NOQUEUE tenant=acme sender=<ceo@other.example>")


def test_foreign_sender_is_only_recorded_in_observe(world: Any) -> None:
    world.configure(Modes())
    reply = world.handlers.policy(rcpt(sasl_username="acme", sender="ceo@other.example"))
    assert reply == Action("DUNNO")
    assert [o.action for o in world.seen.observations if o.feature is Feature.SENDER] == ["reject"]


def test_off_records_nothing(world: Any) -> None:
    world.configure(Modes(*[Mode.OFF] * 5))
    reply = world.handlers.policy(rcpt(sasl_username="acme", sender="ceo@other.example"))
    assert reply == Action("DUNNO")
    assert not world.seen.observations


def test_null_sender_passes(world: Any) -> None:
    assert world.handlers.policy(rcpt(sasl_username="acme", sender="")) == Action("DUNNO")


@pytest.mark.parametrize("state", ["CONNECT", "EHLO", "MAIL", "DATA", "END-OF-MESSAGE", "VRFY", ""])
def test_other_stages_have_nothing_to_say(world: Any, state: str) -> None:
    request = rcpt(sasl_username="acme", sender="ceo@other.example", protocol_state=state)
    assert world.handlers.policy(request) == Action("DUNNO")


def test_unknown_mail_passes_unless_the_platform_says_otherwise(world: Any) -> None:
    assert world.handlers.policy(rcpt()) == Action("DUNNO")
    world.configure(unknown=Unknown.REJECT)
    assert world.handlers.policy(rcpt()) == Action(
        "550 5.7.1 mail of an unknown account is not accepted here"
    )
    assert world.handlers.policy(rcpt(sender="")) == Action("DUNNO")


def test_client_certificate_is_vouched_for_in_a_header(world: Any) -> None:
    request = rcpt(ccert_fingerprint="AA:BB", sender="a@cert.example", client_port="4711")
    reply = world.handlers.policy(request)
    assert reply.text.startswith(f"PREPEND {SESSION_HEADER}: ")
    assert world.seen.counts["policy", "prepend"] == 1


def test_admission_applies_the_senders_rules(world: Any) -> None:
    def admit(sender: str, tenant: str = "acme", login: str = "mailer") -> Any:
        return world.handlers.policy(AdmitRequest(tenant, login, "4Q", sender, ("x@dest.example",)))

    assert admit("a@acme.example") == Action("DUNNO")
    assert admit("a@acme.example", login="MAILER") == Action("DUNNO")
    assert admit("a@other.example").text.startswith("553 5.7.1 other.example")
    # The milter decided by a configuration that we do not have: neither yes nor no.
    with pytest.raises(Unavailable):
        admit("a@cert.example", tenant="cert")
    with pytest.raises(Unavailable):
        admit("a@acme.example", login="acme")
    with pytest.raises(Unavailable):
        admit("a@acme.example", tenant="nobody")


@pytest.mark.parametrize(
    ("map_name", "key", "reply"),
    [
        ("transport", "a@acme.example", Ok("gp-normal-private:")),
        ("transport", "a@cert.example", NotFound()),
        ("transport", "a@nobody.example", NotFound()),
        ("transport", "<>", NotFound()),
        ("tls-private", "dest.example", Ok("encrypt")),
        ("tls-private", "bank.example", Ok("verify match=hostname:nexthop")),
        ("tls", "dest.example", NotFound()),
        ("tls", "bank.example", Ok("verify match=hostname:nexthop")),
        ("nonsense", "x", Perm("no such map: nonsense")),
    ],
)
def test_map(world: Any, map_name: str, key: str, reply: Any) -> None:
    got = world.handlers.lookup(Request(map_name, key))
    if isinstance(reply, Ok) and isinstance(got, Ok) and reply.data.startswith("verify"):
        assert got.data.split()[0] == "verify"
        return
    assert got == reply


def test_map_of_a_profile_that_is_gone_makes_mail_wait(world: Any) -> None:
    with pytest.raises(Unavailable, match="names no configured profile"):
        world.handlers.lookup(Request("tls-gone", "dest.example"))
    assert world.seen.counts["other", "temp"] == 1


def test_forged_token_sender_waits(world: Any) -> None:
    with pytest.raises(Unavailable):
        world.handlers.lookup(Request("transport", f"{'a' * 48}@bounces.example"))
    assert world.seen.counts["transport", "temp"] == 1


def test_hostile_map_names_are_counted_under_one_name(world: Any) -> None:
    for number in range(100):
        world.handlers.lookup(Request(f"map{number}", "x"))
    assert set(world.seen.counts) == {("other", "perm")}


def test_tenant_in_observe_is_routed_as_before(world: Any) -> None:
    world.configure(Modes())
    assert world.handlers.lookup(Request("transport", "a@acme.example")) == NotFound()
    assert world.handlers.lookup(Request("tls", "bank.example")) == NotFound()


def test_a_changed_level_of_postfix_counts_for_policies_that_were_remembered(world: Any) -> None:
    request = Request("tls-private", "dest.example")
    handlers = world.handlers
    assert handlers.lookup(request) == Ok("encrypt")
    handlers.postfix_is(OLDEST_SUPPORTED, OperatorTls("verify"))
    assert handlers.lookup(request) == Ok("verify match=hostname servername=hostname")


class Destinations:
    """Knows what the test says, at once or after `learn`."""

    def __init__(self) -> None:
        self.fresh: dict[NextHop, Knowledge] = {}
        self.found: dict[NextHop, Knowledge] = {}
        self.learned: list[NextHop] = []
        self.generation = 0

    def known(self, nexthop: NextHop) -> Knowledge | None:
        return self.fresh.get(nexthop)

    async def learn(self, nexthop: NextHop) -> Knowledge:
        self.learned.append(nexthop)
        return self.found[nexthop]


DEST = NextHop("dest.example")
USABLE = Knowledge(
    (MxHost("mx.dest.example", TlsaState.USABLE),), dane=True, learned_at=NOW, fresh_until=NOW + 75
)
PLAIN = Knowledge((MxHost("mx.dest.example"),), dane=True, learned_at=NOW, fresh_until=NOW + 75)
UNKNOWN = Knowledge(
    dane=True, failure="dest.example MX: SERVFAIL", learned_at=NOW, fresh_until=NOW + 30
)


@pytest.fixture
def finding(world: Any) -> Any:
    """The world with handlers that stay, and destinations to be found out."""
    world.snapshot = replace(
        world.snapshot, tls=replace(world.snapshot.tls, dane=True, mta_sts=True)
    )
    world.destinations = Destinations()
    world.now = NOW
    world.asked = Handlers(
        lambda: world.snapshot,
        world.seen,
        world.seen,
        lambda: world.now,
        OLDEST_SUPPORTED,
        OperatorTls(dnssec=True),
        destinations=world.destinations,
    )
    return world


def test_what_is_known_is_answered_at_once(finding: Any) -> None:
    finding.destinations.fresh[DEST] = USABLE
    request = Request("tls-private", "Dest.Example")
    assert finding.asked.lookup(request) == Ok("dane-only")
    finding.destinations.fresh.clear()
    assert finding.asked.lookup(request) == Ok("dane-only"), "the answer is as fresh as that"
    finding.now = NOW + 60
    finding.destinations.fresh[DEST] = PLAIN
    assert finding.asked.lookup(request) == Ok("encrypt")
    assert not finding.destinations.learned


def test_answers_go_when_all_that_was_known_is_dropped(finding: Any) -> None:
    request = Request("tls-private", "dest.example")
    finding.destinations.fresh[DEST] = PLAIN
    assert finding.asked.lookup(request) == Ok("encrypt")
    # The resolver validates again: what was made without it is worth nothing.
    finding.destinations.fresh[DEST] = USABLE
    finding.destinations.generation += 1
    assert finding.asked.lookup(request) == Ok("dane-only")


def test_what_is_not_known_is_found_out_first(finding: Any) -> None:
    finding.destinations.found[DEST] = USABLE
    reply = finding.asked.lookup(Request("tls-private", "dest.example"))
    assert asyncio.run(reply) == Ok("dane-only")
    assert finding.destinations.learned == [DEST]
    assert finding.seen.counts["tls-private", "ok"] == 1
    assert finding.asked.lookup(Request("tls-private", "dest.example")) == Ok("dane-only")


def test_what_cannot_be_found_out_makes_mail_wait_where_tls_is_required(finding: Any) -> None:
    finding.destinations.found[DEST] = UNKNOWN
    reply = finding.asked.lookup(Request("tls-private", "dest.example"))
    with pytest.raises(Unavailable, match=r"dest\.example MX: SERVFAIL"):
        asyncio.run(reply)
    assert finding.seen.counts["tls-private", "temp"] == 1
    reply = finding.asked.lookup(Request("tls", "dest.example"))
    assert asyncio.run(reply) == NotFound()


@pytest.mark.parametrize("key", [".example", "[192.0.2.1]", "[2001:db8::1]:25"])
def test_nothing_is_found_out_about_parents_and_addresses(finding: Any, key: str) -> None:
    reply = finding.asked.lookup(Request("tls-private", key))
    assert reply == (NotFound() if key.startswith(".") else Ok("encrypt"))
    assert not finding.destinations.learned


def test_in_observe_nothing_is_found_out_for_anybody(finding: Any) -> None:
    finding.snapshot = replace(finding.snapshot, modes=Modes())
    assert finding.asked.lookup(Request("tls", "dest.example")) == NotFound()
    assert finding.asked.lookup(Request("tls-standard", "dest.example")) == NotFound()
    assert not finding.destinations.learned


def test_nothing_is_found_out_where_nobody_wants_it(finding: Any) -> None:
    finding.snapshot = replace(
        finding.snapshot, tls=replace(finding.snapshot.tls, dane=False, mta_sts=False)
    )
    assert finding.asked.lookup(Request("tls-private", "dest.example")) == Ok("encrypt")
    assert not finding.destinations.learned


@pytest.mark.parametrize(
    ("operator", "map_name", "reply"),
    [
        (OperatorTls(), "tls", NotFound()),
        (OperatorTls(dnssec=True), "tls", Ok("dane")),
        (OperatorTls(), "tls-private", Ok("dane-only")),
        (OperatorTls(), "tls-standard", Ok("dane")),
        # A Postfix that looks up no DNS has no DANE, in no service.
        (OperatorTls(dns=False), "tls-private", Ok("encrypt")),
        (OperatorTls(dns=False, dnssec=True), "tls", NotFound()),
    ],
)
def test_dane_only_for_services_that_can_carry_it_out(
    finding: Any, operator: OperatorTls, map_name: str, reply: Any
) -> None:
    finding.asked.postfix_is(OLDEST_SUPPORTED, operator)
    finding.destinations.fresh[DEST] = USABLE
    assert finding.asked.lookup(Request(map_name, "dest.example")) == reply


class Book:
    """Has seen what the test says; a domain that is new takes a look first."""

    def __init__(self, sights: Sights) -> None:
        self.sights = sights
        self.looked: list[str] = []

    def known(self, domain: str) -> Sights | None:
        return self.sights if domain in self.looked else None

    async def look(self, domain: str) -> Sights:
        self.looked.append(domain)
        return self.sights


def seeing(world: Any, sights: Sights, operator: OperatorTls | None = None) -> Any:
    profiles = dict(world.snapshot.tls.profiles)
    profiles["private"] = replace(profiles["private"], at_rcpt=Mode.ENFORCE)
    world.snapshot = replace(world.snapshot, tls=replace(world.snapshot.tls, profiles=profiles))
    world.book = Book(sights)
    return Handlers(
        lambda: world.snapshot,
        world.seen,
        world.seen,
        lambda: NOW,
        OLDEST_SUPPORTED,
        operator or OperatorTls(),
        sights=world.book,
    )


PLAINTEXT = Sights((HostSight("mx.dest.example", Level.NONE, None, NOW),))


def test_a_destination_without_tls_is_refused_while_the_client_waits(world: Any) -> None:
    handlers = seeing(world, PLAINTEXT)
    first = asyncio.run(handlers.policy(rcpt(sasl_username="acme")))
    second = handlers.policy(rcpt(sasl_username="acme"))
    assert first == second
    assert second.text.startswith("550 5.7.10 dest.example does not offer the TLS")
    assert world.book.looked == ["dest.example"]
    assert world.seen.counts["policy", "reject"] == 2


def test_with_a_relayhost_the_recipient_s_servers_do_not_matter(world: Any) -> None:
    handlers = seeing(world, PLAINTEXT, OperatorTls(relays=True))
    assert handlers.policy(rcpt(sasl_username="acme")) == Action("DUNNO")
    assert not world.book.looked


def test_where_nothing_was_seen_the_recipient_is_accepted(world: Any) -> None:
    handlers = seeing(world, NO_SIGHTS)
    assert asyncio.run(handlers.policy(rcpt(sasl_username="acme"))) == Action("DUNNO")
    assert handlers.policy(rcpt(sasl_username="acme")) == Action("DUNNO")
    # A tenant whose profile asks for nothing needs no look.
    assert handlers.policy(rcpt(ccert_fingerprint="AA:BB", sender="a@cert.example"))
    assert world.book.looked == ["dest.example"]
