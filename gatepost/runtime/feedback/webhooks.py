"""Tell the consumers of webhooks what happened.

Purpose: each webhook goes through the stream of events in order, a batch at a time, and goes on
when the consumer has taken it: at least once, the same batch with the same id. Webhooks wait
neither for each other nor does anything wait for them. A webhook that tells the events of all
tenants is one stream, too: a batch that its consumer cannot take holds up those behind it.
Format: see `gatepost.feedback.webhook`. Log lines: ``webhook-failed webhook=… batch=… events=…
status=… tries=… next_s=… reason="…"``, ``webhook-given-up``, ``webhook-gone``, ``webhook-back``.
Limits: what happens within a second is one batch, or several of 100 events; how often and for how
long a batch is tried stands in `gatepost.feedback.webhook`.
Errors: none; while the store is unavailable nothing is sent, and nothing is lost.
Security: see `webhook_http`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import Batch, Reply, batch_of
from gatepost.runtime.feedback.webhook_metrics import WebhookMetrics
from gatepost.runtime.feedback.webhook_queue import Fate, Look, Settled, WebhookQueue, Work
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.overview import age
from gatepost.snapshot import Snapshot

if TYPE_CHECKING:
    from gatepost.runtime.feedback.webhook_http import Poster

LOOK_S = 1.0
STOP_S = 5.0
AFTER_BUG_S = 5.0
# The first failures may be a restart of the consumer.
LOUD_TRIES = 3

_log = logging.getLogger("gatepost.webhooks")

T = TypeVar("T")


def _poster() -> Poster:
    # What it imports takes a good part of the role's start, and most have no webhook.
    from gatepost.runtime.feedback.webhook_http import Poster  # noqa: PLC0415

    return Poster()


class Webhooks:
    """Tells events on a thread of its own, until `stop`."""

    def __init__(
        self,
        snapshot: Snapshot,
        open_queue: Callable[[], WebhookQueue],
        metrics: Metrics,
        *,
        open_poster: Callable[[], Poster] = _poster,
        look_s: float = LOOK_S,
    ) -> None:
        """Start the thread.

        Args:
            snapshot: The configuration in force.
            open_queue: Opens the stores, on the thread that uses them.
            metrics: Where to count.
            open_poster: Makes what sends, within the loop that uses it, once there is a webhook.
            look_s: Seconds between two looks for new events.
        """
        self._snapshot = snapshot
        self._open_queue = open_queue
        self._open_poster = open_poster
        self._look_s = look_s
        self._errors = metrics
        self._metrics = WebhookMetrics(metrics, self._lags)
        self._untold: dict[str, float] = {}
        self._hooks: dict[str, Webhook] = {}
        self._attention: list[str] = []
        self._trouble = ""
        self._queue: WebhookQueue | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = threading.Event()
        # One thread, and so one connection; a locked database stops no request.
        self._store = ThreadPoolExecutor(1, "webhook-store")
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def reloaded(self, snapshot: Snapshot) -> None:
        """Take a new configuration; it holds from the next look on."""
        self._snapshot = snapshot

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End the thread; what is on its way is sent again next time, under the same id."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def attention(self) -> list[str]:
        """Return what ``gatepost status`` should point at, one sentence each."""
        return list(self._attention)

    def _lags(self) -> dict[str, float]:
        now = time.time()
        untold = self._untold.copy()
        return {name: max(0.0, now - untold.get(name, now)) for name in self._hooks.copy()}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._main())
            except Exception:
                # The thread must live; the store knows where to begin again.
                _log.exception("webhooks-failed")
                self._errors.error("webhooks")
                self._stopping.wait(AFTER_BUG_S)
        self._store.shutdown()

    async def _main(self) -> None:
        poster: Poster | None = None
        taken: Snapshot | None = None
        try:
            while not self._stopping.is_set():
                snapshot = self._snapshot
                with self._store_trouble():
                    if snapshot is not taken:
                        await self._take(snapshot, start=taken is None)
                        taken = snapshot
                    if self._hooks:
                        poster = poster or self._open_poster()
                        self._start(await self._in_store(lambda q: q.look(self._hooks)), poster)
                await asyncio.sleep(self._look_s)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()
            if poster is not None:
                await poster.close()
            await asyncio.get_running_loop().run_in_executor(self._store, self._close)

    async def _take(self, snapshot: Snapshot, *, start: bool) -> None:
        self._hooks = {each.name: each for each in snapshot.webhooks}
        self._attention = []
        self._metrics.expect(self._hooks)
        names = list(self._hooks)
        if names and start:
            # A restart hurries nobody, but the consumer that wanted no more is asked again.
            look = await self._in_store(lambda q: q.look(names))
            names = [name for name in names if look.states[name].gone]
        if names:
            await self._in_store(lambda q: q.recover(names))

    def _start(self, look: Look, poster: Poster) -> None:
        for name in look.due:
            if name not in self._tasks and name in self._hooks:
                self._tasks[name] = asyncio.create_task(self._tell(self._hooks[name], poster))
        for name in self._hooks:
            if look.states[name].tries:
                self._untold.setdefault(name, look.states[name].first_at)
        self._attention = [line for name in self._hooks for line in _attention(name, look)]

    async def _tell(self, hook: Webhook, poster: Poster) -> None:
        """Send one batch after the other until there is none, or one fails."""
        try:
            with self._store_trouble():
                while self._hooks.get(hook.name) == hook:
                    work = await self._in_store(lambda q: q.next(hook))
                    if work is None:
                        self._untold.pop(hook.name, None)
                        return
                    if work.events and not await self._send(hook, poster, work):
                        return
        except Exception:
            _log.exception("webhook-bug")
            self._errors.error("webhooks")
            await asyncio.sleep(AFTER_BUG_S)
        finally:
            self._tasks.pop(hook.name, None)

    async def _send(self, hook: Webhook, poster: Poster, work: Work) -> bool:
        """Send a batch; return whether to go on at once."""
        self._untold[hook.name] = work.events[0].at
        batch = batch_of(hook.name, work.events)
        reply = await poster.post(hook, batch)
        settled = await self._in_store(lambda q: q.settle(hook, work, reply))
        self._metrics.tried(hook.name, settled.fate.value, len(work.events))
        _say(hook, work, batch, reply, settled)
        return settled.fate in {Fate.TAKEN, Fate.GIVEN_UP}

    async def _in_store(self, call: Callable[[WebhookQueue], T]) -> T:
        def on_thread() -> T:
            if self._queue is None:
                self._queue = self._open_queue()
            return call(self._queue)

        found = await asyncio.get_running_loop().run_in_executor(self._store, on_thread)
        if self._trouble:
            log_event(_log, logging.INFO, "store-back")
            self._trouble = ""
        return found

    def _close(self) -> None:
        if self._queue is not None:
            self._queue.close()
            self._queue = None

    @contextlib.contextmanager
    def _store_trouble(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable as error:
            self._errors.error("store")
            if str(error) != self._trouble:
                log_event(_log, logging.WARNING, "store-unavailable", reason=str(error))
            self._trouble = str(error)


def _say(hook: Webhook, work: Work, batch: Batch, reply: Reply, settled: Settled) -> None:
    fate = settled.fate
    if fate is Fate.TAKEN:
        level = logging.INFO if settled.tries else logging.DEBUG
        event = "webhook-back" if settled.tries else "webhook-told"
    else:
        level, event = logging.WARNING, f"webhook-{fate.value}"
    log_event(
        _log,
        level,
        event,
        webhook=hook.name,
        batch=batch.id,
        events=len(work.events),
        status=reply.status,
        tries=settled.tries or None,
        next_s=settled.wait_s if fate is Fate.FAILED else None,
        reason=reply.error or None,
    )


def _attention(name: str, look: Look) -> list[str]:
    state = look.states[name]
    found = []
    if state.gone:
        found.append(
            f"webhook {name}: its consumer answered 410, so nothing is sent to it any more; take "
            "it out of the configuration, or run gatepost reload to ask again"
        )
    elif state.tries >= LOUD_TRIES:
        found.append(
            f"webhook {name} has been failing for {age(state.first_at)}: {state.error}; run "
            "gatepost events webhooks"
        )
    if (buried := look.burials.get(name)) is not None:
        found.append(
            f"webhook {name}: {buried.events} events were given up; gatepost events replay "
            f"--webhook {name} --dead sends them again"
        )
    return found
