"""The scheduler: bounded, paced, resumable, and always with the intent written first."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.errors import GatepostError, StoreUnavailable
from gatepost.runtime.tls import survey as module
from gatepost.runtime.tls.survey import Options, Progress, Survey
from gatepost.runtime.tls.survey_names import Found
from gatepost.store.open import open_as, open_survey
from gatepost.store.sqlite_survey import SqliteSurvey
from gatepost.store.survey import SurveyStore
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.nexthop import NextHop
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, ResolvedDomain, ResolvedHost
from gatepost.tls.survey.model import Probed, Target, Verdict
from gatepost.tls.survey.pacing import Pace
from lab.process import wait_until

NOW = 1_800_000_000.0
AT_ONCE = Pace(0, 0)


class World:
    """Servers that answer as told, names that lead to them, and a clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = NOW
        self.asked: list[str] = []
        self.probed: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.unwelcome: set[str] = set()
        self.lookups: list[str] = []
        self.behaviour: Callable[[Target], Verdict] = lambda _: Verdict.TLS
        self.hold: asyncio.Event | None = None
        self.crowded = asyncio.Event()

    async def find(self, name: NextHop) -> Found:
        self.lookups.append(name.domain)
        number = int(name.domain.split(".")[0].removeprefix("d"))
        host, address = f"mx{number}.example", f"10.{number >> 8}.{number & 255}.1"
        key = f"[{name.domain}]" if name.bracketed else name.domain
        return Found(
            ResolvedDomain(key, self.now, MxOutcome.FOUND, (MxOf(host, 1),)),
            (ResolvedHost(host, self.now, Outcome.FOUND, (address,)),),
            (Target(address, host),),
        )

    def welcome(self, name: NextHop) -> bool:
        return name.domain not in self.unwelcome

    def may_probe(self, target: Target) -> bool:
        return target.address not in self.unwelcome

    async def probe(self, target: Target) -> Probed:
        if len(self.probed) < 100:
            with closing(open_survey(self.url)) as store:
                begun = {each.address for each, _ in store.begun_since(0)}
            assert target.address in begun, "connected to before the intent was written"
        self.probed.append(target.address)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.at_once == 5:
                self.crowded.set()
            if self.hold is not None:
                await self.hold.wait()
            return Probed(target, self.now, 0.1, self.behaviour(target))
        finally:
            self.at_once -= 1


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(f"sqlite:///{tmp_path}/gatepost.db")


def names(count: int, first: int = 0) -> Iterator[NextHop]:
    return (NextHop(f"d{number}.example") for number in range(first, first + count))


def make(world: World, options: Options, store: Callable[[], SurveyStore] | None = None) -> Survey:
    return Survey(
        store or (lambda: open_survey(world.url)), world, world,
        lambda host: host, options, clock=lambda: world.now,
    )  # fmt: skip


def run(
    world: World, given: Iterable[NextHop], store: Callable[[], SurveyStore] | None = None,
    **options: object,
) -> Progress:  # fmt: skip
    chosen = Options(**{"pace": AT_ONCE, **options})  # type: ignore[arg-type]
    return asyncio.run(make(world, chosen, store).run(given, "test"))


def verdicts(world: World) -> dict[str, Verdict | None]:
    with closing(open_survey(world.url)) as store:
        return {
            seen.address: seen.verdict
            for domain in store.domains()
            for host in domain.hosts
            for seen in host.addresses
        }


def test_every_name_is_looked_up_and_every_server_probed_once(world: World) -> None:
    progress = run(world, names(1200))
    assert len(world.probed) == len(set(world.probed)) == 1200
    assert (progress.names, progress.targets, progress.probed) == (1200, 1200, 1200)
    assert progress.verdicts == {Verdict.TLS: 1200}
    assert set(verdicts(world).values()) == {Verdict.TLS}
    with closing(open_survey(world.url)) as store:
        assert store.runs(1)[0].ended_at == NOW
        assert store.interrupted(0) == 0


def test_no_names_are_no_trouble(world: World) -> None:
    assert run(world, []).probed == 0


