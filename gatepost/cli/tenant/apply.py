"""``gatepost tenant apply``: do to this node's queue what the pauses say, as root."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    number,
    print_json,
)
from gatepost.cli.stores import open_existing, url_of
from gatepost.cli.tenant.queue_work import Desk, desk, let_go, stop_queued, warn
from gatepost.cli.tenant.resume import PerSecondOption
from gatepost.errors import GatepostError, Unavailable
from gatepost.feedback.status import NORMAL, Part, Queued, Status, Statuses
from gatepost.runtime.traffic.hands import PER_SECOND, Stopped
from gatepost.runtime.traffic.queued import require_root
from gatepost.settings import Loaded, Loader
from gatepost.store.held import Cause
from gatepost.store.open import open_held, open_statuses
from gatepost.store.tenant_status import TenantStatusStore

EVERY_S = 2.0
# What was accepted in the moment of the pause, and whatever else was missed.
AGAIN_S = 60.0


def command(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and do it whenever a pause changes.")
    ] = False,
    per_second: PerSecondOption = PER_SECOND,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Do to the queue of this node what all pauses say, as far as only root can.

    A pause is in force on all nodes within two seconds; what it says of queued mail, each node has
    to do to its own queue. The processes of Gatepost, which are not root, have deferred mail
    deferred and tried again. This puts on hold what pauses with --queued hold are about, reloads
    Postfix where mail of tenants whose pause defers it is in the active queue, and lets go what is
    on hold for a pause that is over, at --per-second. It does nothing twice, and nothing to mail
    that somebody else holds.

    With --watch it looks every two seconds whether a pause has changed: gatepost-queue.service runs
    it so.

    Exit status: 0 done; 2 usage or configuration error, not root, or Postfix cannot be asked.

    Example: gatepost tenant apply
    """
    with errors_to_exit(as_json=as_json):
        require_root()
        loaded = Loader(config).load()
        if watch:
            _watch(loaded, config, per_second)
            return
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            done = list(_apply(loaded, store.all(), per_second))
    if as_json:
        print_json(done)
        return
    for each in done:
        print(_words(each))
    if not done:
        print("nothing was to be done")


def _apply(
    loaded: Loaded, statuses: Statuses, per_second: float, stopped: Stopped | None = None
) -> Iterator[dict[str, Any]]:
    """Do it for all tenants; return what was done to each that anything was done to.

    To let mail go may take long, and no pause must wait for that.

    Raises:
        GatepostError: If something cannot be done; what was done until then stays done.
    """
    with closing(open_held(url_of(open_held, loaded.settings))) as store:
        holding = {each.tenant for each in store.all()}
    names = holding | {name for name, each in statuses.items() if each.pauses_at(time.time())}
    known = loaded.snapshot.tenants.by_id
    for name in sorted(names - known.keys()):
        warn(f"{name} is no tenant any more, and its mail stays on hold: postsuper -H lets it go")
    for do in (_stop, _let_go):
        for name in sorted(names & known.keys()):
            if do is _let_go and stopped is not None and stopped(0.0):
                return
            with desk(loaded, known[name]) as at:
                found = do(at, statuses.get(name, NORMAL), per_second, stopped)
            if found:
                yield {"tenant": name, **found}


def _stop(at: Desk, status: Status, _per_second: float, _stopped: Stopped | None) -> dict[str, int]:
    """Do what pauses say that are in force."""
    done: dict[str, int] = {}
    for pause in status.pauses_at(at.now):
        if pause.queued is not Queued.KEEP:
            found = stop_queued(at, pause, quiet=True)
            for key in ("held", "moved"):
                if found.get(key):
                    done[key] = done.get(key, 0) + found[key]
    return done


def _let_go(at: Desk, status: Status, per_second: float, stopped: Stopped | None) -> dict[str, int]:
    """Let go what is on hold for pauses that are over."""
    rows = at.free_rows(Cause.PAUSE, status.pauses_at(at.now))
    if not rows:
        return {}
    why = "the pause is over"
    done = let_go(at, rows, Part(), why, per_second, quiet=True, stopped=stopped)
    return {"released": done.count}


def _watch(loaded: Loaded, config: Path, per_second: float) -> None:
    stop = threading.Event()
    for number_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_, lambda *_: stop.set())
    store: TenantStatusStore | None = None
    version, again = None, 0.0
    told = ""
    while not stop.is_set():
        try:
            if store is None:
                store = open_existing(open_statuses, loaded.settings)
            now = store.version()
            if now != version or time.monotonic() >= again:
                loaded = Loader(config).load()
                stopped = partial(_moved, stop, store, now)
                for each in _apply(loaded, store.all(), per_second, stopped):
                    print(_words(each), flush=True)
                # A second time soon: mail that was on its way in when a pause began.
                again = time.monotonic() + (EVERY_S * 2 if now != version else AGAIN_S)
                version = now
            told = ""
        except GatepostError as error:
            if str(error) != told:
                warn(str(error))
            told = str(error)
            if isinstance(error, Unavailable) and store is not None:
                store.close()
                store = None
        stop.wait(EVERY_S)
    if store is not None:
        store.close()


def _moved(stop: threading.Event, store: TenantStatusStore, version: int, seconds: float) -> bool:
    """Wait, and tell whether to end or to look at the pauses anew."""
    return stop.wait(seconds) or store.version() != version


def _words(done: dict[str, Any]) -> str:
    words = {
        "held": "put on hold",
        "moved": "for which Postfix was reloaded",
        "released": "let go",
    }
    said = [f"{number(done[key], 'message')} {what}" for key, what in words.items() if key in done]
    return f"{done['tenant']}: {', '.join(said)}"
