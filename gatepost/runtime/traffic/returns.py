"""What was deferred for a pause is tried again when the pause is over.

Purpose: Postfix would come back to it by itself, after maximal_backoff_time at the latest, which is
more than an hour. The back role looks for it on each node, however the pause has ended.
Format: mail that waits for a pause is deferred with the text of the pause as its reason, or has
none, since it was let go after a hold before anybody tried it.
Limits: `hands.PER_SECOND` messages a second. The queue is read when a pause that defers mail has
ended, once after `FIRST_S` and once after `AGAIN_S`: Postfix remembers an answer of the transport
map for 30 s. It is read at the start, too, as a pause may have ended while nobody looked.
Errors: the back role logs what fails, once, and Postfix tries the mail when its time comes.
Security: as `gatepost.postfix.queue`. No root is needed: postqueue(1) may ask for an attempt; it
has to be allowed to run with its group, or the process to be in that group.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from gatepost.decisions.queued import named_by_sender
from gatepost.decisions.status import is_deferred_for_pause, retry_text
from gatepost.errors import PostfixUnavailable
from gatepost.feedback.status import Statuses
from gatepost.postfix.queue import QueuedMessage, read_queue, requeue
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.repeated import Repeated
from gatepost.runtime.traffic.hands import PER_SECOND, Stopped
from gatepost.runtime.traffic.queued import BATCH, Progress, Spots
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant

EVERY_S = 1.0
FIRST_S = 5.0
AGAIN_S = 40.0
# So long an attempt takes that ends before anything is delivered.
SETTLE_S = 0.5

_log = logging.getLogger("gatepost.queue")


def waiting_for_pause(
    config_dir: Path, tenants: Collection[Tenant], snapshot: Snapshot, now: float
) -> Spots:
    """Return the deferred mail of tenants that waits for nothing but a pause.

    Args:
        config_dir: Configuration directory of the attached instance.
        tenants: The tenants.
        snapshot: The configuration.
        now: Unix time in seconds.

    Raises:
        PostfixUnavailable: If a queue cannot be read.
    """
    names = {each.id for each in tenants}
    spots = Spots()
    try:
        for message in read_queue(config_dir):
            if message.queue_name != "deferred":
                continue
            named = named_by_sender(message.sender, message.queue_id, "", snapshot, now)
            if named.tenant in names and _waits(message, named.tenant):
                spots.add(message)
    except BaseException:
        spots.close()
        raise
    return spots


def try_again(
    config_dir: Path,
    tenants: Collection[Tenant],
    snapshot: Snapshot,
    per_second: float = PER_SECOND,
    *,
    stopped: Stopped | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Have the deferred mail of tenants tried that waits for nothing but a pause that is over.

    It is looked for twice: qmgr(8) remembers the answer of the transport map for the last pair of
    sender and recipient for 30 s, and so may defer one message once more, before it has asked for
    another pair.

    Args:
        config_dir: Configuration directory of the attached instance.
        tenants: The tenants.
        snapshot: The configuration.
        per_second: At most so many a second.
        stopped: As of `gatepost.postfix.queue.requeue`.
        progress: Is told how many it were.

    Returns:
        How many were tried, and how many of these were deferred for the pause once more, which
        Postfix or the back role tries later.

    Raises:
        PostfixUnavailable: If a queue cannot be read, or postqueue(1) fails.
    """
    counts: list[int] = []
    for again in (False, True):
        if again:
            time.sleep(SETTLE_S)
        with waiting_for_pause(config_dir, tenants, snapshot, time.time()) as waiting:
            tried = send_again(waiting, per_second, stopped=stopped, progress=progress)
        if not tried:
            return sum(counts[:1]), 0
        counts.append(tried)
    time.sleep(SETTLE_S)
    with waiting_for_pause(config_dir, tenants, snapshot, time.time()) as waiting:
        return counts[0], sum(len(spots) for _, spots in waiting.batches(BATCH))


