"""The lookups of RFC 7672, with a resolver that answers from a table."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.runtime.tls.mx_hosts import Hosts, find_hosts, port_number
from gatepost.tls.dane import MxHost, TlsaState
from gatepost.tls.dns_answer import DnsAnswer, Mx, Outcome, Tlsa
from gatepost.tls.nexthop import NextHop, parse_nexthop

GOOD = Tlsa(3, 1, 1, bytes(32))
ABSENT: DnsAnswer[Any] = DnsAnswer(Outcome.ABSENT, (), True, 60)
FAILED: DnsAnswer[Any] = DnsAnswer(Outcome.FAILED, reason="SERVFAIL", servfail=True)
LATE: DnsAnswer[Any] = DnsAnswer(Outcome.FAILED, reason="timeout")


def found(*records: Any, secure: bool = True, ttl_s: int = 300, canonical: str = "") -> Any:
    return DnsAnswer(Outcome.FOUND, records, secure, ttl_s, canonical)


class Table:
    """Answers from a table; what is not in it is absent. Keeps what it was asked."""

    validates = True

    def __init__(self, answers: dict[str, DnsAnswer[Any]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def _say(self, question: str) -> DnsAnswer[Any]:
        self.asked.append(question)
        return self.answers.get(question, ABSENT)

    async def mx(self, name: str) -> DnsAnswer[Any]:
        return await self._say(f"mx {name}")

    async def addresses(self, name: str) -> DnsAnswer[Any]:
        return await self._say(f"a {name}")

    async def tlsa(self, name: str, port: int = 25) -> DnsAnswer[Any]:
        return await self._say(f"tlsa {port} {name}")

    async def cname(self, name: str) -> DnsAnswer[Any]:
        return await self._say(f"cname {name}")


def look(table: Table, nexthop: str = "d.example", *, dane: bool = True) -> Hosts:
    parsed = parse_nexthop(nexthop)
    assert parsed is not None
    return asyncio.run(find_hosts(table, parsed, dane=dane))  # type: ignore[arg-type]


def test_hosts_come_in_the_order_of_preference_each_once() -> None:
    table = Table(
        {
            "mx d.example": found(Mx(20, "b.example"), Mx(10, "c.example"), Mx(30, "c.example")),
            "a b.example": found("192.0.2.1"),
            "a c.example": found("192.0.2.2"),
            "tlsa 25 c.example": found(GOOD, ttl_s=45),
        }
    )
    assert look(table) == Hosts(
        (MxHost("c.example", TlsaState.USABLE), MxHost("b.example", TlsaState.NONE)), "", 45
    )


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        # RFC 5321 §5.1: without MX the domain is its own mail exchanger.
        (ABSENT, ["d.example"]),
        # RFC 7505: the null MX, and what is no host name.
        (found(Mx(0, "")), []),
        (found(Mx(5, ""), Mx(10, "a.example")), ["a.example"]),
        (found(Mx(5, "192.0.2.1"), Mx(10, "a.example")), ["a.example"]),
        (found(Mx(5, "localhost")), ["localhost"]),
    ],
)
def test_which_hosts_there_are(answer: DnsAnswer[Any], names: list[str]) -> None:
    hosts = look(Table({"mx d.example": answer}), dane=False)
    assert ([host.name for host in hosts.hosts], hosts.failure) == (names, "")


def test_a_failed_mx_lookup_is_a_failure() -> None:
    hosts = look(Table({"mx d.example": FAILED}))
    assert (hosts.hosts, hosts.failure) == ((), "SERVFAIL")


@pytest.mark.parametrize(
    ("nexthop", "asked"),
    [
        ("[h.example]", ["a h.example", "tlsa 25 h.example"]),
        ("[h.example]:587", ["a h.example", "tlsa 587 h.example"]),
        ("[h.example]:submission", ["a h.example", "tlsa 587 h.example"]),
        ("d.example:2525", ["mx d.example", "a d.example", "tlsa 2525 d.example"]),
    ],
)
def test_section_2_2_3_brackets_and_ports(nexthop: str, asked: list[str]) -> None:
    host = nexthop.strip("[]").partition(":")[0].rstrip("]")
    table = Table({f"a {host}": found("192.0.2.1")})
    look(table, nexthop)
    assert table.asked == asked


def test_a_port_that_has_no_number_is_a_failure() -> None:
    assert port_number("submission") == 587
    assert port_number("no-such-service") is None
    assert look(Table({}), "d.example:no-such-service").failure


@pytest.mark.parametrize(
    ("answers", "asked", "state"),
    [
        # §2.2.2: no TLSA lookup for a host with insecure addresses.
        ({"a d.example": found("192.0.2.1", secure=False)}, [], TlsaState.NONE),
        # §2.2.3: the name behind the alias first, then the original one.
        (
            {
                "a d.example": found("192.0.2.1", canonical="real.example"),
                "tlsa 25 real.example": found(GOOD),
            },
            ["tlsa 25 real.example"],
            TlsaState.USABLE,
        ),
        (
            {
                "a d.example": found("192.0.2.1", canonical="real.example"),
                "tlsa 25 d.example": found(GOOD),
            },
            ["tlsa 25 real.example", "tlsa 25 d.example"],
            TlsaState.USABLE,
        ),
        (
            {
                "a d.example": found("192.0.2.1", canonical="real.example"),
                "tlsa 25 real.example": FAILED,
                "tlsa 25 d.example": found(GOOD),
            },
            ["tlsa 25 real.example"],
            TlsaState.HIDDEN,
        ),
        # §2.1.3: insecure behind the alias; the alias itself is secure, so its own name counts.
        (
            {
                "a d.example": found("192.0.2.1", secure=False, canonical="out.test"),
                "cname d.example": found("out.test"),
                "tlsa 25 d.example": found(GOOD),
            },
            ["cname d.example", "tlsa 25 d.example"],
            TlsaState.USABLE,
        ),
        (
            {
                "a d.example": found("192.0.2.1", secure=False, canonical="out.test"),
                "cname d.example": found("out.test", secure=False),
                "tlsa 25 d.example": found(GOOD),
            },
            ["cname d.example"],
            TlsaState.NONE,
        ),
        # §2.1.2: errors.
        ({"a d.example": FAILED}, [], TlsaState.UNREACHABLE),
        ({"a d.example": LATE}, [], TlsaState.HIDDEN),
        ({"a d.example": found("192.0.2.1"), "tlsa 25 d.example": FAILED},
         ["tlsa 25 d.example"], TlsaState.HIDDEN),
        # No such name is an answer.
        ({}, [], TlsaState.ABSENT),
    ],
)  # fmt: skip
def test_section_2_2_what_is_asked_of_a_host(
    answers: dict[str, Any], asked: list[str], state: TlsaState
) -> None:
    table = Table(answers)
    hosts = look(table)
    assert [host.state for host in hosts.hosts] == [state]
    assert table.asked[2:] == asked


def test_a_hundred_hosts_are_asked_eight_at_a_time() -> None:
    running = most = 0

    class Slow(Table):
        async def addresses(self, name: str) -> DnsAnswer[Any]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().addresses(name)

    mx = found(*(Mx(n, f"mx{n}.example") for n in range(100)))
    assert len(look(Slow({"mx d.example": mx})).hosts) == 100
    assert most == 8


def test_what_is_asked_by_default() -> None:
    assert parse_nexthop("d.example") == NextHop("d.example", bracketed=False, port="25")
