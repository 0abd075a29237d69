"""The counters in their process: loaded, written behind, and a clock that never steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.traffic import quotas as module
from gatepost.runtime.traffic.quotas import QuotaDesk
from gatepost.runtime.traffic.steady_clock import Sources, SteadyClock, system_sources
from gatepost.store.quotas import ClockMark
from gatepost.traffic.counters import Amount, Holder, Row
from gatepost.traffic.quota import Claim, Limit

NOW = 1_800_000_000.0
HOUR = [Claim("tenant acme", Limit(2, 3_600))]


@dataclass
class Host:
    """A host whose clocks can be set."""

    boot: str = "b1"
    since_boot: float = 100.0
    wall: float = NOW

    def sources(self) -> Sources:
        return Sources(self.boot, lambda: self.since_boot, lambda: self.wall)

    def passes(self, seconds: float, *, wall: float | None = None) -> None:
        self.since_boot += seconds
        self.wall += seconds if wall is None else wall


@dataclass
class Disk:
    """A store that can fail."""

    mark: ClockMark | None = None
    rows: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    broken: bool = False
    pruned: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    written: asyncio.Event | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("disk full")

    def load(self) -> tuple[ClockMark | None, list[Row]]:
        self._check()
        return self.mark, list(self.rows.values())

    def write(self, mark: ClockMark, rows: Sequence[Row]) -> None:
        self._check()
        self.mark = mark
        self.rows |= {row.key: row for row in rows}
        if self.loop is not None and self.written is not None and rows:
            self.loop.call_soon_threadsafe(self.written.set)

    def refuse(self, queue_ids: Sequence[str], _wall: float) -> None:
        self.refusals += queue_ids

    def refused(self, after: int) -> list[tuple[int, str]]:
        self._check()
        return list(enumerate(self.refusals, 1))[after:]

    def last_refused(self) -> int:
        return len(self.refusals)

    def prune(self, at: float, _wall: float) -> int:
        self.pruned.append(at)
        return 0

    def close(self) -> None:
        pass


def desk(disk: Disk, host: Host, metrics: Metrics | None = None) -> QuotaDesk:
    return QuotaDesk(lambda: disk, metrics or Metrics("policy"), host.sources())


def take(made: QuotaDesk, number: int) -> bool:
    who = Holder(f"s{number}", f"m{number}")
    return made.counters.commit(who, HOUR, Amount(1, 1), made.clock()) is None


def test_it_writes_by_itself_and_in_time() -> None:
    async def run() -> None:
        disk = Disk(written=asyncio.Event(), loop=asyncio.get_running_loop())
        made = desk(disk, Host())
        made.start()
        assert take(made, 1)
        assert made.status() == {"counters": 1, "reservations": 0, "unwritten": 1, "loaded": True}
        assert disk.written is not None
        # A process that is killed from here on has lost nothing.
        await asyncio.wait_for(disk.written.wait(), 30)
        assert next(iter(disk.rows.values())).counts[0][1] == 1
        again = desk(disk, Host())
        assert take(again, 2)
        assert not take(again, 3)
        await made.stop()
        await again.stop()

    assert module.WRITE_S <= 0.5
    asyncio.run(run())


def test_a_stop_writes_what_is_left() -> None:
    disk, host = Disk(), Host()

    async def one(number: int) -> bool:
        made = desk(disk, host)
        made.start()
        taken = take(made, number)
        await made.stop()
        return taken

    assert [asyncio.run(one(number)) for number in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_clock_that_steps_neither_opens_nor_shuts(step: float, *, restarts: bool) -> None:
    disk, host = Disk(), Host()

    async def run() -> None:
        made = desk(disk, host)
        assert take(made, 1)
        assert take(made, 2)
        host.passes(60, wall=60 + step)
        if restarts:
            await made.stop()
            made = desk(disk, host)
        assert not take(made, 3)
        host.passes(3_600 + 121)
        assert take(made, 4)
        await made.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("away", "opens"), [(60.0, False), (3_800.0, True), (-86_400.0, False)])
def test_after_another_boot_it_goes_on_by_the_wall_clock(away: float, *, opens: bool) -> None:
    disk, host = Disk(), Host()

    async def run() -> None:
        made = desk(disk, host)
        take(made, 1)
        take(made, 2)
        await made.stop()
        host.boot, host.since_boot, host.wall = "b2", 5.0, host.wall + away
        made = desk(disk, host)
        assert take(made, 3) == opens
        host.passes(3_600 + 121)
        assert take(made, 4)
        await made.stop()

    asyncio.run(run())


def test_without_a_name_of_the_boot_the_wall_clock_is_believed() -> None:
    host = Host(boot="")
    clock = SteadyClock(host.sources())
    clock.resume(ClockMark("", 50.0, NOW - 500, NOW - 10))
    assert clock() == NOW - 490
    clock.resume(None)
    assert clock() == NOW - 490


def test_the_clocks_of_this_host() -> None:
    clock = SteadyClock(system_sources())
    first = clock()
    mark = clock.mark()
    assert first <= mark.at <= clock()
    again = SteadyClock(system_sources())
    again.resume(mark)
    assert again() >= mark.at


def test_while_the_store_fails_counters_go_on_and_are_written_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk, host, metrics = Disk(), Host(), Metrics("policy")

    async def run() -> None:
        made = desk(disk, host, metrics)
        disk.broken = True
        assert take(made, 1)
        for _ in range(3):
            await made._write()
        assert made.status()["unwritten"] == 1
        assert not disk.rows
        disk.broken = False
        await made._write()
        assert made.status()["unwritten"] == 0
        assert disk.rows
        await made.stop()

    asyncio.run(run())
    words = [record.getMessage().split(" ")[0] for record in caplog.records]
    assert words.count("quota-not-written") == 1
    assert metrics.counts()["errors"] == {"store": 1}


def test_a_store_that_cannot_be_read_at_the_start_is_read_when_it_is_back() -> None:
    disk, host = Disk(), Host()

    async def run() -> None:
        made = desk(disk, host)
        take(made, 1)
        await made.stop()
        disk.broken = True
        made = desk(disk, host)
        assert made.status()["loaded"] is False
        assert take(made, 2)
        await made._write()
        disk.broken = False
        await made._write()
        assert made.status()["loaded"] is True
        assert not take(made, 3)
        await made._write()
        assert next(iter(disk.rows.values())).counts[0][1] == 2
        await made.stop()

    asyncio.run(run())


@pytest.mark.parametrize("step", [-9_000.0, 0.0, 9_000.0])
def test_what_is_read_late_counts_by_the_clock_of_now(step: float) -> None:
    disk, host = Disk(), Host()

    async def run() -> None:
        made = desk(disk, host)
        take(made, 1)
        await made.stop()
        host.passes(600, wall=600 + step)
        disk.broken = True
        made = desk(disk, host)
        assert take(made, 2)
        disk.broken = False
        await made._write()
        assert not take(made, 3)
        # The first one leaves when it would have left, or a step later.
        host.passes(3_000 - 121)
        assert not take(made, 4)
        host.passes(121 + 242)
        assert take(made, 5)
        await made.stop()

    asyncio.run(run())


def test_each_message_that_others_refused_is_told_once() -> None:
    disk, told = Disk(refusals=["4A"]), []

    async def run() -> None:
        made = desk(disk, Host())
        made.on_refused = told.append
        await made._write()
        disk.refuse(["4B", "4C"], NOW)
        for _ in range(2):
            await made._write()
        await made.stop()

    asyncio.run(run())
    assert told == ["4B", "4C"]


def test_what_counts_nothing_is_deleted_now_and_then() -> None:
    disk, host = Disk(), Host()

    async def run() -> None:
        made = desk(disk, host)
        await made._write()
        await made._write()
        host.passes(61)
        await made._write()
        await made.stop()

    asyncio.run(run())
    assert len(disk.pruned) == 2


def test_a_burst_is_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 10)
    disk = Disk()

    async def run() -> None:
        made = desk(disk, Host())
        for number in range(25):
            claims = [Claim(f"tenant t{number}", HOUR[0].limit)]
            made.counters.commit(Holder("s", f"m{number}"), claims, Amount(1, 1), made.clock())
        sizes = []
        for _ in range(3):
            await made._write()
            sizes.append(len(disk.rows))
        assert sizes == [10, 20, 25]
        for number in range(25):
            claims = [Claim(f"tenant u{number}", HOUR[0].limit)]
            made.counters.commit(Holder("s", f"n{number}"), claims, Amount(1, 1), made.clock())
        await made.stop()
        assert len(disk.rows) == 50

    asyncio.run(run())


def test_a_bug_is_counted_and_the_task_lives(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("policy")
    calls = []

    async def run(patch: Callable[[], None]) -> None:
        made = desk(Disk(), Host(), metrics)
        twice = asyncio.Event()

        def tidy(_: float) -> None:
            calls.append(1)
            if len(calls) == 2:
                twice.set()
            raise ValueError("bug")

        made.counters.tidy = tidy  # type: ignore[method-assign]
        patch()
        made.start()
        await asyncio.wait_for(twice.wait(), 30)
        await made.stop()

    with pytest.MonkeyPatch.context() as patching:
        asyncio.run(run(lambda: patching.setattr(module, "WRITE_S", 0.01)))
    assert len(calls) >= 2
    assert "quota-failed" in caplog.text
    assert metrics.counts()["errors"]["quota"] >= 1


def test_metrics_name_so_many_tenants_and_no_more() -> None:
    metrics = Metrics("policy", max_tenants=2)

    async def run() -> None:
        made = desk(Disk(), Host(), metrics)
        for number in range(5):
            made.count("over", f"t{number}")
            made.count("room", f"t{number}")
        await made.stop()

    asyncio.run(run())
    (family,) = [each for each in metrics.families() if each[0] == "gatepost_quota_over"]
    counted = {labels["tenant"]: value for _, labels, value in family[3]}
    assert counted == {"t0": 1, "t1": 1, "_other": 3}
    assert metrics.counts()["quota_checks"] == {"over": 5, "room": 5}