def test_the_same_again_on_that_day_asks_nobody(world: World) -> None:
    run(world, names(50))
    progress = run(world, names(50))
    assert (len(world.probed), len(world.lookups), progress.known) == (50, 50, 50)
    world.now += 86_401
    run(world, names(50))
    assert (len(world.probed), len(world.lookups)) == (100, 100)


def test_whose_day_is_nearly_over_is_waited_for(world: World) -> None:
    run(world, names(3))
    world.now += 86_400 - module.WAIT_S - 1
    assert run(world, names(3)).probed == 0
    # The loop's time goes on by itself, and ours has to go with it.
    begun, started = NOW + 86_400 - 0.05, time.monotonic()
    survey = make(world, Options(AT_ONCE))
    survey._clock = lambda: begun + time.monotonic() - started
    progress = asyncio.run(survey.run(names(3), "test"))
    assert (progress.probed, progress.recent, len(world.probed)) == (3, 0, 6)


def test_an_address_with_many_names_is_probed_once(world: World) -> None:
    plain = NextHop("d7.example")
    run(world, [plain, NextHop("d7.example", bracketed=True), NextHop("d7.other"), plain])
    assert world.probed == ["10.0.7.1"]


def test_the_number_in_flight_is_bounded(world: World) -> None:
    run(world, names(200), in_flight=7)
    assert (world.most_at_once, len(world.probed)) == (7, 200)


def test_the_limit_is_kept(world: World) -> None:
    progress = run(world, names(2000), limit=70)
    assert (len(world.probed), progress.probed) == (70, 70)


def test_of_one_provider_only_so_many_are_visited(world: World) -> None:
    chosen = Options(AT_ONCE, per_provider=3)
    survey = make(world, chosen)
    survey._provider_of = lambda host: "small" if host == "mx7.example" else "big"
    progress = asyncio.run(survey.run(names(20), "test"))
    assert (progress.probed, progress.beyond) == (4, 16)
    assert "10.0.7.1" in world.probed


def test_a_dry_run_asks_dns_and_nobody_else(world: World) -> None:
    survey = make(world, Options(Pace(30, 30), dry_run=True))
    progress = asyncio.run(survey.run([*names(3), *names(3)], "test"))
    assert (world.probed, progress.targets) == ([], 3)
    assert survey.forecast.longest() == (0.0, "")
    assert set(verdicts(world).values()) == {None}
    # ... and is no visit, and nothing that a survey was told of.
    with closing(open_survey(world.url)) as store:
        assert store.runs(1) == []
    run(world, names(3))
    assert len(world.probed) == 3


def test_who_is_not_welcome_is_left_out(world: World) -> None:
    world.unwelcome = {"d1.example", "10.0.2.1"}
    progress = run(world, names(4))
    assert sorted(world.probed) == ["10.0.0.1", "10.0.3.1"]
    assert progress.unwelcome == 1
    assert "d1.example" not in world.lookups
    # Somebody may opt out after the names were looked up.
    world.now += 86_401
    world.unwelcome |= {"10.0.3.1"}
    run(world, names(4))
    assert world.probed.count("10.0.3.1") == 1


def test_cut_off_in_the_middle_nobody_is_probed_twice(world: World) -> None:
    async def scene() -> None:
        running = asyncio.create_task(
            make(world, Options(AT_ONCE, in_flight=10)).run(names(300), "test")
        )

        def cut(_: Target) -> Verdict:
            if len(world.probed) >= 40:
                running.cancel()
            return Verdict.TLS

        world.behaviour = cut
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scene())
    world.behaviour = lambda _: Verdict.TLS
    before = list(world.probed)
    run(world, names(300))
    assert len(world.probed) == len(set(world.probed))
    assert len(before) < len(world.probed)
    # At most those that were written down and not yet ended are missed, for a day.
    assert len(world.probed) >= 300 - 2 * module.CLAIM
    world.now += 86_401
    run(world, names(300))
    assert len(set(world.probed)) == 300