def send_again(
    spots: Spots,
    per_second: float = PER_SECOND,
    *,
    stopped: Stopped | None = None,
    progress: Progress | None = None,
) -> int:
    """Have messages tried, some at a time; return how many.

    Args:
        spots: The messages.
        per_second: At most so many a second.
        stopped: As of `gatepost.postfix.queue.requeue`.
        progress: Is told how many it were.

    Raises:
        PostfixUnavailable: If postqueue(1) fails.
    """
    tried = 0
    size = max(1, int(per_second))
    for instance, some in spots.batches(size):
        asked = requeue(instance, [each.queue_id for each in some], per_second, stopped)
        tried += asked
        if progress is not None:
            progress(tried)
        if asked < len(some):
            break
    return tried


def _waits(message: QueuedMessage, tenant: str) -> bool:
    return all(
        not each.delay_reason or is_deferred_for_pause(each.delay_reason, tenant)
        for each in message.recipients
    )


class ReturnWatch:
    """Notices pauses that have ended, and has their mail tried again; on a thread of its own."""

    def __init__(
        self,
        config_dir: Path,
        current: Callable[[], Snapshot],
        statuses: Callable[[], Statuses],
        metrics: Metrics,
        *,
        known: Callable[[], bool] = lambda: True,
        every_s: float = EVERY_S,
        first_s: float = FIRST_S,
        again_s: float = AGAIN_S,
    ) -> None:
        """Start the thread.

        Args:
            config_dir: Configuration directory of the attached instance.
            current: Returns the configuration in force.
            statuses: Returns the status of all tenants.
            metrics: Where failures are counted.
            known: Tells whether the statuses are those of the store. Until they are, who has none
                may be paused.
            every_s: Seconds between two looks at the statuses.
            first_s: Seconds between the end of a pause and the first look at the queue.
            again_s: Seconds until the second one.
        """
        self._config_dir = config_dir
        self._current = current
        self._statuses = statuses
        self._metrics = metrics
        self._known = known
        self._delays = (first_s, again_s)
        self._deferring: frozenset[str] = frozenset()
        # At the start, for pauses that have ended while nobody looked: all tenants.
        self._due: list[tuple[float, frozenset[str] | None]] = [(time.monotonic() + first_s, None)]
        self._told = ""
        self._thread = Repeated(
            "returns", self._look, self._tell_bug, every_s=every_s, first_s=every_s
        )
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; what was not tried yet, Postfix tries."""
        self._thread.stop(timeout_s)

    def _tell_bug(self, _error: Exception) -> None:
        self._metrics.error("queue")
        _log.exception("queue-failed")

    def _look(self) -> None:
        known = self._known()
        # A pause may end by itself, without any change in the store.
        deferring = _deferring(self._statuses(), self._current(), time.time())
        now = time.monotonic()
        ended = self._deferring - deferring
        self._deferring = deferring
        if ended:
            self._due += [(now + delay, ended) for delay in self._delays]
        due = [names for at, names in self._due if at <= now and (known or names is not None)]
        # First: what fails is not tried again each second.
        self._due = [
            (at, names) for at, names in self._due if at > now or not (known or names is not None)
        ]
        for names in due:
            try:
                self._send(names)
                self._told = ""
            except PostfixUnavailable as error:
                # At the start there may be nothing to do, and never be: who pauses nobody need not
                # let us ask for the queue.
                self._fail(str(error), logging.INFO if names is None else logging.WARNING)

    def _send(self, names: frozenset[str] | None) -> None:
        snapshot = self._current()
        by_id = snapshot.tenants.by_id
        wanted = (by_id.keys() if names is None else names) - self._deferring
        tenants = [by_id[name] for name in wanted if name in by_id]
        if not tenants:
            return
        tried, _ = try_again(self._config_dir, tenants, snapshot, stopped=self._thread.waited)
        if tried:
            log_event(_log, logging.INFO, "queue-tried-again", messages=tried, reason="pause over")

    def _fail(self, reason: str, level: int) -> None:
        if level >= logging.WARNING:
            self._metrics.error("queue")
        told = f"{level} {reason}"
        if told != self._told:
            log_event(_log, level, "queue-unknown", reason=reason)
        self._told = told


def _deferring(statuses: Statuses, snapshot: Snapshot, now: float) -> frozenset[str]:
    """Return the tenants whose queued mail is deferred for a pause."""
    by_id = snapshot.tenants.by_id
    return frozenset(
        name
        for name, status in statuses.items()
        if (tenant := by_id.get(name)) is not None and retry_text(tenant, status, now) is not None
    )
