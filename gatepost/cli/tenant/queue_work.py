"""What the commands about a tenant's queued mail share: find, count, do, and tell of it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn

from gatepost.cli.common import number
from gatepost.cli.stores import open_existing, url_of
from gatepost.cli.tenant.common import account
from gatepost.decisions.queued import Fit, Selection
from gatepost.errors import StartError
from gatepost.feedback.events import EventKind
from gatepost.feedback.status import Part, Pause, Queued, Scope, moment
from gatepost.runtime.control import ask
from gatepost.runtime.log import clean
from gatepost.runtime.paths import control_path
from gatepost.runtime.traffic.hands import Done, Stopped, ask_anew, hold, queue_event, release
from gatepost.runtime.traffic.queued import DELIVERABLE, Chosen, Progress, QueueReader, Summary
from gatepost.settings import Loaded
from gatepost.store.held import Cause, Held, HeldStore
from gatepost.store.messages import MessageStore
from gatepost.store.open import open_events, open_held, open_messages, open_statuses
from gatepost.store.tenant_status import TenantStatusStore
from gatepost.tenants.model import Tenant

IN_FORCE_S = 3.0
NEW_S = 30.0
_LOOK_S = 0.05
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command needs to work on the queue.

    Attributes:
        loaded: Configuration.
        tenant: Whose mail.
        held: What Gatepost holds on this node.
        reader: Reads the queues of this node.
        now: Unix time in seconds.
    """

    loaded: Loaded
    tenant: Tenant
    held: HeldStore
    reader: QueueReader
    now: float

    def held_rows(self, cause: Cause | None, part: Part | None) -> list[Held]:
        """Return what is held of the tenant, for a cause and a pause of a part, or for any."""
        return [
            each
            for each in self.held.all(self.tenant.id)
            if cause in {None, each.cause} and part in {None, _part_of(each)}
        ]

    def free_rows(self, cause: Cause | None, pauses: Collection[Pause]) -> list[Held]:
        """Return what is held for a cause, or for any, and for none of these pauses."""
        parts = {each.part for each in pauses if each.queued is Queued.HOLD}
        return [
            each
            for each in self.held_rows(cause, None)
            if each.cause is not Cause.PAUSE or _part_of(each) not in parts
        ]

    def tell(self, kind: EventKind, part: Part, reason: str, **counts: str | float) -> None:
        """Store the event of what was done, unless nothing was."""
        event = queue_event(
            kind,
            self.tenant.id,
            time.time(),
            socket.gethostname(),
            part,
            by=account(),
            reason=reason,
            **counts,
        )
        settings = self.loaded.settings
        with contextlib.closing(open_events(url_of(open_events, settings), create=False)) as events:
            events.add([event])


@contextlib.contextmanager
def desk(loaded: Loaded, tenant: Tenant) -> Iterator[Desk]:
    """Return what is needed to work on a tenant's queued mail.

    Raises:
        GatepostError: If a store cannot be opened.
    """
    settings = loaded.settings
    now = time.time()
    book: MessageStore
    with (
        contextlib.closing(open_existing(open_messages, settings)) as book,
        contextlib.closing(open_held(url_of(open_held, settings))) as held,
    ):
        reader = QueueReader(settings.postfix_config_dir, loaded.snapshot, book, now)
        yield Desk(loaded, tenant, held, reader, now)