def test_pacing_holds_over_a_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run(world, names(1))
    world.now += 10
    seen = []
    original = module.Pacer.visited
    monkeypatch.setattr(
        module.Pacer, "visited",
        lambda self, target, at: (seen.append((target, at)), original(self, target, at)),
    )  # fmt: skip
    run(world, [], pace=Pace(30, 30))
    [(target, _)] = seen
    assert target == Target("10.0.0.1", "mx0.example")
    world.now += 30
    run(world, [], pace=Pace(30, 30))
    assert len(seen) == 1


def test_a_clock_that_was_set_back_holds_up_nobody(world: World) -> None:
    run(world, names(1))
    # A neighbour of somebody who was visited in times to come.
    world.now -= 900 * 86_400
    neighbour = [NextHop("d2.example")]
    progress = run(world, neighbour, pace=Pace(0.01, 0.01, prefix4=8))
    assert progress.probed == 1


def test_told_to_stop_it_begins_no_more_and_ends_those_that_go_on(world: World) -> None:
    async def scene() -> Progress:
        world.hold = asyncio.Event()
        survey = make(world, Options(AT_ONCE, in_flight=5))
        running = asyncio.create_task(survey.run(names(100), "test"))
        await world.crowded.wait()
        survey.stop()
        world.hold.set()
        return await running

    progress = asyncio.run(scene())
    assert (progress.probed, progress.stopped, len(world.probed)) == (5, True, 5)
    assert list(verdicts(world).values()).count(Verdict.TLS) == 5
    with closing(open_survey(world.url)) as store:
        assert store.runs(1)[0].ended_at is None


def test_a_name_that_takes_long_holds_up_no_other(world: World) -> None:
    count = 3 * module.CHUNK

    async def scene() -> None:
        slow, others = asyncio.Event(), asyncio.Event()
        find, probe = world.find, world.probe

        async def find_slowly(name: NextHop) -> Found:
            if name.domain == "d0.example":
                await slow.wait()
            return await find(name)

        async def count_up(target: Target) -> Probed:
            found = await probe(target)
            if len(world.probed) == count - 1:
                others.set()
            return found

        world.find, world.probe = find_slowly, count_up  # type: ignore[method-assign]
        running = asyncio.create_task(make(world, Options(AT_ONCE)).run(names(count), "test"))
        await others.wait()
        assert "10.0.0.1" not in world.probed
        slow.set()
        assert (await running).probed == count

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_look_ups_are_bounded_and_called_off(world: World) -> None:
    asked: list[str] = []

    async def scene() -> Progress:
        full = asyncio.Event()

        async def find(name: NextHop) -> Found:
            asked.append(name.domain)
            if len(asked) == module.LOOKUPS:
                full.set()
            await asyncio.Event().wait()
            raise AssertionError

        world.find = find  # type: ignore[method-assign]
        survey = make(world, Options(AT_ONCE))
        running = asyncio.create_task(survey.run(names(2 * module.LOOKUPS), "test"))
        await full.wait()
        survey.stop()
        return await running

    assert asyncio.run(asyncio.wait_for(scene(), 60)).stopped
    assert len(asked) == module.LOOKUPS


def test_nothing_is_lost_that_comes_in_while_the_last_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [f"10.0.{number}.1" for number in range(module.WRITE_ROWS, module.WRITE_ROWS + 50)]
    writing = threading.Event()
    finish, probe = SqliteSurvey.finish, world.probe

    def finish_slowly(store: SurveyStore, probes: list[Probed]) -> None:
        writing.set()
        # The others come in meanwhile.
        wait_until(lambda: len(ended) == len(late), 20, "the last probes")
        finish(store, probes)

    ended: list[str] = []

    async def probe_late(target: Target) -> Probed:
        found = await probe(target)
        if target.address in late:
            await asyncio.get_running_loop().run_in_executor(None, writing.wait, 20)
            ended.append(target.address)
        return found

    monkeypatch.setattr(SqliteSurvey, "finish", finish_slowly)
    world.probe = probe_late  # type: ignore[method-assign]
    count = module.WRITE_ROWS + len(late)
    assert run(world, names(count)).probed == count
    monkeypatch.undo()
    assert list(verdicts(world).values()) == [Verdict.TLS] * count


