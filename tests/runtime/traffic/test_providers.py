"""Which mail server a next-hop leads to."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gatepost.runtime.traffic import providers
from gatepost.runtime.traffic.providers import MxBook
from gatepost.tls.dns_answer import DnsAnswer, Mx, Outcome

FOUND = DnsAnswer(Outcome.FOUND, (Mx(20, "mx2.a.example"), Mx(10, "MX1.a.example")), ttl_s=600)


class Resolver:
    """Answers as a test says."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, DnsAnswer[Mx]] = {"a.example": FOUND}
        self.answering = asyncio.Event()
        self.answering.set()

    async def mx(self, domain: str) -> DnsAnswer[Mx]:
        self.asked[domain] += 1
        await self.answering.wait()
        return self.answers.get(domain, DnsAnswer(Outcome.FAILED))


def book(resolver: Resolver, now: list[float]) -> MxBook:
    return MxBook(resolver, lambda: now[0])  # type: ignore[arg-type]


def test_the_preferred_host_is_kept_for_as_long_as_its_records_say() -> None:
    async def run() -> None:
        resolver, now = Resolver(), [0.0]
        known = book(resolver, now)
        assert [await known.host_of("a.example") for _ in range(3)] == ["mx1.a.example"] * 3
        assert resolver.asked == {"a.example": 1}
        now[0] = 600.0
        assert await known.host_of("a.example:587") == "mx1.a.example"
        assert resolver.asked == {"a.example": 2}

    asyncio.run(run())


def test_what_names_a_host_is_not_looked_up() -> None:
    async def run() -> None:
        resolver = Resolver()
        known = book(resolver, [0.0])
        assert await known.host_of("[relay.example]:587") == "relay.example"
        assert await known.host_of("[192.0.2.1]") == "192.0.2.1"
        assert await known.host_of("[2001:DB8::1]:25") == "2001:db8::1"
        assert await known.host_of("no next-hop") is None
        assert not resolver.asked

    asyncio.run(run())


def test_a_failure_is_not_known_and_is_asked_for_again_later() -> None:
    async def run() -> None:
        resolver, now = Resolver(), [0.0]
        known = book(resolver, now)
        assert [await known.host_of("b.example") for _ in range(2)] == [None, None]
        assert resolver.asked["b.example"] == 1
        resolver.answers["b.example"] = FOUND
        now[0] = providers.LEAST_S
        assert await known.host_of("b.example") == "mx1.a.example"

    asyncio.run(run())


def test_many_wait_for_one_answer_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "WAIT_S", 0.01)

    async def run() -> None:
        resolver = Resolver()
        resolver.answering.clear()
        known = book(resolver, [0.0])
        assert await asyncio.gather(*(known.host_of("a.example") for _ in range(5))) == [None] * 5
        assert resolver.asked == {"a.example": 1}

    asyncio.run(run())


def test_the_number_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MAX_KNOWN", 2)

    async def run() -> None:
        resolver = Resolver()
        known = book(resolver, [0.0])
        for name in ("a.example", "b.example", "c.example", "c.example", "a.example"):
            await known.host_of(name)
        assert resolver.asked == {"a.example": 2, "b.example": 1, "c.example": 1}

    asyncio.run(run())
