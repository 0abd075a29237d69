"""The calls to Valkey: joined, carried one after the other, and made good after an interruption.

Purpose: what waits together goes together in one call. What is counted is counted once: after an
interruption the node asks what had been carried out. What was counted alone is told to Valkey when
it is back; a Valkey that has lost its data is told all that this node had counted, and one that
came back with older data what it had counted since.
Limits: a call takes `valkey_link.TIMEOUT_S` at most, and who waits, waits for two. Tried again
after 0.1 to 2 s, not by all nodes at the same time. A node is alive that was heard within 10 s. Of
what others refused during an interruption, 20,000 messages are given back. Of what Valkey was told,
the last 20,000 messages of 10 minutes are remembered, for when it has forgotten them.
Errors: none; whoever made it is told of each change.
Not handled: Valkey clusters and sentinels.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gatepost.errors import CountersUnavailable
from gatepost.traffic import valkey_words as words_of
from gatepost.traffic.alone import Alone
from gatepost.traffic.counters import Key, Row
from gatepost.traffic.valkey_link import Link
from gatepost.traffic.valkey_words import MAX_OPERATIONS

HEARTBEAT_S: Final = 1.0
FIRST_WAIT_S: Final = 0.1
LAST_WAIT_S: Final = 2.0
# Who held for so long is tried again soon after it has gone.
_CALM_S: Final = 5.0
_MAX_OWED: Final = 20_000
_MAX_RECENT: Final = 20_000
_RECENT_S: Final = 600.0

Later = Callable[[str | None], None]
# Counter, step and amount, by the clock of the node.
Own = tuple[Key, int, int]


@dataclass(slots=True)
class Operation:
    """One operation.

    Attributes:
        words: What is said.
        answer: Whom the reply is for, or None if nobody waits; None instead of a reply means that
            the node has to decide alone.
        later: Is told the reply where nobody waits, and where it comes too late for who did; None
            means that it was not carried out.
        number: Of the call that it went with, or 0 while it went with none.
    """

    words: list[bytes]
    answer: asyncio.Future[str | None] | None = None
    later: Later | None = None
    number: int = 0


@dataclass(slots=True)
class Ears:
    """Who is told what.

    Attributes:
        interrupted: Is told why Valkey decides no more.
        joined: Is told of how many counters Valkey has to be told something.
        broken: Is told of a bug of ours.
    """

    interrupted: Callable[[str], object] = str
    joined: Callable[[int], object] = int
    broken: Callable[[Exception], object] = str


@dataclass(slots=True)
class _Sending:
    """What Valkey has to be told besides.

    Attributes:
        unsent: What was counted alone.
        refill: What Valkey had and has no more.
        owed: What others refused meanwhile.
        flying: The call on its way, by number.
        recent: What it was told lately: number of the call, time, and what was counted.
    """

    unsent: deque[Row] = field(default_factory=deque)
    refill: deque[Row] = field(default_factory=deque)
    owed: deque[Operation] = field(default_factory=lambda: deque(maxlen=_MAX_OWED))
    flying: tuple[int, list[Operation]] | None = None
    recent: deque[tuple[int, float, Sequence[Own]]] = field(
        default_factory=lambda: deque(maxlen=_MAX_RECENT)
    )


class Calls:
    """The calls of one node.

    Args:
        link: The connection.
        alone: What the node has counted.
        clock: The clock of this node, which never steps, in seconds.
        at_least: How many nodes there are at least.
        tells_time: Whether Valkey goes by this node's clock, which is for tests.

    Attributes:
        shared: Whether Valkey decides.
        nodes: How many nodes were alive when we last heard.
        era: Whose data the node's own counts are in; see ``hello.lua``.
        ears: Who is told of changes.
    """

    def __init__(
        self,
        link: Link,
        alone: Alone,
        clock: Callable[[], float],
        at_least: int,
        *,
        tells_time: bool,
    ) -> None:
        self.shared = False
        self.nodes = 0
        self.era = ""
        self.ears = Ears()
        self._link = link
        self._alone = alone
        self._clock = clock
        self._at_least = at_least
        self._tells_time = tells_time
        self._number = 0
        self._next_era = ""
        self._queue: deque[Operation] = deque()
        self._sending = _Sending()
        self._wake = asyncio.Event()
        self._first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self.heard_of(0)

    @property
    def unsent(self) -> int:
        """How many counters hold what Valkey has not been told."""
        return self._alone.memory.counting + len(self._sending.refill)

    def heard_of(self, nodes: int) -> None:
        """Take note of how many nodes there are."""
        self.nodes = nodes
        self._alone.nodes = max(nodes, self._at_least, 1)

    def put(self, operation: Operation) -> None:
        """Have something carried out that nobody waits for; only while Valkey decides."""
        self._queue.append(operation)
        self._wake.set()

    def owe(self, operation: Operation) -> None:
        """Have something carried out as soon as Valkey decides."""

        def later(line: str | None) -> None:
            if line is None:
                self._sending.owed.append(operation)

        operation.later = later
        if self.shared:
            self.put(operation)
        else:
            self._sending.owed.append(operation)

    def told(self, operation: Operation, counted: Sequence[Own]) -> None:
        """Take note of what Valkey has counted with an operation."""
        self._sending.recent.append((operation.number, self._clock(), counted))

    async def ask(self, operation: Operation) -> str | None:
        """Return the reply to an operation, or None if the node has to decide alone."""
        operation.answer = asyncio.get_running_loop().create_future()
        self.put(operation)
        return await operation.answer

    async def start(self, patience_s: float) -> None:
        """Begin, and wait so many seconds at most for the first answer."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._first.wait()

    async def stop(self) -> None:
        """Say what is left to be said, and leave."""
        if self.shared:
            await self.ask(Operation([b"l", self._link.member]))
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._end_shared()
        await self._link.close()

    async def _run(self) -> None:
        """Join, serve, and join again when that has ended."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT_S
        while True:
            began = loop.time()
            try:
                await self._join()
                await self._serve()
            except CountersUnavailable as error:
                self._interrupted(str(error))
            except Exception as error:
                # The task must live, and mail go on.
                self._interrupted(f"a bug: {error!r}")
                self.ears.broken(error)
            self._first.set()
            if loop.time() - began > _CALM_S:
                wait = FIRST_WAIT_S
            # Not all nodes at once.
            await asyncio.sleep(wait * random.uniform(0.7, 1.3))  # noqa: S311
            wait = min(wait * 2, LAST_WAIT_S)

    async def _join(self) -> None:
        """Begin on a new connection, and find out what is to be told."""
        hello = await self._link.open(self._now())
        sending = self._sending
        flying, sending.flying = sending.flying, None
        if flying is not None:
            done = hello.replies if hello.number == str(flying[0]) else []
            lines = [*done, *[None] * (len(flying[1]) - len(done))]
            for operation, line in zip(flying[1], lines, strict=False):
                if operation.later is not None:
                    operation.later(line)
        self.heard_of(hello.nodes)
        if hello.era not in {self.era, self._next_era}:
            self._alone.forget_known()
            sending.owed.clear()
            sending.refill = deque(self._alone.own.rows())
            sending.recent.clear()
            self._next_era = hello.era
        else:
            sending.refill.extend(self._forgotten(int(hello.number or 0)))
        sending.unsent = deque(self._alone.memory.rows())
        self._queue.extend(sending.owed)
        sending.owed.clear()
        self._note_era()

    def _forgotten(self, number: int) -> list[Row]:
        """Return what Valkey was told after its last call that it knows, by the number of that.

        It is an older state of its data, such as a file or a replica had.
        """
        recent, since = self._sending.recent, self._clock() - _RECENT_S
        lost = []
        while recent and recent[-1][0] > number:
            _, at, counted = recent.pop()
            if at > since:
                lost += [Row(key, ((step, amount),), 0.0) for key, step, amount in counted]
        return lost

    async def _serve(self) -> None:
        """Carry calls, one after the other."""
        self.shared = True
        sending = self._sending
        self.ears.joined(len(sending.unsent) + len(sending.refill))
        self._first.set()
        self._heartbeat()
        while True:
            if not (self._queue or sending.unsent or sending.refill):
                self._wake.clear()
                await self._wake.wait()
            operations = self._next()
            self._number += 1
            for operation in operations:
                operation.number = self._number
            sending.flying = (self._number, operations)
            words = [word for operation in operations for word in operation.words]
            lines = await self._link.call(self._number, words, self._now())
            if lines is None:
                await self._begin_anew(operations)
                continue
            sending.flying = None
            if len(lines) != len(operations):
                raise CountersUnavailable("answers that make no sense")
            for operation, line in zip(operations, lines, strict=True):
                _settle(operation, line)

    def _next(self) -> list[Operation]:
        """Return what goes into the next call."""
        queue, sending = self._queue, self._sending
        operations = [queue.popleft() for _ in range(min(len(queue), MAX_OPERATIONS))]
        while len(operations) < MAX_OPERATIONS and (sending.unsent or sending.refill):
            if sending.unsent:
                operations.append(self._send_alone(sending.unsent.popleft()))
            else:
                operations.append(self._send_again(sending.refill.popleft()))
        return operations

    def _send_alone(self, row: Row) -> Operation:
        operation = Operation(words_of.add(row, self._clock()))

        def later(line: str | None) -> None:
            if line is not None:
                self._alone.sent(row)
                self._has(operation, row, line)

        operation.later = later
        return operation

    def _send_again(self, row: Row) -> Operation:
        operation = Operation(words_of.add(row, self._clock()))

        def later(line: str | None) -> None:
            if line is None:
                self._sending.refill.append(row)
            else:
                self._has(operation, row, line)
                self._note_era()

        operation.later = later
        return operation

    def _has(self, operation: Operation, row: Row, line: str) -> None:
        """Take note that Valkey has what it was told."""
        self._alone.learn(row.key, words_of.added(line), self._clock())
        self.told(operation, [(row.key, step, count) for step, count in row.counts])

    def _note_era(self) -> None:
        if not self._sending.refill and self._next_era:
            self.era = self._next_era

    async def _begin_anew(self, operations: list[Operation]) -> None:
        """Have carried out later what was not, because Valkey knows us no more."""
        self._sending.flying = None
        again = []
        for operation in operations:
            if operation.answer is not None:
                operation.number = 0
                again.append(operation)
            elif operation.later is not None:
                operation.later(None)
        self._queue.extendleft(reversed(again))
        await self._join()

    def _heartbeat(self) -> None:
        def later(line: str | None) -> None:
            if line is not None:
                self.heard_of(words_of.added(line))

        self.put(Operation([b"h", self._link.member], later=later))
        self._beat = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._heartbeat)

    def _interrupted(self, reason: str) -> None:
        """Decide alone from now on, also for all who wait."""
        self._end_shared()
        self.ears.interrupted(reason)

    def _end_shared(self) -> None:
        self.shared = False
        if self._beat is not None:
            self._beat.cancel()
        queue, sending = self._queue, self._sending
        waiting = list(queue)
        queue.clear()
        for operation in waiting:
            if operation.answer is None and operation.later is not None:
                operation.later(None)
        flying = sending.flying[1] if sending.flying is not None else []
        for operation in (*flying, *waiting):
            if operation.answer is not None and not operation.answer.done():
                operation.answer.set_result(None)

    def _now(self) -> bytes:
        return repr(self._clock()).encode() if self._tells_time else b""


def _settle(operation: Operation, line: str) -> None:
    answer = operation.answer
    if answer is None:
        if operation.later is not None:
            operation.later(line)
    elif not answer.done():
        answer.set_result(line)