@contextlib.contextmanager
def shown(what: str, *, quiet: bool) -> Iterator[Progress]:
    """Show a number that grows, on a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.update(task, completed=count)


def wait_in_force(loaded: Loaded, statuses: TenantStatusStore) -> None:
    """Wait until the policy server knows what the store has; for a while, and if it runs."""
    path = control_path(loaded.settings.run_dir, "policy")
    wanted = statuses.version()
    deadline = time.monotonic() + IN_FORCE_S
    while time.monotonic() < deadline:
        try:
            known: Mapping[str, Any] = ask(path, "status", timeout_s=1.0)
        except StartError:
            return
        if known.get("status_version") == wanted:
            return
        time.sleep(_LOOK_S)


def stop_queued(at: Desk, pause: Pause, *, quiet: bool) -> dict[str, Any]:
    """Do to queued mail what a pause says; return what was done, for ``--json``.

    Raises:
        GatepostError: If it cannot be done.
    """
    queued, part, scope = pause.queued, pause.part, pause.scope
    if queued is Queued.KEEP or (queued is Queued.RETRY and scope is not Scope.ALL):
        # The map that defers queued mail knows no part of it.
        return {"queued": Queued.KEEP.value}
    selection = Selection(at.tenant, part, scope is Scope.MARKETING)
    if queued is Queued.RETRY:
        return _defer(at, selection, pause.since, quiet=quiet)
    with _chosen(at, selection, DELIVERABLE, quiet=quiet) as chosen:
        with shown("put on hold", quiet=quiet) as progress:
            done = hold(chosen, at.held, at.tenant.id, Cause.PAUSE, at.now, part, progress)
        if done.count:
            at.tell(EventKind.QUEUE_HELD, part, pause.reason, count=done.count)
        return {
            "queued": queued.value,
            "held": done.count,
            "gone": done.gone,
            **left_out(chosen.summary),
        }


def _defer(at: Desk, selection: Selection, since: float, *, quiet: bool) -> dict[str, Any]:
    active = reloaded = 0
    is_root = os.geteuid() == 0
    # First: it is going out while we count.
    with _chosen(at, selection, {"active"}, quiet=quiet) as found:
        active = found.summary.messages
        if is_root:
            # The process that asked before the pause was in force has the old answers.
            # Who does this again and again must not reload each time, where nobody sees it.
            new = at.now - since < NEW_S
            reloaded = ask_anew(found.instances, since + IN_FORCE_S, if_unknown=new)
    with _chosen(at, selection, DELIVERABLE, quiet=quiet) as chosen:
        summary = chosen.summary
    return {
        "queued": Queued.RETRY.value,
        "waiting": summary.messages - summary.unnamed,
        "not_stopped": summary.unnamed,
        "moved": active if reloaded else 0,
        "active": 0 if is_root else active,
    }


def _chosen(at: Desk, selection: Selection, queues: Collection[str], *, quiet: bool) -> Chosen:
    with shown("reading the queue", quiet=quiet) as progress:
        return at.reader.choose(selection, queues, partly=True, progress=progress)


def let_go(
    at: Desk,
    rows: list[Held],
    part: Part,
    reason: str,
    per_second: float,
    *,
    quiet: bool,
    stopped: Stopped | None = None,
) -> Done:
    """Let go what Gatepost holds, and tell of it.

    It may take long, and ends early where a pause holds the same mail again.

    Args:
        at: What is needed to work on the queue.
        rows: What is to go.
        part: What of the tenant's mail is meant.
        reason: Why.
        per_second: At most so many a second.
        quiet: Whether to show no progress.
        stopped: As of `hands.release`; tells whether any pause has changed.

    Raises:
        GatepostError: If it cannot be done.
    """
    config_dir = at.loaded.settings.postfix_config_dir
    done = Done()
    try:
        with shown("let go", quiet=quiet) as progress:
            done = release(
                config_dir,
                rows,
                at.held,
                per_second=per_second,
                stopped=stopped or _until_held(at, rows),
                progress=progress,
            )
    finally:
        if done.count:
            at.tell(EventKind.QUEUE_RELEASED, part, reason, count=done.count)
    return done


def _part_of(row: Held) -> Part:
    return Part(row.campaign, row.domain)


def _until_held(at: Desk, rows: list[Held]) -> Stopped:
    """Return what tells whether a pause holds again what is let go now."""
    parts = {_part_of(each) for each in rows if each.cause is Cause.PAUSE}

    def stopped(seconds: float) -> bool:
        time.sleep(seconds)
        with contextlib.closing(open_existing(open_statuses, at.loaded.settings)) as statuses:
            pauses = statuses.find(at.tenant.id).pauses_at(time.time())
        return any(each.queued is Queued.HOLD and each.part in parts for each in pauses)

    return stopped


def left_out(summary: Summary) -> dict[str, int]:
    """Return how many of the tenant's messages were left out, and why, for ``--json``."""
    return {
        "other_domains_too": summary.others[Fit.PARTLY],
        "labels_unknown": summary.others[Fit.UNKNOWN],
    }


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return what was found, for ``--json``."""
    return {
        "messages": summary.messages,
        "recipients": summary.recipients,
        "octets": summary.octets,
        "oldest": summary.oldest or None,
        "queues": dict(summary.queues.most_common()),
        "campaigns": [
            {"campaign": name, "messages": count} for name, count in summary.campaigns.most_common()
        ],
        "domains": [
            {"domain": name, "messages": count} for name, count in summary.domains.most_common()
        ],
        "known_by": dict(summary.evidence.most_common()),
        **left_out(summary),
    }


def summary_lines(summary: Summary) -> Iterator[str]:
    """Return what was found, for people."""
    count = f"{number(summary.messages, 'message')} to {number(summary.recipients, 'recipient')}"
    oldest = f", the oldest of {moment(summary.oldest)}" if summary.oldest else ""
    yield f"{count}, {summary.octets / 1e6:,.1f} MB{oldest}"
    names = {name or ("none" if name == "" else "not known"): n for name, n in _top(summary)}
    for title, counts in (
        ("queue", dict(summary.queues.most_common())),
        ("campaign", names),
        ("domain", dict(summary.domains.most_common(_LISTED))),
        ("known by", dict(summary.evidence.most_common())),
    ):
        for index, (name, n) in enumerate(counts.items()):
            yield clean(f"  {'' if index else title:<10} {n:>9,}  {name}")
    yield from left_out_lines(summary)


def left_out_lines(summary: Summary) -> Iterator[str]:
    """Return what was left out, for people."""
    if partly := summary.others[Fit.PARTLY]:
        yield f"  left alone: {number(partly, 'message')} that go to other domains, too"
    if unknown := summary.others[Fit.UNKNOWN]:
        yield (
            f"  left alone: {number(unknown, 'message')} whose campaign or type neither the "
            "message book nor their header tells"
        )


def warn(text: str) -> None:
    """Print a sentence on standard error."""
    print(f"gatepost: {text}", file=sys.stderr)


def _top(summary: Summary) -> list[tuple[str | None, int]]:
    found = summary.campaigns.most_common(_LISTED)
    # One line that says nothing: no message has a campaign, or none is known.
    return [] if len(found) == 1 and not found[0][0] else found
