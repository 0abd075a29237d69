"""Sights in memory: one look for all, and no mail that waits for a store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime.tls.sight_book import SightBook
from gatepost.store.sights import SqliteSights
from gatepost.tls.levels import Level
from gatepost.tls.reachability import NO_SIGHTS, HostSight, Sights

T = 1_800_000_000.0
SEEN = Sights((HostSight("mx.example", Level.NONE, None, T),))


class Store:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.looked: list[str] = []
        self.broken = False

    def look(self, domain: str, now: float) -> Sights:
        assert now >= T
        self.looked.append(domain)
        self.gate.wait(10)
        if self.broken:
            raise StoreUnavailable("disk I/O error")
        return SEEN

    def close(self) -> None:
        pass


class Scene:
    def __init__(self, look_s: float = 5.0) -> None:
        self.now = T
        self.store = Store()
        self.book = SightBook(lambda: self.store, clock=lambda: self.now, look_s=look_s)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))  # type: ignore[arg-type]


def test_one_look_serves_everybody_for_five_minutes() -> None:
    async def scenario() -> None:
        scene = Scene()
        assert scene.book.known("d.example") is None
        found = await asyncio.gather(*(scene.book.look("d.example") for _ in range(20)))
        assert found == [SEEN] * 20
        scene.now += 299
        assert scene.book.known("d.example") is SEEN
        scene.now += 1
        assert scene.book.known("d.example") is None
        assert scene.store.looked == ["d.example"]
        scene.book.close()

    play(scenario)


def test_a_store_that_does_not_answer_holds_up_nobody() -> None:
    async def scenario() -> None:
        scene = Scene(look_s=0.01)
        scene.store.gate.clear()
        assert await scene.book.look("d.example") is NO_SIGHTS
        assert scene.book.known("d.example") is NO_SIGHTS
        scene.store.gate.set()
        scene.now += 30
        while scene.book._looks:  # noqa: ASYNC110 the end of a look is told to those who wait
            await asyncio.sleep(0)
        assert scene.book.known("d.example") is SEEN
        scene.book.close()

    play(scenario)


def test_a_store_that_is_broken_means_that_nothing_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.store.broken = True
        assert await scene.book.look("a.example") is NO_SIGHTS
        assert await scene.book.look("b.example") is NO_SIGHTS
        scene.store.broken = False
        scene.now += 30
        assert await scene.book.look("a.example") is SEEN
        scene.book.close()

    with caplog.at_level(logging.WARNING):
        play(scenario)
    assert caplog.messages == ['store-unavailable reason="disk I/O error"']


def test_the_number_of_domains_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.runtime.tls.sight_book.MAX_DOMAINS", 2)

    async def scenario() -> None:
        scene = Scene()
        for name in "abc":
            await scene.book.look(f"{name}.example")
        assert scene.book.known("a.example") is None
        assert scene.book.known("c.example") is SEEN
        scene.book.close()

    play(scenario)


def test_an_empty_store_has_seen_nothing(tmp_path: Path) -> None:
    with contextlib.closing(SqliteSights(tmp_path / "gatepost.db")) as store:
        check_deliveries(store)


def check_deliveries(store: SqliteSights) -> None:
    # The object itself: the handlers pass over the decision where they see it.
    assert store.look("d.example", T) is NO_SIGHTS
    with store._writing() as db:
        db.conn.executemany(
            "insert into delivery_relays (day, domain, relay, tls, version, deliveries, sessions, "
            "first_at, last_at) values (?, ?, 'mx', ?, '', 1, 1, ?, ?)",
            [
                (int(T // 86_400), "d.example", "plaintext", T - 9, T - 5),
                (int(T // 86_400) - 1, "d.example", "encrypted", T - 86_400, T - 86_400),
                (int(T // 86_400) - 9, "d.example", "authenticated", T - 9e5, T),
                (int(T // 86_400), "e.example", "authenticated", T, T),
            ],
        )
    assert store.look("d.example", T) == Sights((), T - 86_400, T - 5)