def test_a_fault_of_ours_in_a_look_up_does_not_end_the_survey(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    find = world.find

    async def broken(name: NextHop) -> Found:
        if name.domain == "d1.example":
            raise ValueError("a bug")
        return await find(name)

    world.find = broken  # type: ignore[method-assign]
    progress = run(world, names(3))
    assert (progress.probed, progress.faults) == (2, 1)
    assert 'survey-fault name=d1.example cause="ValueError: a bug"' in caplog.text


def test_a_fault_of_ours_in_one_probe_does_not_end_the_survey(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(target: Target) -> Verdict:
        if target.address == "10.0.3.1":
            raise ValueError("a bug")
        return Verdict.TLS

    world.behaviour = broken
    progress = run(world, names(10))
    assert (progress.probed, progress.faults) == (10, 1)
    assert verdicts(world)["10.0.3.1"] is Verdict.UNKNOWN
    assert "a bug" in caplog.text


def test_trouble_of_this_host_ends_it_and_says_nothing_of_servers(world: World) -> None:
    def no_more_files(_: Target) -> Verdict:
        if len(world.probed) > 5:
            raise OSError(24, "Too many open files")
        return Verdict.TLS

    world.behaviour = no_more_files
    with pytest.raises(GatepostError, match="Too many open files"):
        run(world, names(500), in_flight=3)
    found = list(verdicts(world).values())
    assert set(found) <= {Verdict.TLS, None}
    assert Verdict.TLS in found
    assert len(world.probed) < 20


class Broken(SqliteSurvey):
    """A store on a disk that is full from some point on."""

    fails = ""

    def begin(self, *arguments: object) -> list[Target]:  # type: ignore[override]
        self._fail("begin")
        return super().begin(*arguments)  # type: ignore[arg-type]

    def finish(self, *arguments: object) -> None:  # type: ignore[override]
        self._fail("finish")
        super().finish(*arguments)  # type: ignore[arg-type]

    def resolved(self, *arguments: object) -> None:  # type: ignore[override]
        self._fail("resolved")
        super().resolved(*arguments)  # type: ignore[arg-type]

    def _fail(self, where: str) -> None:
        if where == self.fails:
            raise StoreUnavailable("disk full")


def test_names_that_cannot_be_read_on_end_it_in_order(world: World) -> None:
    def broken() -> Iterator[NextHop]:
        yield from names(module.CHUNK)
        raise GatepostError("names: Input/output error")

    with pytest.raises(GatepostError, match="Input/output error"):
        run(world, broken())
    assert list(verdicts(world).values()).count(Verdict.TLS) == len(world.probed)
    assert world.at_once == 0


@pytest.mark.parametrize("where", ["begin", "finish", "known_targets", "resolved"])
def test_a_store_that_is_busy_for_too_long_ends_it_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    busy = threading.Event()
    ended: list[str] = []
    call, probe = getattr(SqliteSurvey, where), world.probe

    def call_or_fail(store: SurveyStore, *arguments: object) -> object:
        # Once only, and while somebody is being visited.
        if len(world.probed) > 2 and not busy.is_set():
            busy.set()
            raise StoreUnavailable("database is locked")
        return call(store, *arguments)

    async def probe_until_busy(target: Target) -> Probed:
        found = await probe(target)
        if target.address != "10.0.0.1":
            await asyncio.get_running_loop().run_in_executor(None, busy.wait, 20)
        ended.append(target.address)
        return found

    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(SqliteSurvey, where, call_or_fail)
    world.probe = probe_until_busy  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="database is locked"):
        run(world, names(600), in_flight=10)
    monkeypatch.undo()
    assert sorted(ended) == sorted(world.probed)
    assert list(verdicts(world).values()).count(Verdict.TLS) == len(ended)


@pytest.mark.parametrize("where", ["begin", "finish", "resolved"])
def test_without_a_store_nobody_is_probed_on(world: World, where: str) -> None:
    kind = type("Failing", (Broken,), {"fails": where})
    with pytest.raises(StoreUnavailable, match="disk full"):
        run(world, names(2000), store=lambda: open_as(kind, world.url), in_flight=10)
    if where != "finish":
        assert world.probed == []
    assert world.at_once == 0
