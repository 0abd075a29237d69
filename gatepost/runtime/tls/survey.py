"""Run a survey: names in, knowledge in the store, and nobody visited twice.

Purpose: join looking up, pacing, probing and storing on one event loop.
Format: `Survey.run` takes names in the order in which they come. Each name is looked up, unless
that was done within the day; its addresses wait in the pacer for their turn. Before anybody is
connected to, that is written down (`SurveyRecord.begin`), so that a run that was killed, and is
started again, leaves out whom it visited, whether it learned the answer or not.
Limits: 1,500 probes and 250 names at once; 500,000 targets that wait, some 350 MiB, while names are
read no further; each address that was met in a run takes some 100 octets. What was found is written
200 results or one second at a time; so much is lost when the process is killed.
Errors: `run` raises `StoreUnavailable`, and `GatepostError` for trouble on this host (no sockets, a
source address that is not ours); probes that go on then come to their end, and what was found is
stored, if that can be done again. A fault of ours in one probe
or look-up is logged, counted, and does not end the survey.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from gatepost.errors import GatepostError, StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.tls.survey_names import Found
from gatepost.store.survey import SurveyStore
from gatepost.tls.nexthop import NextHop
from gatepost.tls.survey.model import Probed, Target, Verdict
from gatepost.tls.survey.pacing import Forecast, Pace, Pacer

DAY_S = 86_400.0
# Names are looked up again in a survey of the next day, and not where one goes on that was killed.
LOOK_UP_AGAIN_S = DAY_S / 2
# Whose day is over so soon is waited for: else a survey that is started every day at the same hour
# would find everybody visited some minutes less than a day ago, and visit them every other day.
WAIT_S = 3_600.0
IN_FLIGHT = 1_500
# A name whose name servers are dead takes half a minute, and some in a hundred are.
LOOKUPS = 250
CHUNK = 500
MAX_WAITING = 500_000
CLAIM = 64
WRITE_ROWS = 200
WRITE_S = 1.0

ResultT = TypeVar("ResultT")

_log = logging.getLogger("gatepost.survey")


class Probe(Protocol):
    """Probes one server; see `gatepost.tls.survey.probe.Prober`."""

    def probe(self, target: Target) -> Awaitable[Probed]:
        """Return what a server offers; OSError is trouble of ours."""


class Lookup(Protocol):
    """Looks names up; see `gatepost.runtime.tls.survey_names.Names`."""

    async def find(self, name: NextHop) -> Found:
        """Return a name with its hosts."""

    def welcome(self, name: NextHop) -> bool:
        """Tell whether the servers of a name may be probed on its account."""

    def may_probe(self, target: Target) -> bool:
        """Tell whether a server may be probed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to survey.

    Attributes:
        pace: How seldom to visit a network and a provider.
        in_flight: Probes at once.
        again_after_s: An address is left alone so long after the last visit.
        limit: At most so many probes; None for no limit.
        per_provider: At most so many servers of one provider in a run; None for all of them.
        dry_run: Look names up, and probe nobody.
    """

    pace: Pace = field(default_factory=Pace)
    in_flight: int = IN_FLIGHT
    again_after_s: float = DAY_S
    limit: int | None = None
    per_provider: int | None = None
    dry_run: bool = False


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        names: Names taken.
        known: Of these, names that were looked up within the day.
        targets: Addresses that were found and are to be probed, each counted once.
        recent: Addresses left out, as they were visited within the day.
        unwelcome: Addresses left out: opted out, or not public.
        beyond: Addresses left out: their provider has too many.
        probed: Probes that ended.
        in_flight: Probes that go on.
        verdicts: How many probes ended how.
        faults: Probes and look-ups in which something of ours broke.
        reading: Whether more names may come.
        stopped: Whether the run was told to end early.
        dane_off: Why no TLSA record was believed, or empty: the resolver does not validate.
    """

    names: int = 0
    known: int = 0
    targets: int = 0
    recent: int = 0
    unwelcome: int = 0
    beyond: int = 0
    probed: int = 0
    in_flight: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    faults: int = 0
    reading: bool = True
    stopped: bool = False
    dane_off: str = ""


