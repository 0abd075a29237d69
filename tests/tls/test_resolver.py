"""A real validating resolver, and one that answers nonsense."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dns.flags
import dns.message
import pytest
import uvloop

from gatepost.tls.dns_answer import DnsAnswer, Mx, Outcome, Tlsa
from gatepost.tls.resolver import MAX_RECORDS, Resolver
from lab.dns import BOGUS, CHILD_ADDRESS, INSECURE, ZONE
from lab.enter import RESOLVER
from lab.mx import Kind
from lab.world import World

DIGEST = "ab" * 32
Liar = tuple[str, int, list[bytes]]
# example. SOA
QUESTION = b"\x07example\x00\x00\x06\x00\x01"


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    lab = World([Kind.GOOD])
    names = lab.names
    names.record(f"_25._tcp.mx.good.example. TLSA 3 1 1 {DIGEST}")
    names.record("alias.example. CNAME mx.good.example.")
    names.record(f"out.example. CNAME {INSECURE}.")
    names.record("dangling.example. CNAME nowhere.example.")
    names.record("loop1.example. CNAME loop2.example.")
    names.record("loop2.example. CNAME loop1.example.")
    names.record("null.example. MX 0 .")
    names.record("odd.example. MX 10 a\\032b.example.")
    names.record("six.example. AAAA 2001:db8::25")
    for number in range(MAX_RECORDS + 1):
        names.record(f"many.example. MX {number} mx{number}.example.")
    names.record('_mta-sts.good.example. TXT "v=STSv1; id=" "2026;"')
    with lab:
        yield


def ask(query: Callable[[Resolver], Any], resolver: Resolver | None = None) -> Any:
    async def scenario() -> Any:
        asked = resolver or Resolver([RESOLVER])
        if resolver is None:
            found = await asked.self_test(ZONE, BOGUS)
            assert (found.validates, found.reason) == (True, "")
        return await query(asked)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.e2e
@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("query", "outcome", "records", "secure", "canonical"),
    [
        (lambda r: r.mx("good.example"), "found", (Mx(10, "mx.good.example"),), True, ""),
        (lambda r: r.mx("null.example"), "found", (Mx(0, ""),), True, ""),
        (lambda r: r.mx("odd.example"), "found", (Mx(10, ""),), True, ""),
        (lambda r: r.mx("nowhere.example"), "absent", (), True, ""),
        (lambda r: r.mx(INSECURE), "absent", (), False, ""),
        (lambda r: r.mx(BOGUS), "failed", (), False, ""),
        (lambda r: r.mx("loop1.example"), "failed", (), False, ""),
        (lambda r: r.mx("many.example"), "failed", (), False, ""),
        (lambda r: r.mx("a..b"), "failed", (), False, ""),
        (lambda r: r.addresses(INSECURE), "found", (CHILD_ADDRESS,), False, ""),
        (lambda r: r.addresses("six.example"), "found", ("2001:db8::25",), True, ""),
        (lambda r: r.addresses("out.example"), "found", (CHILD_ADDRESS,), False, INSECURE),
        (lambda r: r.addresses("dangling.example"), "absent", (), True, "nowhere.example"),
        (lambda r: r.cname("out.example"), "found", (INSECURE,), True, ""),
        (
            lambda r: r.tlsa("mx.good.example"),
            "found",
            (Tlsa(3, 1, 1, bytes.fromhex(DIGEST)),),
            True,
            "",
        ),
        (lambda r: r.tlsa("mx.good.example", 587), "absent", (), True, ""),
        (lambda r: r.txt("_mta-sts.good.example"), "found", (b"v=STSv1; id=2026;",), True, ""),
        (lambda r: r.pointer("198.18.1.1"), "found", ("mx.good.example",), False, ""),
    ],
)
def test_what_a_validating_resolver_says(
    query: Callable[[Resolver], Any],
    *,
    outcome: str,
    records: tuple[Any, ...],
    secure: bool,
    canonical: str,
) -> None:
    answer: DnsAnswer[Any] = ask(query)
    assert (answer.outcome, answer.records, answer.canonical) == (outcome, records, canonical)
    assert answer.secure is secure
    assert bool(answer.reason) is answer.failed
    assert answer.failed or answer.ttl_s > 0


@pytest.mark.e2e
@pytest.mark.usefixtures("world")
def test_addresses_of_an_alias_come_with_the_name_behind_it() -> None:
    answer = ask(lambda r: r.addresses("alias.example"))
    assert (answer.records, answer.secure) == (("198.18.1.1",), True)
    assert answer.canonical == "mx.good.example"


@pytest.mark.e2e
@pytest.mark.usefixtures("world")
def test_nothing_is_secure_before_the_resolver_was_tested() -> None:
    answer = ask(lambda r: r.mx("good.example"), Resolver([RESOLVER]))
    assert (answer.outcome, answer.secure) == (Outcome.FOUND, False)


@pytest.mark.e2e
@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("signed", "bogus", "reason"),
    [
        (INSECURE, BOGUS, f'{RESOLVER} does not vouch for "{INSECURE}", which is signed'),
        (ZONE, INSECURE, f"{RESOLVER} answers for {INSECURE}, whose signature is bad"),
        (ZONE, "nowhere.example", f"{RESOLVER} says that there is no nowhere.example, by which"),
        (BOGUS, BOGUS, f'no answer for "{BOGUS}": {BOGUS} SOA: SERVFAIL'),
    ],
)
def test_a_resolver_that_fails_its_test_says_why(signed: str, bogus: str, reason: str) -> None:
    found = ask(lambda r: r.self_test(signed, bogus), Resolver([RESOLVER]))
    assert (found.validates, found.local) == (False, False)
    assert found.reason.startswith(reason)


def test_without_a_name_server_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.tls.resolver.nameservers", lambda: ())
    resolver = Resolver()
    assert ask(lambda r: r.mx("good.example"), resolver).failed
    assert ask(lambda r: r.self_test(), resolver).reason == "no name server is configured"


@pytest.mark.e2e
@pytest.mark.usefixtures("world")
def test_a_server_that_does_not_validate_is_not_asked(liar: Liar) -> None:
    host, port, says = liar

    async def scenario() -> tuple[Any, ...]:
        # The liar answers without AD; the lab's resolver listens on another port, so both are
        # asked by a resolver that sends to each its own.
        resolver = TwoPorts({RESOLVER: 53, host: port})
        found = await resolver.self_test(ZONE, BOGUS)
        return found, await resolver.mx("good.example")

    says.append(b"\x81\x80\x00\x01" + b"\x00" * 6 + QUESTION)
    found, answer = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert (found.validates, found.reason) == (True, "")
    assert answer.records == (Mx(10, "mx.good.example"),)


class TwoPorts(Resolver):
    """Sends to each server at a port of its own."""

    def __init__(self, ports: dict[str, int]) -> None:
        # The liar first: it would be asked first.
        super().__init__(list(reversed(ports)), tries_s=(1.0,))
        self._ports = ports

    async def _ask(self, name: str, kind: str, servers: Any) -> Any:
        reply: Any = ("nobody", False)
        for server in servers:
            self._port = self._ports[server]
            reply = await super()._ask(name, kind, (server,))
            if not isinstance(reply[0], str):
                return reply
        return reply


@pytest.mark.parametrize(
    ("says", "answered"),
    [
        # Nothing at all, and refusal: neither says that it has looked at a signature.
        (b"", False),
        (b"\x81\x85\x00\x01" + b"\x00" * 6 + QUESTION, False),
        (b"\x81\x80\x00\x01" + b"\x00" * 6 + QUESTION, True),
    ],
)
def test_only_servfail_for_the_bogus_name_proves_validation(
    liar: Liar,
    says: bytes,
    answered: bool,  # noqa: FBT001
) -> None:
    host, port, answers = liar
    answers.append(says)
    resolver = Resolver([host], port=port, tries_s=(0.2,))
    found = ask(lambda r: r.self_test("example", "example"), resolver)
    assert (found.validates, found.answered) == (False, answered)


@pytest.fixture
def liar() -> Iterator[tuple[str, int, list[bytes]]]:
    """Answer each query with what the test puts into the list, after the query's own id."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        says: list[bytes] = []

        def serve() -> None:
            while True:
                query, client = server.recvfrom(4096)
                if query == b"end":
                    return
                for octets in says:
                    server.sendto(query[:2] + octets, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        host, port = server.getsockname()
        yield host, port, says
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"end", (host, port))
        thread.join(10)


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"\x80",
        b"\x81\x80\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x81\x85\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x81\x80\x00\x01\xff\xff\xff\xff\x00\x00" + b"\xc0\x0c" * 200,
        b"\x81\x80" + b"\x00\x01" * 4 + b"\xff" * 4000,
    ],
)
def test_nonsense_is_a_failure_with_a_reason(
    liar: tuple[str, int, list[bytes]], says: bytes
) -> None:
    host, port, answers = liar
    answers.append(says)
    resolver = Resolver([host], port=port, tries_s=(0.2,))
    answer = ask(lambda r: r.mx("good.example"), resolver)
    assert answer.failed
    assert answer.reason.startswith("good.example MX: ")


def test_a_query_asks_for_dnssec() -> None:
    seen: list[dns.message.Message] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            packet, client = server.recvfrom(4096)
            query = dns.message.from_wire(packet)
            seen.append(query)
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.AD
            server.sendto(reply.to_wire(), client)

        thread = threading.Thread(target=answer)
        thread.start()
        resolver = Resolver(["127.0.0.1"], port=server.getsockname()[1])
        resolver.validates = True
        answered = ask(lambda r: r.mx("good.example"), resolver)
        thread.join(10)
    assert (answered.outcome, answered.secure) == (Outcome.ABSENT, True)
    assert seen[0].flags & dns.flags.AD
    assert seen[0].ednsflags & dns.flags.DO


def test_a_dead_server_is_followed_by_the_next(liar: tuple[str, int, list[bytes]]) -> None:
    host, port, answers = liar
    refused = b"\x81\x85\x00\x01" + b"\x00" * 6 + b"\x04good\x07example\x00\x00\x0f\x00\x01"
    answers.append(refused)
    resolver = Resolver(["127.0.0.99", host], port=port, tries_s=(0.2,))
    assert ask(lambda r: r.mx("good.example"), resolver).reason == "good.example MX: REFUSED"
