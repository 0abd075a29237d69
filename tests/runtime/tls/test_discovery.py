"""What is known of destinations, over time; then the lab's real DNS and policy hosts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.runtime.loop import run_in_uvloop
from gatepost.runtime.tls.discovery import Discovery, Wanted
from gatepost.runtime.tls.sts_policies import StsPolicies
from gatepost.tls.dane import MxHost, TlsaState
from gatepost.tls.dns_answer import DnsAnswer, Mx, Outcome, Tlsa
from gatepost.tls.fetch import Fetcher
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.mtasts.policy import StsMode, StsPolicy
from gatepost.tls.nexthop import NextHop
from gatepost.tls.resolver import Resolver, SelfTest
from lab.dns import BOGUS, INSECURE, ZONE
from lab.enter import RESOLVER
from lab.mx import Kind
from lab.policy_hosts import PolicyHost, PolicyHosts, policy_text
from lab.world import World
from policy_server.tls_maps import TlsMaps
from tests.world import snapshot, tenant

T = 1_800_000_000.0
HOP = NextHop("d.example")
POLICY = StsPolicy(StsMode.ENFORCE, 86_400, ("mx.d.example",))
ABSENT: DnsAnswer[Any] = DnsAnswer(Outcome.ABSENT, (), True, 3_600)
GOOD = Tlsa(3, 1, 1, bytes(32))


def found(*records: Any, ttl_s: int = 3_600) -> DnsAnswer[Any]:
    return DnsAnswer(Outcome.FOUND, records, True, ttl_s)


class FakeResolver:
    """Answers from a table, when its gate is open."""

    servers = ("127.0.0.1",)

    def __init__(self) -> None:
        self.validates = True
        self.reason = ""
        self.answers_tests = True
        self.answers: dict[str, DnsAnswer[Any]] = {
            "mx": found(Mx(10, "mx.d.example")),
            "addresses": found("192.0.2.1"),
        }
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, kind: str) -> Callable[..., Awaitable[DnsAnswer[Any]]]:
        async def answer(name: str, *_: object) -> DnsAnswer[Any]:
            self.asked.append(f"{kind} {name}")
            await self.gate.wait()
            return self.answers.get(kind, ABSENT)

        return answer

    async def self_test(self, *_: str) -> SelfTest:
        if not self.answers_tests:
            return SelfTest(self.validates, "timeout", True, answered=False)
        self.validates = not self.reason
        return SelfTest(self.validates, self.reason, True)


class FakeFetcher:
    async def fetch(self, domain: str) -> StsPolicy:
        assert domain == "d.example"
        return POLICY


class Scene:
    def __init__(self, *, dane: bool = True, mta_sts: bool = True, search_s: float = 20) -> None:
        self.now = T
        self.resolver = FakeResolver()
        self.results: list[str] = []
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        self.discovery = Discovery(
            self.resolver,  # type: ignore[arg-type]
            StsPolicies(FakeFetcher(), None, clock=clock),  # type: ignore[arg-type]
            Wanted(dane, mta_sts),
            clock=clock,
            count=self.results.append,
            search_s=search_s,
        )
        self.discovery._tested.set()

    def mx_lookups(self) -> int:
        return self.resolver.asked.count("mx d.example")


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))  # type: ignore[arg-type]


def test_what_was_found_is_known_until_its_records_end() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.resolver.answers["mx"] = found(Mx(10, "mx.d.example"), ttl_s=100)
        assert scene.discovery.known(HOP) is None
        knowledge = await scene.discovery.learn(HOP)
        assert knowledge == Knowledge(
            (MxHost("mx.d.example"),), True, None, "", "d.example", "", T, T + 100
        )
        scene.now += 79
        assert scene.discovery.known(HOP) is knowledge
        assert (await scene.discovery.learn(HOP), scene.mx_lookups()) == (knowledge, 1)
        scene.now = T + 100
        assert scene.discovery.known(HOP) is None
        assert scene.results == ["found"]

    play(scenario)


def test_it_is_found_out_anew_before_it_ends_and_nobody_waits() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.resolver.answers["mx"] = found(Mx(10, "mx.d.example"), ttl_s=100)
        first = await scene.discovery.learn(HOP)
        scene.now += 80
        assert scene.discovery.known(HOP) is first
        second = await scene.discovery.search(HOP)
        assert second.fresh_until == T + 180
        assert scene.mx_lookups() == 2

    play(scenario)


def test_many_who_ask_at_once_wait_for_one_search() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.resolver.gate.clear()
        asked = [asyncio.ensure_future(scene.discovery.learn(HOP)) for _ in range(50)]
        await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.sleep(0)
        scene.resolver.gate.set()
        rest = await asyncio.gather(*asked[1:])
        assert len(set(map(id, rest))) == 1, "who gives up stops nobody else"
        assert scene.mx_lookups() == 1

    play(scenario)


@pytest.mark.parametrize(
    ("answers", "record", "fresh_s"),
    [
        ({}, ABSENT, 3_600),
        ({"mx": found(Mx(1, "mx.d.example"), ttl_s=9_999)}, ABSENT, 3_600),
        ({"mx": found(Mx(1, "mx.d.example"), ttl_s=5)}, ABSENT, 30),
        ({"tlsa": found(GOOD, ttl_s=77)}, ABSENT, 77),
        # A policy that holds: its id is read again within five minutes.
        ({}, found(b"v=STSv1; id=a"), 300),
        ({}, found(b"v=STSv1; id=a", ttl_s=60), 60),
        # Trouble: again soon.
        ({"mx": DnsAnswer(Outcome.FAILED, reason="SERVFAIL")}, ABSENT, 30),
        ({"addresses": DnsAnswer(Outcome.FAILED, reason="SERVFAIL")}, ABSENT, 30),
        ({"tlsa": DnsAnswer(Outcome.FAILED, reason="SERVFAIL")}, ABSENT, 30),
    ],
)
def test_how_long_it_is_known(
    answers: dict[str, DnsAnswer[Any]], record: DnsAnswer[Any], fresh_s: float
) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.resolver.answers.update(answers, txt=record)
        knowledge = await scene.discovery.learn(HOP)
        assert knowledge.fresh_until - T == fresh_s

    play(scenario)


def test_a_policy_outlives_dns_that_has_stopped_answering() -> None:
    async def scenario() -> None:
        scene = Scene(search_s=0.05)
        scene.resolver.answers["txt"] = found(b"v=STSv1; id=a")
        assert (await scene.discovery.learn(HOP)).sts == POLICY
        scene.now += 3_600
        scene.resolver.gate.clear()
        knowledge = await scene.discovery.learn(HOP)
        assert (knowledge.sts, knowledge.hosts) == (POLICY, ())
        assert knowledge.failure == "no answer within 0.05 s"
        assert scene.results == ["found", "failed"]

    play(scenario)


def test_a_txt_lookup_that_fails_is_no_announcement_and_no_failure() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.resolver.answers["txt"] = DnsAnswer(Outcome.FAILED, reason="SERVFAIL")
        knowledge = await scene.discovery.learn(HOP)
        assert (knowledge.sts, knowledge.failure) == (None, "")
        assert knowledge.sts_failure == "the MTA-STS record cannot be looked up: SERVFAIL"
        # A policy that holds is not in doubt for a record that cannot be seen.
        scene.resolver.answers["txt"] = found(b"v=STSv1; id=a")
        scene.now += 31
        assert (await scene.discovery.learn(HOP)).sts == POLICY
        scene.resolver.answers["txt"] = DnsAnswer(Outcome.FAILED, reason="SERVFAIL")
        scene.now += 301
        knowledge = await scene.discovery.learn(HOP)
        assert (knowledge.sts, knowledge.sts_failure) == (POLICY, "")

    play(scenario)


def test_only_what_is_wanted_is_asked_for() -> None:
    async def scenario() -> None:
        scene = Scene(dane=False)
        await scene.discovery.learn(HOP)
        assert sorted(scene.resolver.asked) == ["mx d.example", "txt _mta-sts.d.example"]
        scene.discovery.want(Wanted(dane=True, mta_sts=False))
        scene.resolver.asked.clear()
        knowledge = await scene.discovery.learn(HOP)
        assert knowledge.dane
        assert not [asked for asked in scene.resolver.asked if asked.startswith("txt")]

    play(scenario)


def test_without_a_validating_resolver_dane_is_off_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.resolver.answers["tlsa"] = found(GOOD)
        scene.resolver.reason = 'it does not vouch for ".", which is signed'
        await scene.discovery.self_test()
        await scene.discovery.self_test()
        assert not (await scene.discovery.learn(HOP)).dane
        before = scene.discovery.generation
        scene.resolver.reason = ""
        await scene.discovery.self_test()
        assert scene.discovery.generation == before + 1
        knowledge = await scene.discovery.learn(HOP)
        assert (knowledge.dane, knowledge.hosts[0].state) == (True, TlsaState.USABLE)

    with caplog.at_level(logging.INFO):
        play(scenario)
    assert [(r.levelname, r.getMessage().split()[0]) for r in caplog.records] == [
        ("ERROR", "dane-off"),
        ("INFO", "resolver"),
    ]
    assert "does not validate DNSSEC: it does not vouch" in caplog.messages[0]


def test_nothing_is_called_insecure_before_the_resolver_was_tested(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        scene = Scene(search_s=0.05)
        scene.discovery._tested.clear()
        scene.resolver.answers_tests = False
        await scene.discovery.self_test()
        assert (await scene.discovery.learn(HOP)).failure == "no answer within 0.05 s"
        scene.now += 30
        scene.resolver.answers_tests = True
        waiting = asyncio.ensure_future(scene.discovery.learn(HOP))
        await asyncio.sleep(0)
        await scene.discovery.self_test()
        assert (await waiting).failure == ""

    with caplog.at_level(logging.INFO):
        play(scenario)
    assert [m.split()[0] for m in caplog.messages] == ["resolver-untested", "resolver"]


def test_the_resolver_is_tested_while_dane_is_wanted() -> None:
    async def scenario() -> None:
        scene = Scene(dane=False)
        testing = asyncio.ensure_future(scene.discovery.keep_testing())
        await asyncio.sleep(0)
        assert scene.discovery.test is None
        scene.discovery.want(Wanted(dane=True, mta_sts=False))
        while scene.discovery.test is None:  # noqa: ASYNC110 a test tells nobody of its end
            await asyncio.sleep(0)
        assert scene.discovery.test.validates
        testing.cancel()

    play(scenario)


def test_a_search_that_began_before_all_was_dropped_begins_again() -> None:
    async def scenario() -> None:
        scene = Scene(dane=False, mta_sts=False)
        scene.resolver.answers["txt"] = found(b"v=STSv1; id=a")
        scene.resolver.gate.clear()
        waiting = asyncio.ensure_future(scene.discovery.learn(HOP))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        scene.discovery.want(Wanted(dane=True, mta_sts=True))
        scene.resolver.gate.set()
        knowledge = await waiting
        assert (knowledge.dane, knowledge.sts) == (True, POLICY)

    play(scenario)


def test_a_policy_that_comes_late_is_used_at_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        slow = SlowFetcher()
        scene.discovery.policies = policies = StsPolicies(
            slow,
            None,
            clock=lambda: scene.now,
            wait_s=0.01,
        )
        policies.on_change = scene.discovery._policy_changed
        scene.resolver.answers["txt"] = found(b"v=STSv1; id=a")
        knowledge = await scene.discovery.learn(HOP)
        assert knowledge.sts is None
        assert knowledge.fresh_until == T + 30, "a fetch is on"
        assert knowledge.sts_failure == "the MTA-STS policy cannot be fetched: it takes too long"
        before = scene.discovery.generation
        slow.gate.set()
        while policies.fetches("d.example"):  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert scene.discovery.generation == before + 1
        assert scene.discovery.known(HOP) is None
        assert (await scene.discovery.learn(HOP)).sts == POLICY
        await policies.close()

    play(scenario)


def test_the_maps_renew_what_they_answer_before_it_ends() -> None:
    async def scenario() -> None:
        scene = Scene(mta_sts=False)
        scene.resolver.answers["mx"] = found(Mx(10, "mx.d.example"), ttl_s=100)
        made = snapshot(tenant("acme", senders=("a.example",), profile="private"))
        made = replace(made, tls=replace(made.tls, dane=True))
        maps = TlsMaps(OLDEST_SUPPORTED, clock=lambda: scene.now, destinations=scene.discovery)
        waited = 0
        for _ in range(60):
            answer = maps.policy("tls-private", "d.example", made)
            if not isinstance(answer, str):
                waited += 1
                answer = await answer
            assert answer == "encrypt protocols=>=TLSv1.2"
            # What is done beside answering is done by the next look-up.
            for task in list(scene.discovery._searches.values()):
                await task
            scene.now += 5
        assert waited == 1

    play(scenario)


class SlowFetcher:
    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def fetch(self, domain: str) -> StsPolicy:
        assert domain == "d.example"
        await self.gate.wait()
        return POLICY


def test_the_number_of_destinations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.runtime.tls.discovery.MAX_DESTINATIONS", 2)

    async def scenario() -> None:
        scene = Scene(mta_sts=False)
        for name in "abc":
            await scene.discovery.learn(NextHop(f"{name}.example"))
        assert len(scene.discovery) == 2
        assert scene.discovery.known(NextHop("a.example")) is None

    play(scenario)


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[World, PolicyHosts]]:
    world = World([Kind.GOOD])
    names = world.names
    hosts = PolicyHosts(world.directory / "sts", world.authority, names)
    for domain, mode in (("enforced.example", "enforce"), ("tested.example", "testing")):
        names.mail(domain, "mx.good.example")
        hosts.add(domain, PolicyHost(policy_text("mx.good.example", mode=mode)))
    names.record(f"_25._tcp.mx.good.example. TLSA 3 1 1 {'ab' * 32}")
    names.mail("mixed.example", "mx.good.example", 10)
    names.mail("mixed.example", INSECURE, 20)
    names.mail("mixed.example", BOGUS, 30)
    names.mail("mixed.example", "nowhere.example", 40)
    names.record("null.example. MX 0 .")
    with world, hosts:
        yield world, hosts


GOOD_HOST = MxHost("mx.good.example", TlsaState.USABLE)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("domain", "states", "sts", "failure"),
    [
        ("good.example", ["usable"], None, ""),
        ("enforced.example", ["usable"], "enforce", ""),
        ("tested.example", ["usable"], "testing", ""),
        ("mixed.example", ["usable", "none", "unreachable", "absent"], None, ""),
        ("null.example", [], None, ""),
        ("nowhere.example", ["absent"], None, ""),
        (INSECURE, ["none"], None, ""),
        (BOGUS, [], None, f"{BOGUS} MX: SERVFAIL"),
    ],
)
def test_in_the_lab(
    lab: tuple[World, PolicyHosts], domain: str, states: list[str], sts: str | None, failure: str
) -> None:
    world, _ = lab

    async def scenario() -> Knowledge:
        resolver = Resolver([RESOLVER])
        fetcher = Fetcher(resolver, ca_file=world.authority.ca_file)
        clock: Callable[[], float] = lambda: T  # noqa: E731
        policies = StsPolicies(fetcher, None, clock=clock)
        discovery = Discovery(
            resolver, policies, Wanted(dane=True, mta_sts=True), clock=clock, names=(ZONE, BOGUS)
        )
        await discovery.self_test()
        try:
            return await discovery.learn(NextHop(domain))
        finally:
            await fetcher.close()

    knowledge = run_in_uvloop(asyncio.wait_for(scenario(), 30))
    assert [host.state for host in knowledge.hosts] == states
    assert knowledge.dane
    assert (knowledge.sts.mode.value if knowledge.sts else None) == sts
    assert knowledge.failure == failure
