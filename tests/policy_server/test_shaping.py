"""Deliveries of slowed pairs: who goes, who waits, who comes again, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gatepost.modes import Feature, Mode, Modes
from gatepost.traffic.shaping import Group, ShapingRules, Slowed, by_hand
from gatepost.wire.socketmap import NotFound, Ok, Reply, Request, Temp
from policy_server.shaping import ShapingCheck
from tests.world import NOW

SLOWED = by_hand(("bulk", "mail.example"), 0.0, 600, "ticket 4711", "root", NOW)
RULES = ShapingRules(True, (), (Group("big", (), frozenset({"own.example"})),))


class Pairs:
    """Pairs that are slowed, as a test says."""

    def __init__(self) -> None:
        self.rates: dict[tuple[str, str], float] = {}

    def is_slowed(self, lane: str) -> bool:
        return any(lane == each for each, _ in self.rates)

    def rate_of(self, lane: str, provider: str) -> tuple[Slowed, float] | None:
        rate = self.rates.get((lane, provider))
        return None if rate is None else (SLOWED, rate)


class Hosts:
    """Next-hops whose mail server is known."""

    async def host_of(self, key: str) -> str | None:
        assert not key.startswith("."), "a parent is no next-hop"
        return {"a.example": "mx.mail.example", "b.example": "mx.other.example"}.get(key)


class Steps:
    """A steady clock that stands still, and what was counted."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.counts: Counter[str] = Counter()

    def count(self, result: str) -> None:
        self.counts[result] += 1


@pytest.fixture
def pairs() -> Pairs:
    return Pairs()


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def handlers(world: Any, pairs: Pairs, steps: Steps) -> Iterator[Any]:
    world.snapshot = replace(world.snapshot, shaping=RULES)
    made = world.handlers
    with asyncio.Runner() as runner:
        made.shaping = ShapingCheck(
            pairs,
            Hosts(),
            world.seen,
            steps.count,
            clock=lambda: NOW,
            steady=lambda: steps.now,
        )
        made.run = runner.run
        yield made


async def answer(handlers: Any, key: str, name: str = "tls-standard@bulk") -> Reply:
    reply = handlers.lookup(Request(name, key))
    return reply if isinstance(reply, NotFound | Ok | Temp) else await reply


def ask(handlers: Any, key: str, name: str = "tls-standard@bulk") -> Reply:
    return handlers.run(answer(handlers, key, name))


def test_only_the_pair_is_held_back(handlers: Any, pairs: Pairs, steps: Steps, world: Any) -> None:
    pairs.rates["bulk", "mail.example"] = 0.0
    assert ask(handlers, "a.example") == Temp(
        "lane bulk to mail.example is suspended and free again at 2027-01-15 08:10:00 UTC, "
        "see gatepost shaping list"
    )
    assert ask(handlers, "b.example") == NotFound()
    # Nobody knows where it leads to.
    assert ask(handlers, "c.example") == NotFound()
    # Another lane, a service that does not tell its lane, the operator's own service.
    for name in ("tls-standard@fast", "tls-standard", "tls"):
        assert ask(handlers, "a.example", name) == NotFound()
    # Postfix asks for parents of a name that has no rule.
    assert ask(handlers, ".example") == NotFound()
    assert steps.counts == {"deferred": 1}
    assert world.seen.counts["tls-standard", "temp"] == 1
    assert world.seen.counts["tls-standard", "notfound"] == 5


def test_a_domain_may_belong_to_a_provider_by_name(handlers: Any, pairs: Pairs) -> None:
    pairs.rates["bulk", "big"] = 0.0
    assert isinstance(ask(handlers, "own.example"), Temp)


def test_what_may_go_gets_the_answer_that_it_would_have_got(handlers: Any, pairs: Pairs) -> None:
    pairs.rates["bulk", "mail.example"] = 60.0
    assert ask(handlers, "a.example", "tls-private@bulk") == Ok("encrypt")


def test_a_few_wait_for_their_turn(handlers: Any, pairs: Pairs, steps: Steps) -> None:
    # One each 10 ms.
    pairs.rates["bulk", "mail.example"] = 6_000.0

    async def many() -> list[Reply]:
        return await asyncio.gather(*(answer(handlers, "a.example") for _ in range(15)))

    replies = handlers.run(many())
    assert replies.count(NotFound()) == 11
    assert sum(isinstance(reply, Temp) for reply in replies) == 4
    assert steps.counts == {"passed": 1, "waited": 10, "deferred": 4}
    # Whose turn it was waits no more.
    steps.now += 1
    assert handlers.run(many()).count(NotFound()) == 12


def test_who_waits_comes_again_when_gatepost_stops(handlers: Any, pairs: Pairs) -> None:
    pairs.rates["bulk", "mail.example"] = 2.0

    async def stopped() -> list[Reply]:
        waiting = [asyncio.ensure_future(answer(handlers, "a.example")) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        handlers.shaping.stop()
        return await asyncio.gather(*waiting)

    replies = handlers.run(stopped())
    assert Temp("lane bulk to mail.example is slowed, and Gatepost stops") in replies


def test_observed_nothing_waits_and_what_would_have_is_recorded(
    handlers: Any, pairs: Pairs, steps: Steps, world: Any
) -> None:
    modes = replace(world.snapshot.modes, lane=Mode.OBSERVE)
    world.snapshot = replace(world.snapshot, modes=modes)
    pairs.rates["bulk", "mail.example"] = 2.0
    assert [ask(handlers, "a.example") for _ in range(6)] == [NotFound()] * 6
    assert steps.counts == {"passed": 3, "observed": 3}
    seen = world.seen.observations[0]
    assert (seen.feature, seen.action, seen.recipient) == (Feature.LANE, "defer", "@a.example")
    assert seen.detail.startswith("lane bulk to mail.example is slowed to 2/minute")
    assert "ticket 4711" in seen.detail


def test_off_nothing_is_asked(handlers: Any, pairs: Pairs, steps: Steps, world: Any) -> None:
    world.snapshot = replace(world.snapshot, modes=Modes(*[Mode.OFF] * 8))
    pairs.rates["bulk", "mail.example"] = 0.0
    assert ask(handlers, "a.example") == NotFound()
    assert not steps.counts


def test_the_log_tells_of_a_pair_once_a_minute(
    handlers: Any, pairs: Pairs, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    pairs.rates["bulk", "mail.example"] = 0.0
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            ask(handlers, "a.example")
        steps.now += 60
        ask(handlers, "a.example")
    assert caplog.messages == [
        "slowed lane=bulk provider=mail.example rate=suspended "
        f'until="2027-01-15 08:10:00 UTC" deferred={count} why="ticket 4711"'
        for count in (1, 5)
    ]
