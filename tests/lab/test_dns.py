"""Name service: records, validation, and nothing beyond the lab."""

from __future__ import annotations

import socket

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest

from lab.dns import BOGUS, CHILD_ADDRESS, INSECURE
from lab.enter import RESOLVER
from lab.world import ADDRESS, HOSTNAME, World

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("world")]


def ask(name: str, kind: str) -> dns.message.Message:
    return dns.query.udp(dns.message.make_query(name, kind, want_dnssec=True), RESOLVER, 5)


def texts(name: str, kind: str) -> list[str]:
    return sorted(str(record) for record in dns.resolver.resolve(name, kind))


def test_mail_for_a_domain_goes_to_its_host(world: World) -> None:
    for host in world.fleet.hosts:
        assert texts(host.name.removeprefix("mx."), "MX") == [f"10 {host.name}."]
        assert texts(host.name, "A") == [host.address]


def test_the_system_resolver_is_the_labs() -> None:
    assert socket.gethostbyname(HOSTNAME) == ADDRESS
    assert socket.gethostbyaddr(ADDRESS)[0] == HOSTNAME


@pytest.mark.parametrize("kind", ["A", "MX"])
def test_answers_are_validated(kind: str) -> None:
    answer = ask("mx.good.example" if kind == "A" else "good.example", kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AD


def test_that_a_name_is_missing_is_validated_too() -> None:
    answer = ask("nobody.example", "MX")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.flags & dns.flags.AD


def test_an_unsigned_zone_is_answered_without_a_promise() -> None:
    answer = ask(INSECURE, "A")
    assert CHILD_ADDRESS in str(answer.answer)
    assert not answer.flags & dns.flags.AD


def test_a_bogus_zone_is_not_answered() -> None:
    assert ask(BOGUS, "A").rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("name", ["debian.org", "example.org", "root-servers.net"])
def test_nothing_exists_outside_the_lab(name: str) -> None:
    assert ask(name, "A").rcode() == dns.rcode.NXDOMAIN
