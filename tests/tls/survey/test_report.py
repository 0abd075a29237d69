"""Adding up: what a host and a domain are called after."""

from __future__ import annotations

import pytest

from gatepost.tls.survey.knowledge import (
    AddressKnowledge,
    DomainKnowledge,
    HostKnowledge,
    MxOutcome,
    Sts,
)
from gatepost.tls.survey.model import CertificateVerdict, DaneVerdict, Verdict
from gatepost.tls.survey.report import host_standing, standing_of, summarise


def server(word: str, settled: str = "", **fields: object) -> AddressKnowledge:
    return AddressKnowledge(
        "192.0.2.1", Verdict(word), settled=Verdict(settled) if settled else None,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def domain(*hosts: list[AddressKnowledge], outcome: str = "found") -> DomainKnowledge:
    found = tuple(HostKnowledge(f"mx{n}.x", n, tuple(each)) for n, each in enumerate(hosts))
    return DomainKnowledge("a.example", MxOutcome(outcome), 1.0, 1.0, found, sts=Sts.ENFORCE)


@pytest.mark.parametrize(
    ("hosts", "word"),
    [
        ([["tls"]], "tls"),
        ([["tls", "tls"], ["tls"]], "tls"),
        ([["tls", "none"]], "none"),
        ([["tls"], ["none"]], "some-hosts"),
        ([["none"], ["broken"]], "broken"),
        ([["tls"], ["unreachable"]], "tls"),
        ([["tls"], ["unknown"]], "tls"),
        ([["unknown"], ["unreachable"]], "unknown"),
        ([["unreachable"]], "unreachable"),
        ([["stripped"]], "stripped"),
        ([[]], "not-probed"),
        ([], "no-mail"),
    ],
)
def test_words(hosts: list[list[str]], word: str) -> None:
    known = domain(*[[server(each) for each in host] for host in hosts])
    assert standing_of(known).starttls == word


def test_a_server_that_was_busy_is_what_it_was_before() -> None:
    assert host_standing(domain([server("unknown", "none")]).hosts[0]).starttls == "none"
    assert host_standing(domain([server("unreachable", "tls")]).hosts[0]).starttls == "unreachable"


def test_the_worst_counts() -> None:
    good = {"version": "TLSv1.3", "certificate": CertificateVerdict.VALID,
            "dane": DaneVerdict.MATCH}  # fmt: skip
    bad = {"version": "TLSv1.1", "certificate": CertificateVerdict.SELF_SIGNED,
           "dane": DaneVerdict.MISMATCH}  # fmt: skip
    found = standing_of(domain([server("tls", **good)], [server("tls", **bad)]))
    assert (found.version, found.certificate, found.dane) == ("TLSv1.1", "self-signed", "mismatch")
    assert standing_of(domain([server("tls", version="TLSv1.2")])).certificate == "no-certificate"


def test_domains_hosts_and_deliveries_are_counted_each_in_their_own_way() -> None:
    shared = [server("tls", version="TLSv1.3", certificate=CertificateVerdict.VALID)]
    known = [
        DomainKnowledge(
            name, MxOutcome.FOUND, 1.0, 1.0, (HostKnowledge("mx.shared", 1, tuple(shared)),),
            sts=Sts.ABSENT,
        )
        for name in ("a.example", "b.example")
    ] + [DomainKnowledge("c.example", MxOutcome.FAILED, 1.0, 1.0)]  # fmt: skip
    summary = summarise(known, {"a.example": 90, "c.example": 10, "x.example": 7})
    assert (summary.domains.count, summary.hosts.count, summary.traffic.count) == (3, 1, 100)
    assert summary.domains.starttls == {"tls": 2, "dns-failed": 1}
    assert summary.hosts.certificate == {"valid": 1}
    assert summary.traffic.starttls == {"tls": 90, "dns-failed": 10}
    assert summary.domains.sts == {"absent": 2, "not-asked": 1}
    assert summary.unsurveyed == 7