class Survey:
    """One run; to be used once, within one event loop.

    Attributes:
        progress: How far it is.
        forecast: After a dry run, how long pacing would take.
    """

    def __init__(
        self,
        open_store: Callable[[], SurveyStore],
        names: Lookup,
        prober: Probe,
        provider_of: Callable[[str], str],
        options: Options,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare it.

        Args:
            open_store: Opens the store, on the thread that uses it.
            names: Looks names up.
            prober: Probes.
            provider_of: From a host name to its registrable domain.
            options: How to survey.
            clock: Tells Unix time.
        """
        self.progress = Progress()
        self._open_store = open_store
        self._names = names
        self._prober = prober
        self._options = options
        self._provider_of = provider_of
        self._of_provider: Counter[str] = Counter()
        self._clock = clock
        self.forecast = Forecast(options.pace, provider_of)
        self._pacer = Pacer(options.pace, provider_of)
        self._seen: set[str] = set()
        # One thread, and so one connection; the loop never waits for a disk.
        self._thread = ThreadPoolExecutor(1, "survey-store")
        self._store: SurveyStore | None = None
        self._found: list[Found] = []
        self._looking = 0
        self._storing = asyncio.Lock()
        self._results: list[Probed] = []
        self._probes: set[asyncio.Task[None]] = set()
        self._started = 0
        self._put_off_count = 0
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        self._taken = asyncio.Event()
        self._full = asyncio.Event()
        self._over = False
        self._trouble: BaseException | None = None

    def stop(self) -> None:
        """Begin no more probes, and let those that go on end."""
        self.progress.stopped = True
        self._stop.set()
        self._taken.set()
        self._news.set()

    async def run(self, names: Iterable[NextHop], source: str) -> Progress:
        """Survey names, and return how far it got.

        Args:
            names: In the order in which they are taken.
            source: Where they come from, for people.

        Raises:
            StoreUnavailable: If the store cannot be read or written.
            GatepostError: For trouble on this host.
        """
        try:
            run = await self._begin_run(source)
            await self._remember_pace()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                reader = tasks.create_task(self._or_stop(self._read(iter(names))))
                await self._or_stop(self._dispatch(reader))
                reader.cancel()
                # Whoever is being visited is not left without a word, whatever has happened.
                await asyncio.gather(reader, *self._probes, return_exceptions=True)
                self._over = True
                self._full.set()
            if self._trouble is not None:
                raise self._trouble
            if run is not None and not self.progress.stopped:
                await self._in_store(lambda store: store.run_ends(run, self._clock()))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            for task in self._probes:
                task.cancel()
            await asyncio.gather(*self._probes, return_exceptions=True)
            self._thread.submit(self._close)
            self._thread.shutdown(wait=True)
        return self.progress

    async def _begin_run(self, source: str) -> int | None:
        if self._options.dry_run:
            # It sees no server, and changes are told since the last run that did.
            return None
        return await self._in_store(lambda store: store.run_begins(self._clock(), source))

    async def _remember_pace(self) -> None:
        longest = max(self._options.pace.network_s, self._options.pace.provider_s)
        since = self._clock() - longest
        loop_time = asyncio.get_running_loop().time()
        for target, at in await self._in_store(lambda store: store.begun_since(since)):
            # Nobody was visited later than now, whatever the clock said then.
            self._pacer.visited(target, loop_time - max(0.0, self._clock() - at))

    async def _read(self, names: Iterable[NextHop]) -> None:
        """Look names up, many at once: one that takes long holds up no other."""
        turns = asyncio.Semaphore(LOOKUPS)
        names = iter(names)
        try:
            async with asyncio.TaskGroup() as lookups:
                while not self._stop.is_set() and (chunk := list(islice(names, CHUNK))):
                    for name in await self._unknown(chunk):
                        await turns.acquire()
                        self._looking += 1
                        lookups.create_task(self._look_up(name, turns))
                    while len(self._pacer) > MAX_WAITING and not self._stop.is_set():
                        self._taken.clear()
                        await self._taken.wait()
            await self._write_found()
        finally:
            self.progress.reading = False
            self._news.set()

    async def _unknown(self, chunk: Sequence[NextHop]) -> list[NextHop]:
        """Return the names that are to be looked up; the servers of the others may wait."""
        self.progress.names += len(chunk)
        chunk = [each for each in chunk if self._names.welcome(each)]
        keys = [f"[{each.domain}]" if each.bracketed else each.domain for each in chunk]
        since = self._clock() - min(LOOK_UP_AGAIN_S, self._options.again_after_s)
        due = self._clock() - self._options.again_after_s + WAIT_S
        now = self._clock()
        known, targets = await self._in_store(
            lambda store: store.known_targets(keys, since, due, now)
        )
        self.progress.known += len(known)
        self._wait_for_turn(targets)
        return [each for each, key in zip(chunk, keys, strict=True) if key not in known]

    async def _look_up(self, name: NextHop, turns: asyncio.Semaphore) -> None:
        try:
            found = await self._names.find(name)
            # Only now, as the list is another one each time that it was written.
            self._found.append(found)
        except Exception as error:
            self._fault(error, name=name.domain)
        finally:
            self._looking -= 1
            turns.release()
        if not self._looking or len(self._found) >= WRITE_ROWS:
            self._full.set()

    def _wait_for_turn(self, targets: Iterable[Target]) -> None:
        for target in targets:
            if target.address in self._seen:
                continue
            self._seen.add(target.address)
            if not self._names.may_probe(target):
                self.progress.unwelcome += 1
                continue
            if self._has_enough(target):
                self.progress.beyond += 1
                continue
            self.progress.targets += 1
            if self._options.dry_run:
                self.forecast.add(target)
            else:
                self._pacer.add(target)
        self._news.set()

    def _has_enough(self, target: Target) -> bool:
        """Tell whether a provider has as many servers in this run as it may, and count one more."""
        most = self._options.per_provider
        if most is None:
            return False
        provider = self._provider_of(target.host)
        if self._of_provider[provider] >= most:
            return True
        self._of_provider[provider] += 1
        return False

    async def _dispatch(self, reader: asyncio.Task[None]) -> None:
        """Begin probes as their turn comes, until there are none left."""
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            self._news.clear()
            claimed = self._claim(loop.time())
            if claimed:
                await self._begin(claimed)
                continue
            waiting = len(self._pacer) + self._put_off_count + len(self._probes)
            if reader.done() and not waiting:
                break
            if self._options.limit is not None and self._started >= self._options.limit:
                break
            await self._pause(self._pacer.wait_s(loop.time()))

    def _claim(self, now: float) -> list[Target]:
        room = min(CLAIM, self._options.in_flight - len(self._probes))
        if self._options.limit is not None:
            room = min(room, self._options.limit - self._started)
        claimed: list[Target] = []
        while len(claimed) < room and (target := self._pacer.take(now)) is not None:
            claimed.append(target)
        self._taken.set()
        return claimed

    async def _begin(self, claimed: Sequence[Target]) -> None:
        now = self._clock()
        since = now - self._options.again_after_s
        granted = await self._in_store(lambda store: store.begin(claimed, now, since))
        await self._put_off([each for each in claimed if each not in granted])
        for target in granted:
            self._started += 1
            task = asyncio.create_task(self._probe(target))
            self._probes.add(task)
            task.add_done_callback(self._probe_ended)
        self.progress.in_flight = len(self._probes)

    async def _put_off(self, targets: Sequence[Target]) -> None:
        """Let those whose day is not over wait, or leave them out."""
        if not targets:
            return
        addresses = [each.address for each in targets]
        last = await self._in_store(lambda store: store.last_begun(addresses))
        loop, now = asyncio.get_running_loop(), self._clock()
        for target in targets:
            self._pacer.ended(target.address)
            wait_s = last.get(target.address, now) + self._options.again_after_s - now
            if wait_s > WAIT_S:
                self.progress.recent += 1
            else:
                self._put_off_count += 1
                # A moment longer, as the day has to be over and not only as long as that.
                loop.call_later(max(wait_s, 0.0) + 0.01, self._back, target)

    def _back(self, target: Target) -> None:
        self._put_off_count -= 1
        self._pacer.add(target)
        self._news.set()

    async def _probe(self, target: Target) -> None:
        try:
            result = await self._prober.probe(target)
        except OSError as error:
            self._give_up(GatepostError(f"cannot connect from this host: {error}"))
            return
        except Exception as error:
            self._fault(error, address=target.address, host=target.host)
            result = Probed(target, self._clock(), 0.0, Verdict.UNKNOWN, "a fault of our own")
        finally:
            self._pacer.ended(target.address)
        self._results.append(result)
        if len(self._results) >= WRITE_ROWS:
            self._full.set()
        progress = self.progress
        progress.probed += 1
        progress.verdicts[result.verdict] = progress.verdicts.get(result.verdict, 0) + 1

    def _fault(self, error: Exception, **where: str) -> None:
        self.progress.faults += 1
        cause = f"{type(error).__name__}: {error}"
        log_event(_log, logging.ERROR, "survey-fault", **where, cause=cause)

    def _probe_ended(self, task: asyncio.Task[None]) -> None:
        self._probes.discard(task)
        self.progress.in_flight = len(self._probes)
        self._news.set()

    def _give_up(self, error: BaseException) -> None:
        self._trouble = self._trouble or error
        self.stop()

    async def _or_stop(self, work: Awaitable[None]) -> None:
        """Have trouble with the store, or with the file of names, end the run as a signal does."""
        try:
            await work
        except* GatepostError as group:
            self._give_up(_first(group))

    async def _pause(self, seconds: float | None) -> None:
        """Wait for news, and no longer than until somebody's turn comes."""
        if seconds is not None and seconds <= 0.0 and len(self._probes) < self._options.in_flight:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds or None):
                await self._news.wait()

    async def _write(self) -> None:
        """Store what comes in, until the run is over."""
        while not self._over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_S):
                    await self._full.wait()
            self._full.clear()
            await self._or_stop(self._write_found())
            await self._or_stop(self._write_results())
        # The last ones may have come while others were being written.
        await self._write_results()

    async def _write_found(self) -> None:
        """Store what was looked up, and only then let the servers wait for their turn."""
        async with self._storing:
            found, self._found = self._found, []
            if not found:
                return
            domains = [each.domain for each in found]
            hosts = [host for each in found for host in each.hosts]
            await self._in_store(lambda store: store.resolved(domains, hosts))
            for each in found:
                self._wait_for_turn(each.targets)

    async def _write_results(self) -> None:
        results, self._results = self._results, []
        if not results:
            return
        try:
            await self._in_store(partial(_finish, results))
        except StoreUnavailable:
            # Tried again at the end: the store may only have been busy.
            self._results[:0] = results
            raise

    async def _in_store(self, call: Callable[[SurveyStore], ResultT]) -> ResultT:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(self._opened()))

    def _opened(self) -> SurveyStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _finish(results: Sequence[Probed], store: SurveyStore) -> None:
    store.finish(results)
