"""MTA-STS policies over time, with a fetcher that does as the test says and a clock by hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime.tls.sts_policies import StsPolicies
from gatepost.store.mta_sts import SqliteSts, StsStore
from gatepost.tls.mtasts.entry import Failure, StsEntry
from gatepost.tls.mtasts.fetching import FetchError
from gatepost.tls.mtasts.policy import StsMode, StsPolicy
from gatepost.tls.mtasts.record import NOTHING, Announcement

T = 1_800_000_000.0
DAY = 86_400
ONE = StsPolicy(StsMode.ENFORCE, 7 * DAY, ("mx1.example",))
TWO = StsPolicy(StsMode.ENFORCE, 7 * DAY, ("mx2.example",))
REFUSED = FetchError(Failure.FETCH, "connection refused")


class Domains:
    """Stands for policy hosts: gives each domain the policy or the error of the moment."""

    def __init__(self) -> None:
        self.says: dict[str, StsPolicy | FetchError] = {}
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, domain: str) -> StsPolicy:
        self.fetched.append(domain)
        await self.gate.wait()
        said = self.says[domain]
        if isinstance(said, FetchError):
            raise said
        return said


_SCENES: list[Scene] = []


class Scene:
    def __init__(self, store: Callable[[], StsStore] | None = None, wait_s: float = 10) -> None:
        self.now = T
        self.domains = Domains()
        self.results: list[str] = []
        self.policies = StsPolicies(
            self.domains,  # type: ignore[arg-type]
            store,
            clock=lambda: self.now,
            count=self.results.append,
            wait_s=wait_s,
        )
        _SCENES.append(self)

    async def ask(self, announced: str, domain: str = "d.example") -> StsPolicy | None:
        entry = await self.policies.wanted(domain, Announcement(announced))
        return None if entry is None else entry.live(self.now)

    def turn(self) -> None:
        self.policies.refresh()
        self.policies.step()

    async def settle(self) -> None:
        while self.policies._fetches:  # noqa: ASYNC110 the end of a fetch is told to those who wait
            await asyncio.sleep(0)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def played() -> None:
        try:
            await scenario()
        finally:
            while _SCENES:
                await _SCENES.pop().policies.close()

    asyncio.run(asyncio.wait_for(played(), 20))


def stored(path: Path) -> list[StsEntry]:
    with contextlib.closing(SqliteSts(path)) as store:
        return store.load()


def test_a_policy_is_fetched_once_and_kept() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.domains.says["d.example"] = ONE
        assert await scene.ask("") is None
        assert scene.domains.fetched == [], "nothing is announced"
        assert await scene.ask("a") == ONE
        assert await scene.ask("a") == ONE
        # §3.1: a record that is gone does not end it.
        assert await scene.ask("") == ONE
        assert scene.domains.fetched == ["d.example"]
        assert scene.results == ["ok"]

    play(scenario)


def test_a_hundred_deliveries_wait_for_one_fetch() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.domains.says["d.example"] = ONE
        scene.domains.gate.clear()
        asked = [asyncio.ensure_future(scene.ask("a")) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        scene.domains.gate.set()
        assert await asyncio.gather(*asked) == [ONE] * 100
        assert scene.domains.fetched == ["d.example"]

    play(scenario)


def test_a_delivery_does_not_wait_for_ever_and_the_next_has_the_policy() -> None:
    async def scenario() -> None:
        scene = Scene(wait_s=0.01)
        scene.domains.says["d.example"] = ONE
        scene.domains.gate.clear()
        # §3.3: without a policy and without a cached one, as without MTA-STS.
        assert await scene.ask("a") is None
        scene.domains.gate.set()
        await scene.settle()
        assert await scene.ask("a") == ONE
        assert len(scene.domains.fetched) == 1

    play(scenario)


def test_section_5_1_a_new_id_brings_the_new_policy_before_the_answer() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.domains.says["d.example"] = ONE
        await scene.ask("a")
        scene.domains.says["d.example"] = TWO
        assert await scene.ask("a") == ONE
        assert await scene.ask("b") == TWO

    play(scenario)


def test_a_failed_fetch_rests_for_five_minutes_and_the_old_policy_holds() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.domains.says["d.example"] = ONE
        await scene.ask("a")
        scene.domains.says["d.example"] = REFUSED
        assert await scene.ask("b") == ONE
        scene.now += 299
        assert await scene.ask("b") == ONE
        assert len(scene.domains.fetched) == 2
        scene.now += 1
        assert await scene.ask("b") == ONE
        assert len(scene.domains.fetched) == 3
        assert scene.results == ["ok", "sts-policy-fetch-error", "sts-policy-fetch-error"]

    play(scenario)


def test_a_refresh_a_day_beside_all_deliveries(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.domains.says["d.example"] = ONE
        await scene.ask("a")
        scene.now += DAY - 1
        scene.turn()
        assert len(scene.domains.fetched) == 1
        scene.now += 1
        scene.domains.gate.clear()
        scene.turn()
        assert await scene.ask("a") == ONE, "nobody waits for a refresh"
        scene.domains.says["d.example"] = TWO
        scene.domains.gate.set()
        await scene.settle()
        assert await scene.ask("a") == TWO
        entry = scene.policies.entry("d.example")
        assert entry is not None
        assert (entry.fetched_at, entry.policy_id) == (scene.now, "a")

    with caplog.at_level(logging.INFO):
        play(scenario)
    assert [line.split()[0] for line in caplog.messages] == ["sts-policy", "sts-policy"]


def test_refreshes_leave_places_for_new_domains() -> None:
    async def scenario() -> None:
        scene = Scene()
        names = [f"d{n}.example" for n in range(40)]
        for name in names:
            scene.domains.says[name] = ONE
            await scene.ask("a", name)
        scene.now += DAY
        scene.domains.fetched.clear()
        scene.domains.gate.clear()
        scene.turn()
        await asyncio.sleep(0)
        assert len(scene.domains.fetched) == 16
        scene.policies.step()
        await asyncio.sleep(0)
        assert len(scene.domains.fetched) == 16
        scene.domains.gate.set()
        await scene.settle()
        scene.policies.step()
        await scene.settle()
        scene.policies.step()
        await scene.settle()
        assert sorted(scene.domains.fetched) == sorted(names)

    play(scenario)


def test_where_a_policy_holds_a_new_one_is_worth_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gatepost.runtime.tls.sts_policies.LIVE_WAIT_S", 0.01)

    async def scenario() -> None:
        scene = Scene(wait_s=100)
        scene.domains.says["d.example"] = ONE
        await scene.ask("a")
        changed: list[str] = []
        scene.policies.on_change = changed.append
        scene.domains.gate.clear()
        scene.domains.says["d.example"] = TWO
        assert await scene.ask("b") == ONE
        assert scene.policies.fetches("d.example")
        scene.domains.gate.set()
        await scene.settle()
        assert changed == ["d.example"]
        assert await scene.ask("b") == TWO

    play(scenario)


def test_section_10_2_refreshes_that_fail_again_and_again_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.domains.says["d.example"] = ONE
        await scene.ask("a")
        scene.domains.says["d.example"] = REFUSED
        scene.now += DAY
        for _ in range(3):
            scene.turn()
            await scene.settle()
            scene.now += 300
        assert await scene.ask("") == ONE

    with caplog.at_level(logging.INFO):
        play(scenario)
    failed = [r for r in caplog.records if r.getMessage().startswith("sts-fetch-failed")]
    assert [r.levelname for r in failed] == ["INFO", "INFO", "WARNING"]
    assert 'failures=3 policy_holds=yes cause="connection refused"' in failed[-1].getMessage()


def test_what_holds_no_longer_is_forgotten(tmp_path: Path) -> None:
    url = tmp_path / "gatepost.db"

    async def scenario() -> None:
        scene = Scene(lambda: SqliteSts(url))
        scene.domains.says["d.example"] = ONE
        await scene.ask("a")
        await scene.policies.write()
        assert [entry.domain for entry in stored(url)] == ["d.example"]
        scene.now += 7 * DAY
        scene.policies.refresh()
        await scene.policies.write()
        assert (len(scene.policies), stored(url)) == (0, [])

    play(scenario)


def test_a_restart_forgets_no_policy(tmp_path: Path) -> None:
    def open_store() -> StsStore:
        return SqliteSts(tmp_path / "gatepost.db")

    async def scenario() -> None:
        first = Scene(open_store)
        first.domains.says["d.example"] = ONE
        await first.ask("a")
        first.domains.says["bad.example"] = FetchError(Failure.WEBPKI, "expired \udcff")
        await first.ask("a", "bad.example")
        running = asyncio.ensure_future(first.policies.run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        second = Scene(open_store)
        await second.policies.load()
        assert second.policies.entry("d.example") == StsEntry("d.example", ONE, "a", T)
        # The host may be gone: the policy holds.
        assert await second.ask("a") == ONE
        assert await second.ask("a", "bad.example") is None
        assert second.domains.fetched == [], "five minutes outlast a restart"

    play(scenario)


def test_without_a_store_nothing_is_lost_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def open_store() -> StsStore:
        if broken:
            raise StoreUnavailable("disk I/O error")
        return SqliteSts(tmp_path / "gatepost.db")

    async def scenario() -> None:
        nonlocal broken
        scene = Scene(open_store)
        await scene.policies.load()
        scene.domains.says["d.example"] = ONE
        assert await scene.ask("a") == ONE
        await scene.policies.write()
        await scene.policies.write()
        broken = False
        await scene.policies.write()
        assert [entry.policy for entry in stored(tmp_path / "gatepost.db")] == [ONE]

    with caplog.at_level(logging.WARNING):
        play(scenario)
    assert caplog.messages == ['store-unavailable reason="disk I/O error"']


def test_a_row_that_was_tampered_with_is_left_out(tmp_path: Path) -> None:
    with contextlib.closing(SqliteSts(tmp_path / "gatepost.db")) as store:
        check_tampering(store)


def check_tampering(store: StsStore) -> None:
    store.save([StsEntry("a.example", ONE, "a", T), StsEntry("b.example", ONE, "b", T)])
    with store._writing() as db:
        db.execute("update mta_sts set policy = 'mode: enforce' where domain = 'a.example'")
    assert [entry.domain for entry in store.load()] == ["b.example"]


def test_the_number_of_domains_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.runtime.tls.sts_policies.MAX_DOMAINS", 2)

    async def scenario() -> None:
        scene = Scene()
        for name in "abc":
            scene.domains.says[f"{name}.example"] = ONE
            await scene.ask("a", f"{name}.example")
        assert len(scene.policies) == 2
        assert scene.policies.entry("a.example") is None

    play(scenario)


def test_nothing_announced_is_no_entry() -> None:
    async def scenario() -> None:
        scene: Any = Scene()
        assert await scene.policies.wanted("d.example", NOTHING) is None

    play(scenario)
