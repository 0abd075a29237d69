"""Shared counters in the process that answers mail: what is told, and what a restart knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatepost.runtime.metrics import Metrics
from gatepost.runtime.overview import _attention_to
from gatepost.runtime.traffic import fleet_counters
from gatepost.runtime.traffic.known_quotas import known_quotas
from gatepost.runtime.traffic.quotas import QuotaDesk
from gatepost.settings.model import Settings
from gatepost.store.open import open_quotas
from gatepost.traffic import valkey_calls, valkey_link
from gatepost.traffic.counters import Amount, Holder
from gatepost.traffic.quota import Claim, Limit
from gatepost.traffic.valkey import ValkeyCounters
from gatepost.traffic.valkey_target import Target
from tests.traffic.valkey_servers import PATIENCE_S, server

QUOTA = (Claim("tenant acme", Limit(9, 3_600)),)


@pytest.fixture
def local(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_calls, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(valkey_calls, "LAST_WAIT_S", 0.02)
    monkeypatch.setattr(valkey_link, "TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(fleet_counters, "PATIENCE_S", PATIENCE_S)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def desk(local: str, target: Target, metrics: Metrics | None = None) -> QuotaDesk:
    made = QuotaDesk(
        lambda: open_quotas(local),
        metrics or Metrics("policy"),
        target=replace(target, node="mx1", nodes=3, shown="valkey+unix:///s"),
    )
    made.start()
    await made.join()
    return made


async def take(made: QuotaDesk, number: int) -> bool:
    who = Holder(f"s{number}", f"m{number}")
    answer = made.counters.commit(who, QUOTA, Amount(1, 1), made.clock())
    return (await answer if isinstance(answer, Awaitable) else answer) is None


async def settled(counters: ValkeyCounters) -> None:
    """Wait until Valkey knows what this node knows."""
    for _ in range(2_000):
        if counters.calls.shared and not counters.calls.unsent:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come back")


def value(metrics: Metrics, name: str) -> float:
    return next(s[2] for f in metrics.families() if f[0] == name for s in f[3])


def test_it_says_once_that_it_is_alone_and_once_that_it_is_not(
    local: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    metrics = Metrics("policy")

    async def work() -> None:
        with server() as valkey:
            made = await desk(local, valkey.target, metrics)
            counters = made.counters
            assert isinstance(counters, ValkeyCounters)
            assert await take(made, 1)
            fleet = made.status()["fleet"]
            assert fleet == {
                "url": "valkey+unix:///s",
                "node": "mx1",
                "shared": True,
                "nodes": 1,
                "unsent": 0,
            }
            assert not list(_attention_to({"quota": made.status()}))
            valkey.kill()
            for number in range(2, 9):
                await take(made, number)
            status = made.status()
            assert status["fleet"]["share"] == "1/3"
            (attention,) = _attention_to({"quota": status})
            assert attention.startswith("quotas are counted by this node alone, with 1/3 of each: ")
            assert value(metrics, "gatepost_counters_shared") == 0
            assert value(metrics, "gatepost_counters_unsent") == 1
            assert value(metrics, "gatepost_counters_decided_alone") == 7
            await asyncio.sleep(0.1)
            valkey.start()
            await settled(counters)
            await made.stop()

    run(work())
    words = [record.getMessage() for record in caplog.records]
    assert [word.split(" ")[0] for word in words if word.startswith("counters-")] == [
        "counters-shared",
        "counters-alone",
        "counters-shared",
    ]
    (alone,) = [word for word in words if word.startswith("counters-alone")]
    assert "share=1/3" in alone
    assert metrics.counts()["errors"] == {"counters": 1}


def test_a_restart_goes_on_where_it_was(local: str) -> None:
    async def work() -> None:
        with server() as valkey:
            made = await desk(local, valkey.target)
            assert await take(made, 1)
            valkey.kill()
            # Nine less the one that it knows of, for three.
            assert [await take(made, number) for number in range(2, 8)].count(True) == 3
            await made.stop()
            made = await desk(local, valkey.target)
            counters = made.counters
            assert isinstance(counters, ValkeyCounters)
            assert counters.calls.unsent == 1
            assert [await take(made, number) for number in range(9, 12)] == [False] * 3
            valkey.start()
            await settled(counters)
            (usage,) = await counters.usage(QUOTA, made.clock())
            # Valkey came back empty and has all of it again.
            assert usage.used == 4
            await made.stop()
            made = await desk(local, valkey.target)
            assert isinstance(made.counters, ValkeyCounters)
            (usage,) = await made.counters.usage(QUOTA, made.clock())
            assert usage.used == 4
            await made.stop()

    run(work())


def test_commands_ask_what_is_shared_and_else_show_their_own(local: str) -> None:
    with server() as valkey:

        async def work(number: int) -> None:
            made = await desk(local, valkey.target)
            assert await take(made, number)
            await made.stop()

        run(work(1))
        elsewhere = local.replace("gatepost.db", "other.db")
        settings = Settings(Path("x"), state=elsewhere, counters=valkey.target)
        known = known_quotas(settings)
        assert known.names == {"tenant acme"}
        assert [usage.used for usage in known.usage(QUOTA)] == [1]
        assert known.problems == []
        valkey.kill()
        run(work(2))
        known = known_quotas(replace(settings, state=local))
        assert [usage.used for usage in known.usage(QUOTA)] == [2]
        (problem,) = known.problems
        assert problem.startswith("shown is what this node has counted: ")
