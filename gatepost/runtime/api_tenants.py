"""The tenants that were made through the API, as a process of this host knows them.

Purpose: each process asks the store once a second whether they have changed, and reloads as on
SIGHUP if they have. What it has read it keeps in memory and in a copy, `COPY_NAME`, for all
processes and for the commands, so that a store that is away changes nothing, also over a restart.
Format: see `gatepost.settings.api_tenants`.
Limits: 1 s between two looks, so that a change is in force within 2 s in all processes of all
nodes, and the time that a load takes; of changes that come in a row, as many at once as come within
`PAUSE` times that.
Errors: `ApiTenantKeeper.load` raises `StoreUnavailable`; the copy is written as well as it can be.
Security: a start that can neither ask the store nor read a copy must fail. Without its tenants
their mail would be nobody's: without a tag, and without the TLS that it was promised. For the same
reason a store in which nothing was ever written does not make the tenants of the copy vanish: it
is a database that was made anew in the place of another one. The copy has mode 0640.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.repeated import Repeated
from gatepost.settings.api_tenants import (
    NO_API_TENANTS,
    ApiTenants,
    copy_path,
    copy_text,
    read_copy,
)
from gatepost.settings.install import finished_file
from gatepost.settings.problems import Rejected
from gatepost.store.api_tenants import ApiTenantStore, Mark
from gatepost.store.open import open_api_tenants, sqlite_path

if TYPE_CHECKING:
    from gatepost.settings import Settings
    from gatepost.snapshot import Snapshot

EVERY_S = 1.0
STOP_S = 2.0
# Between two reloads passes so many times as long as the last one took.
PAUSE = 3
COPY_MODE = 0o640

_log = logging.getLogger("gatepost.api-tenants")


class ApiTenantKeeper:
    """What is known of them; a `gatepost.settings.api_tenants.Source`.

    Attributes:
        known: What was read last, by the store or the copy; None before that.
        problem: Why the store's own state is not in force, or empty.
        was_away: Whether the store could not be asked at the last load.
    """

    def __init__(self) -> None:
        self.known: ApiTenants | None = None
        self.problem = ""
        self.was_away = False
        self._lock = threading.Lock()

    def load(self, settings: Settings) -> ApiTenants:
        """Return them: as the store has them or, while it is away, as they were last.

        Args:
            settings: Where the store is, and the copy.

        Raises:
            StoreUnavailable: If neither the store nor a copy tells.
        """
        with self._lock:
            before = self.known or _copy_of(settings)
            try:
                found = self._asked(settings, before)
                self.problem, self.was_away = "", False
                if found.mark.version == 0 and before is not None and before.rows:
                    self.problem = _made_anew(settings, before)
                    found = before
            except StoreUnavailable as error:
                if before is None:
                    raise StoreUnavailable(
                        f"whether tenants were made through the API is not known, and without them "
                        f"mail could go out with less than was promised: {error}; "
                        f"{copy_path(settings)}, which would tell as well, cannot be read"
                    ) from error
                self.problem = f"tenants of the API are those that were known last: {error}"
                self.was_away = True
                found = before
            self.known = found
        return found

    @property
    def count(self) -> int:
        """How many are known."""
        return len(self.known.rows) if self.known is not None else 0

    def is_behind(self, mark: Mark) -> bool:
        """Tell whether the store, in this state, has others than were loaded last."""
        known = self.known
        if known is None or (mark.version == 0 and known.rows):
            return False
        return mark != known.mark

    def complaints(self, _snapshot: Snapshot) -> list[str]:
        """Return why the store's own state is not in force, as a note of the configuration."""
        return [self.problem] if self.problem else []

    def _asked(self, settings: Settings, before: ApiTenants | None) -> ApiTenants:
        path = sqlite_path(settings.state)
        if path is not None and not _is_there(path):
            # A new installation: who records makes the file. Nothing was ever stored.
            return NO_API_TENANTS
        # The first of several nodes makes the tables in their database.
        with contextlib.closing(open_api_tenants(settings.state, create=path is None)) as store:
            if before is not None and store.mark() == before.mark:
                found = before
            else:
                mark, tenants = store.all()
                # Each database has an order of its own.
                rows = sorted((each.id, each.settings) for each in tenants)
                found = ApiTenants(mark, tuple(rows))
                if mark.version == 0 and before is not None and before.rows:
                    return found
            if found is not before or not copy_path(settings).exists():
                _write_copy(settings, found, store)
        return found


