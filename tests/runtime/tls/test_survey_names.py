"""From names to servers: what DNS may say, and what we make of it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest

from gatepost.errors import GatepostError
from gatepost.runtime.tls.survey_names import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    Found,
    Names,
    check_name,
    own_addresses,
)
from gatepost.runtime.tls.survey_setup import read_names
from gatepost.tls.dane import TlsaState
from gatepost.tls.dns_answer import DnsAnswer, Mx, Outcome, Tlsa
from gatepost.tls.mtasts.entry import Failure
from gatepost.tls.mtasts.fetching import FetchError
from gatepost.tls.mtasts.policy import StsMode, StsPolicy
from gatepost.tls.nexthop import NextHop
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, Sts
from gatepost.tls.survey.model import Target
from gatepost.tls.survey.optout import parse_opt_out

FAILED: DnsAnswer[Any] = DnsAnswer(Outcome.FAILED, reason="SERVFAIL")
ABSENT: DnsAnswer[Any] = DnsAnswer(Outcome.ABSENT)
EE = Tlsa(3, 1, 1, b"x" * 32)


def found(*records: Any, secure: bool = False) -> DnsAnswer[Any]:
    return DnsAnswer(Outcome.FOUND, records, secure=secure)


class Dns:
    """Answers from a table, and counts the questions."""

    def __init__(self, table: Mapping[str, DnsAnswer[Any]]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def _ask(self, kind: str, name: str) -> DnsAnswer[Any]:
        self.asked.append(f"{kind} {name}")
        return self.table.get(f"{kind} {name}", ABSENT)

    async def mx(self, name: str) -> DnsAnswer[Any]:
        return await self._ask("MX", name)

    async def addresses(self, name: str) -> DnsAnswer[Any]:
        return await self._ask("A", name)

    async def tlsa(self, name: str, port: int = 25) -> DnsAnswer[Any]:
        assert port == 25
        return await self._ask("TLSA", name)

    async def txt(self, name: str) -> DnsAnswer[Any]:
        return await self._ask("TXT", name)

    async def cname(self, name: str) -> DnsAnswer[Any]:
        return await self._ask("CNAME", name)

    async def pointer(self, name: str) -> DnsAnswer[Any]:
        return await self._ask("PTR", name)


class Fetcher:
    """Has one policy, or none."""

    def __init__(self, policy: StsPolicy | None) -> None:
        self.policy = policy

    async def fetch(self, domain: str) -> StsPolicy:
        if self.policy is None:
            raise FetchError(Failure.FETCH, f"404 from {domain}")
        return self.policy


def look_up(
    table: Mapping[str, DnsAnswer[Any]], *names: str, fetcher: Fetcher | None = None,
    opt_out: str = "", also: str = "",
) -> tuple[list[Found], Names, Dns]:  # fmt: skip
    dns = Dns(table)
    networks = [ipaddress.ip_network(also)] if also else []
    found_of = Names(
        dns, fetcher, parse_opt_out([opt_out]), also=networks, clock=lambda: 1.0,  # type: ignore[arg-type]
    )  # fmt: skip

    async def all_of_them() -> list[Found]:
        hops = [NextHop(name.strip("[]"), name.startswith("[")) for name in names]
        return [await found_of.find(hop) for hop in hops]

    return asyncio.run(all_of_them()), found_of, dns


def test_mail_exchangers_in_their_order() -> None:
    [one], *_ = look_up(
        {
            "MX a.example": found(Mx(20, "mx2.x"), Mx(10, "mx1.x"), Mx(5, "mx2.x"), secure=True),
            "A mx1.x": found("192.0.2.1", "2001:db8::1", secure=True),
            "A mx2.x": found("192.0.2.2"),
            "TLSA mx1.x": found(EE, secure=True),
        },
        "a.example",
    )
    assert (one.domain.outcome, one.domain.secure) == (MxOutcome.FOUND, True)
    assert one.domain.hosts == (MxOf("mx2.x", 5), MxOf("mx1.x", 10))
    assert one.targets == (
        Target("192.0.2.2", "mx2.x"),
        Target("192.0.2.1", "mx1.x", (EE,)),
        Target("2001:db8::1", "mx1.x", (EE,)),
    )
    assert [(each.host, each.tlsa) for each in one.hosts] == [
        ("mx2.x", TlsaState.NONE), ("mx1.x", TlsaState.USABLE),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "outcome", "hosts"),
    [
        ({}, MxOutcome.ABSENT, ()),
        ({"MX a.example": FAILED}, MxOutcome.FAILED, ()),
        ({"MX a.example": found(Mx(0, ""))}, MxOutcome.NULL, ()),
        ({"A a.example": found("192.0.2.1")}, MxOutcome.IMPLICIT, (MxOf("a.example", 0),)),
        ({"A a.example": FAILED}, MxOutcome.FAILED, ()),
        ({"MX a.example": found(Mx(1, ""), Mx(2, "mx.x"))}, MxOutcome.FOUND, (MxOf("mx.x", 2),)),
    ],
)
def test_outcomes(
    table: dict[str, DnsAnswer[Any]], outcome: MxOutcome, hosts: tuple[MxOf, ...]
) -> None:
    [one], *_ = look_up(table, "a.example")
    assert (one.domain.outcome, one.domain.hosts) == (outcome, hosts)


def test_a_name_in_brackets_has_no_mx_lookup_and_is_kept_apart() -> None:
    [one], _, dns = look_up({"A mx.x": found("192.0.2.1")}, "[mx.x]")
    assert one.domain.domain == "[mx.x]"
    assert one.targets == (Target("192.0.2.1", "mx.x"),)
    assert dns.asked == ["A mx.x"]


def test_a_host_is_looked_up_once_for_all_domains() -> None:
    table = {
        "MX a.example": found(Mx(1, "mx.x")),
        "MX b.example": found(Mx(1, "mx.x")),
        "A mx.x": found("192.0.2.1"),
    }
    (one, two), _, dns = look_up(table, "a.example", "b.example")
    assert dns.asked.count("A mx.x") == 1
    assert (len(one.hosts), len(two.hosts)) == (1, 0)
    assert one.targets == two.targets


def test_nobody_can_send_us_to_thousands_of_strangers() -> None:
    many = [Mx(number, f"mx{number:03}.x") for number in range(100)]
    table = {"MX a.example": found(*many)} | {
        f"A mx{n:03}.x": found(*(f"10.{n}.0.{a}" for a in range(100))) for n in range(100)
    }
    [one], *_ = look_up(table, "a.example")
    assert [each.host for each in one.domain.hosts] == [f"mx{n:03}.x" for n in range(MAX_HOSTS)]
    assert len(one.targets) == MAX_HOSTS * MAX_ADDRESSES


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("8.8.8.8", True),
        ("2a00:1450::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        # 8.8.8.8 once more, which may have opted out or been visited.
        ("::ffff:8.8.8.8", False),
        ("::8.8.8.8", False),
        ("64:ff9b::8.8.8.8", False),
        ("2002:808:808::1", False),
        ("2001:0:808:808::1", False),
        ("198.18.0.1", True),
        ("192.0.2.77", False),
    ],
)
def test_only_public_addresses_and_those_that_were_named(address: str, *, may: bool) -> None:
    _, names, _ = look_up({}, also="198.18.0.0/15")
    assert names.may_probe(Target(address, "mx.x")) is may


def test_opt_out_covers_domains_hosts_and_addresses() -> None:
    for entry in ("a.example", "x", "8.8.8.0/24"):
        _, names, _ = look_up({}, opt_out=entry)
        may = names.welcome(NextHop("a.example")) and names.may_probe(Target("8.8.8.8", "mx.x"))
        assert not may
    _, names, _ = look_up({}, opt_out="other.example")
    assert names.welcome(NextHop("a.example"))
    assert names.may_probe(Target("8.8.8.8", "mx.x"))


@pytest.mark.parametrize(
    ("txt", "fetcher", "sts"),
    [
        (found(b"v=STSv1; id=1;"), None, Sts.NOT_ASKED),
        (ABSENT, Fetcher(None), Sts.ABSENT),
        (FAILED, Fetcher(None), Sts.FAILED),
        (found(b"v=spf1"), Fetcher(None), Sts.ABSENT),
        (found(b"v=STSv1;"), Fetcher(None), Sts.FAILED),
        (found(b"v=STSv1; id=1;"), Fetcher(None), Sts.FAILED),
        (found(b"v=STSv1; id=1;"), Fetcher(StsPolicy(StsMode.ENFORCE, 9, ("x",))), Sts.ENFORCE),
        (found(b"v=STSv1; id=1;"), Fetcher(StsPolicy(StsMode.TESTING, 9, ("x",))), Sts.TESTING),
    ],
)
def test_mta_sts(txt: DnsAnswer[Any], fetcher: Fetcher | None, sts: Sts) -> None:
    table = {"MX a.example": found(Mx(1, "mx.x")), "TXT _mta-sts.a.example": txt}
    [one], *_ = look_up(table, "a.example", fetcher=fetcher)
    assert one.domain.sts is sts


VOUCHED = {"PTR 192.0.2.1": found("other.x", "survey.x"), "A survey.x": found("192.0.2.1")}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (VOUCHED, None),
        ({}, "PTR record of 192.0.2.1 says nothing"),
        ({**VOUCHED, "PTR 192.0.2.1": found("other.x")}, "says other.x, not survey.x"),
        ({**VOUCHED, "PTR 192.0.2.1": FAILED}, "says SERVFAIL"),
        ({**VOUCHED, "A survey.x": found("192.0.2.9")}, "survey.x has 192.0.2.9, not 192.0.2.1"),
        ({**VOUCHED, "A survey.x": ABSENT}, "survey.x has no address"),
    ],
)
def test_our_name_and_address_vouch_for_each_other(
    table: dict[str, DnsAnswer[Any]], problem: str | None
) -> None:
    checked = check_name(Dns(table), "survey.x", ["192.0.2.1"])  # type: ignore[arg-type]
    if problem is None:
        asyncio.run(checked)
    else:
        with pytest.raises(GatepostError, match=problem) as caught:
            asyncio.run(checked)
        for remedy in ("--ehlo", "--source", "--force-ehlo"):
            assert remedy in str(caught.value)


def test_own_addresses_are_those_of_the_versions_in_use() -> None:
    loopback = [ipaddress.ip_network("127.0.0.0/8")]
    assert "127.0.0.1" in own_addresses([], loopback)
    assert own_addresses([], loopback, versions={6}) == own_addresses([], versions={6})
    assert own_addresses(["192.0.2.7"], loopback, versions={4}) == ["192.0.2.7"]


def test_without_an_address_there_is_nothing_to_come_from() -> None:
    with pytest.raises(GatepostError, match="no address"):
        asyncio.run(check_name(Dns({}), "survey.x", []))  # type: ignore[arg-type]


def test_lines_of_names() -> None:
    problems: list[str] = []
    lines = ["# all", "", " A.Example. ", "[MX.x]", "u@b.example", "b\u00fccher.example  # x",
             "a b", "192.0.2.1", "[192.0.2.1]", "c.example:587", "..", "d.example:25"]  # fmt: skip
    assert list(read_names(lines, problems)) == [
        NextHop("a.example"),
        NextHop("mx.x", bracketed=True),
        NextHop("b.example"),
        NextHop("xn--bcher-kva.example"),
        NextHop("d.example"),
    ]
    assert [each.partition(":")[0] for each in problems] == [
        "line 7", "line 8", "line 9", "line 10", "line 11",
    ]  # fmt: skip
