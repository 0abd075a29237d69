"""Doctor on resolvers: what a name server says, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatepost.postfix.doctor import resolver
from gatepost.postfix.doctor.findings import Severity
from gatepost.postfix.doctor.scene import Scene
from gatepost.tls.resolver import BOGUS, SIGNED, SelfTest
from lab.dns import BOGUS as LAB_BOGUS
from lab.dns import INSECURE, ZONE
from lab.enter import RESOLVER
from lab.mx import Kind
from lab.world import World

MakeScene = Callable[..., Scene]
FINE = SelfTest(True, "", True)
ELSEWHERE = SelfTest(True, "", False)
BLIND = SelfTest(False, "it does not vouch for it", True)
FOOLED = SelfTest(False, "it answers for what is forged", True)
SILENT = SelfTest(False, "timeout", False, answered=False)


@pytest.fixture
def told(scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list]:
    def tell(tests: dict[str, SelfTest], **values: str) -> list:
        def test(server: str, signed: str, bogus: str) -> SelfTest:
            assert (signed, bogus) == (SIGNED, BOGUS)
            return tests[server]

        monkeypatch.setattr(resolver, "nameservers", lambda: list(tests))
        monkeypatch.setattr(resolver, "put_to_the_test", test)
        return list(resolver.check(scene(**values)))

    return tell


def test_a_validating_resolver_on_this_host(told: Callable[..., list]) -> None:
    assert told({"127.0.0.1": FINE}) == []
    assert told({"::1": FINE}) == []


@pytest.mark.parametrize("test", [BLIND, FOOLED])
def test_a_resolver_that_does_not_validate(test: SelfTest, told: Callable[..., list]) -> None:
    (finding,) = told({"127.0.0.1": test})
    assert test.reason in finding.what
    assert "does not validate DNSSEC" in finding.what
    assert finding.severity is Severity.WARNING


def test_where_dane_is_the_level_it_is_a_problem(told: Callable[..., list]) -> None:
    (finding,) = told({"127.0.0.1": BLIND}, smtp_tls_security_level="dane")
    assert finding.severity is Severity.PROBLEM


def test_where_our_answers_need_dnssec_it_is_a_problem(
    scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def test(server: str, signed: str, bogus: str) -> SelfTest:
        asked.append((server, signed, bogus))
        return BLIND

    monkeypatch.setattr(resolver, "nameservers", lambda: ["127.0.0.1"])
    monkeypatch.setattr(resolver, "put_to_the_test", test)
    made = scene()
    assert made.snapshot is not None
    dane = replace(made.snapshot, tls=replace(made.snapshot.tls, dane=True))
    names = ("signed.example", "bogus.example")
    (finding,) = resolver.check(replace(made, snapshot=dane, dns_names=names))
    assert finding.severity is Severity.PROBLEM
    assert asked == [("127.0.0.1", *names)]


def test_a_resolver_elsewhere(told: Callable[..., list]) -> None:
    (finding,) = told({"192.0.2.53": ELSEWHERE})
    assert "is not on this host" in finding.what


def test_a_resolver_that_says_nothing(told: Callable[..., list]) -> None:
    (finding,) = told({"192.0.2.53": SILENT})
    assert (finding.severity, "does not answer" in finding.what) == (Severity.PROBLEM, True)


def test_no_resolver_at_all(told: Callable[..., list]) -> None:
    (finding,) = told({})
    assert "No name server is configured" in finding.what


@pytest.mark.e2e
def test_the_lab_s_resolver_is_put_to_the_test() -> None:
    with World([Kind.GOOD]):
        assert resolver.put_to_the_test(RESOLVER, ZONE, LAB_BOGUS).validates
        found = resolver.put_to_the_test(RESOLVER, ZONE, INSECURE)
    assert (found.validates, found.answered) == (False, True)