class ApiTenantWatch:
    """Asks the store again and again, on a thread of its own."""

    def __init__(
        self,
        keeper: ApiTenantKeeper,
        settings: Settings,
        reload: Callable[[], object],
        every_s: float = EVERY_S,
        took: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Start the thread.

        Args:
            keeper: What is known.
            settings: Where the store is.
            reload: Asks for a reload; must return at once.
            every_s: Seconds between two looks.
            took: Returns how many seconds the last reload took.
        """
        self._took = took
        self._not_before = 0.0
        self._keeper = keeper
        self._settings = settings
        self._reload = reload
        self._store: ApiTenantStore | None = None
        self._away = keeper.was_away
        self._thread = Repeated(
            "api-tenants",
            self._look,
            self._fail,
            every_s=every_s,
            first_s=every_s,
            at_end=self._close,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop(STOP_S)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _look(self) -> None:
        state = self._settings.state
        path = sqlite_path(state)
        if self._store is None:
            if path is not None and not _is_there(path):
                return
            self._store = _open(state)
        moved = self._keeper.is_behind(self._store.mark())
        if self._away:
            self._away = False
            log_event(_log, logging.INFO, "api-tenants-known")
            moved = moved or bool(self._keeper.problem)
        now = time.monotonic()
        if moved and now >= self._not_before:
            self._reload()
            # With very many tenants a stream of changes must leave time for mail.
            self._not_before = now + PAUSE * self._took()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, StoreUnavailable):
            _log.exception("api-tenants-failed")
        if not self._away:
            reason, count = str(error), self._keeper.count
            log_event(_log, logging.WARNING, "api-tenants-unknown", reason=reason, in_force=count)
        self._away = True


def _open(state: str) -> ApiTenantStore:
    # A file has been found to be there, and nobody must make it who only looks. Of a server, the
    # first who asks makes the tables.
    return open_api_tenants(state, create=sqlite_path(state) is None)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def _copy_of(settings: Settings) -> ApiTenants | None:
    try:
        return read_copy(copy_path(settings))
    except Rejected as error:
        log_event(_log, logging.WARNING, "api-tenants-copy", reason=error.problem)
        return None


def _made_anew(settings: Settings, before: ApiTenants) -> str:
    count = len(before.rows)
    return (
        f"the store {settings.state} has never had tenants of the API, and {count} of them are in "
        f"force from {copy_path(settings)}: put the database of before back; or gatepost tenant "
        "import what gatepost tenant export --api gives now; or remove that file, and they are gone"
    )


def _write_copy(settings: Settings, tenants: ApiTenants, store: ApiTenantStore) -> None:
    """Write the copy, unless the store has moved on meanwhile."""
    path = copy_path(settings)
    try:
        # Of two processes the one with the older state must not come last.
        with _locked(settings.run_dir):
            if store.mark() == tenants.mark:
                _replace(path, copy_text(tenants))
    except OSError as error:
        log_event(
            _log,
            logging.WARNING,
            "api-tenants-copy",
            path=str(path),
            reason=error.strerror,
            tenants=len(tenants.rows),
        )


def _replace(path: Path, text: str) -> None:
    owner = None
    if os.geteuid() == 0:
        directory = path.parent.stat()
        owner = (directory.st_uid, directory.st_gid)
    with finished_file(path, text, COPY_MODE, owner) as temporary:
        temporary.replace(path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory; without it no process of ours runs, and there is none to have."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
