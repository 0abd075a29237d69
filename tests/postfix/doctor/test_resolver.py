"""Doctor on resolvers: what a name server says, and what follows from it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from gatepost.postfix.doctor import resolver
from gatepost.postfix.doctor.findings import Severity
from gatepost.postfix.doctor.resolver import BOGUS, SIGNED, Answer
from gatepost.postfix.doctor.scene import Scene

MakeScene = Callable[..., Scene]
FINE = {SIGNED: Answer(dns.rcode.NOERROR, True), BOGUS: Answer(dns.rcode.SERVFAIL, False)}
BLIND = {SIGNED: Answer(dns.rcode.NOERROR, False), BOGUS: Answer(dns.rcode.NOERROR, False)}
FOOLED = {SIGNED: Answer(dns.rcode.NOERROR, True), BOGUS: Answer(dns.rcode.NOERROR, False)}
SILENT = {SIGNED: None, BOGUS: None}


@pytest.fixture
def told(scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list]:
    def tell(answers: dict[str, dict[str, Answer | None]], **values: str) -> list:
        monkeypatch.setattr(resolver, "nameservers", lambda: list(answers))
        monkeypatch.setattr(resolver, "ask", lambda server, name: answers[server][name])
        return list(resolver.check(scene(**values)))

    return tell


def test_a_validating_resolver_on_this_host(told: Callable[..., list]) -> None:
    assert told({"127.0.0.1": FINE}) == []
    assert told({"::1": FINE}) == []


@pytest.mark.parametrize("answers", [BLIND, FOOLED])
def test_a_resolver_that_does_not_validate(answers: dict, told: Callable[..., list]) -> None:
    (finding,) = told({"127.0.0.1": answers})
    assert "does not validate DNSSEC" in finding.what
    assert finding.severity is Severity.WARNING


def test_where_dane_is_the_level_it_is_a_problem(told: Callable[..., list]) -> None:
    (finding,) = told({"127.0.0.1": BLIND}, smtp_tls_security_level="dane")
    assert finding.severity is Severity.PROBLEM


def test_where_our_answers_need_dnssec_it_is_a_problem(
    scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(_: str, name: str) -> Answer:
        asked.append(name)
        return Answer(dns.rcode.NOERROR, False)

    monkeypatch.setattr(resolver, "nameservers", lambda: ["127.0.0.1"])
    monkeypatch.setattr(resolver, "ask", ask)
    made = scene()
    assert made.snapshot is not None
    dane = replace(made.snapshot, tls=replace(made.snapshot.tls, dane=True))
    names = ("signed.example", "bogus.example")
    (finding,) = resolver.check(replace(made, snapshot=dane, dns_names=names))
    assert finding.severity is Severity.PROBLEM
    assert asked == ["signed.example"]


def test_a_resolver_elsewhere(told: Callable[..., list]) -> None:
    (finding,) = told({"192.0.2.53": FINE})
    assert "is not on this host" in finding.what


def test_a_resolver_that_says_nothing(told: Callable[..., list]) -> None:
    (finding,) = told({"192.0.2.53": SILENT})
    assert (finding.severity, "does not answer" in finding.what) == (Severity.PROBLEM, True)


def test_no_resolver_at_all(told: Callable[..., list]) -> None:
    (finding,) = told({})
    assert "No name server is configured" in finding.what


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening


@pytest.mark.parametrize("authentic", [True, False])
def test_the_answer_of_a_name_server(
    *, authentic: bool, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dns.message.Message] = []

    def answer() -> None:
        packet, client = server.recvfrom(4096)
        query = dns.message.from_wire(packet)
        seen.append(query)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AD if authentic else 0
        server.sendto(reply.to_wire(), client)

    thread = threading.Thread(target=answer)
    thread.start()
    real = dns.query.udp_with_fallback
    monkeypatch.setattr(
        dns.query,
        "udp_with_fallback",
        lambda query, where, timeout: real(query, where, timeout, server.getsockname()[1]),
    )
    assert resolver.ask("127.0.0.1", SIGNED) == Answer(dns.rcode.NOERROR, authentic)
    thread.join()
    assert seen[0].flags & dns.flags.AD
    assert seen[0].ednsflags & dns.flags.DO


def test_a_name_server_that_does_not_answer(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dns.query.udp_with_fallback
    monkeypatch.setattr(
        dns.query,
        "udp_with_fallback",
        lambda query, where, timeout: real(query, where, timeout, server.getsockname()[1]),
    )
    assert resolver.ask("127.0.0.1", SIGNED, timeout_s=0.05) is None
