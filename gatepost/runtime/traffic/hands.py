"""Hands on the queue of this node: hold, let go, have Postfix ask anew, delete.

Purpose: the commands, and whoever applies what the store wants on another node, do the same.
Limits: messages are let go at `PER_SECOND`, so that what has waited does not come back as one herd.
Errors: `PostfixUnavailable` for everybody but root, and where Postfix fails; `StoreUnavailable`.
What was done until then is remembered.
Security: a message is written down before it is held, and forgotten after it was let go: a process
that is killed in between holds nothing that nobody remembers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gatepost.feedback.event_ids import queue_change_id
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.status import WHOLE, Part, part_details
from gatepost.postfix import queue
from gatepost.runtime.traffic.queued import Chosen, Progress, Spot, require_root, still_there
from gatepost.store.held import Cause, Held, HeldStore

PER_SECOND = 100.0
HOLD_BATCH = 1000
# By how much the start of a process and the time of a row may be off, and a hold may take.
CLOCK_S = 10.0

Stopped = Callable[[float], bool]


@dataclass(slots=True)
class Done:
    """What became of messages.

    Attributes:
        count: How many it was done to.
        gone: How many had left the queue meanwhile, or were not where they had to be.
    """

    count: int = 0
    gone: int = 0


def hold(
    chosen: Chosen,
    store: HeldStore,
    tenant: str,
    cause: Cause,
    now: float,
    part: Part = WHOLE,
    progress: Progress | None = None,
) -> Done:
    """Put messages on hold, and remember them.

    Args:
        chosen: The messages; none of them is on hold.
        store: Remembers them.
        tenant: Whose they are.
        cause: What for.
        now: Unix time in seconds.
        part: Of a pause: what it is about.
        progress: Is told how many were dealt with.
    """
    require_root()
    done = Done()
    for instance, spots in chosen.batches(HOLD_BATCH):
        rows = [
            Held(s.instance, s.queue_id, s.arrival, tenant, cause, now, part.campaign, part.domain)
            for s in spots
        ]
        count = _hold_some(instance, rows, store)
        done.count += count
        done.gone += len(spots) - count
        if progress is not None:
            progress(done.count + done.gone)
    return done


def _hold_some(instance: Path, rows: list[Held], store: HeldStore) -> int:
    """Put messages of one instance on hold; return how many.

    Postfix does not say of a message that another command has held since we looked, nor of one that
    has gone: what was known of either stays as it was.
    """
    with store.alone():
        known = store.find((each.instance, each.queue_id) for each in rows)
        store.add(rows)
        held = queue.hold(instance, [each.queue_id for each in rows])
        store.remove((each.instance, each.queue_id) for each in rows if each.queue_id not in held)
        if others := [each for each in known if each.queue_id not in held]:
            store.add(others)
    return len(held)


def ask_anew(instances: Iterable[Path], since: float, *, if_unknown: bool = True) -> int:
    """Have Postfix ask anew who delivers what is in its active queue; return how many instances.

    qmgr(8) chooses the service when a message enters the active queue, and what is in there goes
    on by it whatever the transport map says since. Only a reload ends that: a message that is held
    and let go at once would be there twice, and be removed by whichever ends first.

    Args:
        instances: Configuration directories.
        since: Unix time in seconds; where qmgr(8) has begun since, it has asked already.
        if_unknown: Whether to do it where it cannot be seen since when qmgr(8) runs.
    """
    require_root()
    count = 0
    for instance in instances:
        began = queue.manager_since(instance)
        if if_unknown if began is None else began <= since:
            queue.restart_manager(instance)
            count += 1
    return count


def release(
    config_dir: Path,
    rows: Iterable[Held],
    store: HeldStore,
    *,
    per_second: float = PER_SECOND,
    stopped: Stopped | None = None,
    progress: Progress | None = None,
) -> Done:
    """Let messages go that Gatepost holds, some at a time, and have each tried at once.

    Args:
        config_dir: Configuration directory of the attached instance.
        rows: The messages.
        store: Forgets them.
        per_second: At most so many a second.
        stopped: Waits so many seconds, and tells whether to go no further; without it, all go. It
            is asked after each second's worth but the last.
        progress: Is told how many were dealt with.
    """
    by_instance = defaultdict(list)
    for row in rows:
        by_instance[row.instance].append(row)
    done = Done()
    total = sum(map(len, by_instance.values()))
    # A second's worth at a time: a run that is broken off leaves the rest on hold, and known.
    size = max(1, int(per_second))
    for instance, held in by_instance.items():
        # What it may still have in memory of them from before they were held.
        ask_anew([Path(instance)], max(each.at for each in held) + CLOCK_S)
        for begin in range(0, len(held), size):
            some = held[begin : begin + size]
            begun = time.monotonic()
            # Whoever holds one of them again from here on is the one who remembers it.
            with store.alone():
                free = _release_some(config_dir, Path(instance), some)
                store.remove((each.instance, each.queue_id) for each in some)
            queue.requeue(Path(instance), sorted(free), per_second=size)
            done.count += len(free)
            done.gone += len(some) - len(free)
            if progress is not None:
                progress(done.count + done.gone)
            left = total - done.count - done.gone
            if left and stopped is not None and stopped(max(0.0, begun + 1.0 - time.monotonic())):
                return done
    return done


def purge(config_dir: Path, chosen: Chosen, store: HeldStore, progress: Progress | None) -> Done:
    """Delete messages, and whatever is remembered of them; no bounce is sent.

    Args:
        config_dir: Configuration directory of the attached instance.
        chosen: The messages that were counted.
        store: What Gatepost holds.
        progress: Is told how many were dealt with.
    """
    done = Done()
    for instance, spots in chosen.batches(HOLD_BATCH):
        there = still_there(config_dir, spots) if chosen.summary.short_ids else spots
        deleted = queue.delete(instance, [spot.queue_id for spot in there])
        store.remove((s.instance, s.queue_id) for s in spots if s.queue_id in deleted)
        done.count += len(deleted)
        done.gone += len(spots) - len(deleted)
        if progress is not None:
            progress(done.count + done.gone)
    return done


def queue_event(
    kind: EventKind,
    tenant: str,
    at: float,
    node: str,
    part: Part,
    **details: str | float,
) -> Event:
    """Return the event of what was done to a tenant's queued mail.

    Args:
        kind: One of the ``QUEUE_`` kinds.
        tenant: Tenant id.
        at: Unix time in seconds.
        node: Name of this host.
        part: What of the tenant's mail was meant.
        details: Count, reason, who did it.
    """
    word = f"{kind.value} {details.get('state', '')}"
    named = {key: value for key, value in details.items() if value != ""}
    return Event(
        queue_change_id(tenant, word, node, at),
        kind,
        at,
        tenant,
        campaign=part.campaign,
        details={"node": node, **part_details(part), **named},
    )


def _release_some(config_dir: Path, instance: Path, rows: list[Held]) -> set[str]:
    spots = [Spot(each.instance, each.queue_id, each.arrival) for each in rows]
    return queue.release(instance, [each.queue_id for each in still_there(config_dir, spots)])
