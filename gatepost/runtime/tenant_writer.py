"""Store tenants of the API, after the whole configuration has been checked with them in it.

Purpose: the API and ``gatepost tenant import`` write in the same way. A change is refused for each
reason for which a reload would refuse it, and so is one that needs of Postfix what attach has not
made yet.
Limits: one change at a time in a process; each costs a load of all configuration. `TRIES` times
another one may come first, in this process or another.
Errors: see `TenantWriter.change`.
Security: a change is stored only if nothing has been stored since that which it was checked with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import ConfigError, ConfigErrors, GatepostError
from gatepost.settings import Loader, Settings
from gatepost.settings.api_tenants import PLACE, ApiTenants
from gatepost.snapshot import Snapshot
from gatepost.store.api_tenants import ApiTenant, Mark, TenantChange
from gatepost.store.open import open_api_tenants

TRIES = 5
# How the loader begins to say that a tenant stands in two places.
ALREADY = "is a tenant already, "
WAIT_S = 30.0

Precondition = Callable[[Mapping[str, ApiTenant]], Sequence[TenantChange]]
Complaints = Callable[[Snapshot], list[str]]


class ChangeRefused(GatepostError):
    """A change is not possible as it is.

    Attributes:
        errors: What is wrong with it; or, if nothing is, with the files as they are on disk.
        of_files: Whether the errors are those of the files alone.
    """

    def __init__(self, errors: Sequence[ConfigError], *, of_files: bool) -> None:
        self.errors = tuple(errors)
        self.of_files = of_files
        super().__init__("\n".join(map(str, errors)))


class NeedsAttach(GatepostError):
    """Postfix lacks what a change needs.

    Attributes:
        shortfalls: What it lacks, one sentence each.
    """

    def __init__(self, shortfalls: Sequence[str]) -> None:
        self.shortfalls = tuple(shortfalls)
        super().__init__("\n".join(shortfalls))


class Overtaken(GatepostError):
    """Others changed tenants again and again at the same time."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was stored.

    Attributes:
        mark: The new state of the store; the one of before if there was nothing to change.
        snapshot: The configuration with it.
    """

    mark: Mark
    snapshot: Snapshot | None


class TenantWriter:
    """Changes tenants of the API."""

    def __init__(self, config: Path, settings: Settings, complaints: Complaints) -> None:
        """Remember what changes are checked against.

        Args:
            config: The configuration file.
            settings: Where the store is.
            complaints: Returns what Postfix lacks for a configuration, such as
                `gatepost.runtime.installation.validator`.
        """
        self._config = config
        self._settings = settings
        self._complaints = complaints
        self._lock = threading.Lock()

    def change(self, decide: Precondition, by: str, present: Snapshot | None = None) -> Written:
        """Make changes, all of them or none.

        Args:
            decide: Is given the tenants as they are, and returns what is to become of them; an
                error that it raises ends the change. It may be called several times.
            by: Who makes it.
            present: The configuration in force: what Postfix lacks for it is no reason to refuse.

        Raises:
            ChangeRefused: If the configuration would have errors.
            NeedsAttach: If Postfix lacks what it needs.
            Overtaken: If others were faster, `TRIES` times, or hold the lock for `WAIT_S`.
            StoreUnavailable: If the store cannot be read or written.
        """
        return self._change(decide, by, present, store_it=True)

    def check(self, decide: Precondition, present: Snapshot | None = None) -> Written:
        """Do as `change`, and store nothing."""
        return self._change(decide, "", present, store_it=False)

    def _change(
        self, decide: Precondition, by: str, present: Snapshot | None, *, store_it: bool
    ) -> Written:
        if not self._lock.acquire(timeout=WAIT_S):
            raise Overtaken("other changes take their time")
        try:
            with closing(open_api_tenants(self._settings.state)) as store:
                for _ in range(TRIES):
                    mark, tenants = store.all()
                    known = {each.id: each for each in tenants}
                    changes = list(decide(known))
                    if not changes:
                        return Written(mark, None)
                    snapshot = self._checked(mark, known, changes, present)
                    new = store.apply(mark, changes, by, time.time()) if store_it else mark
                    if new is not None:
                        return Written(new, snapshot)
        finally:
            self._lock.release()
        raise Overtaken("others changed tenants again and again")

    def place_of(self, tenant: str) -> str:
        """Return where in the files a tenant stands, as ``file:line``; empty if that is not known.

        It is what a second tenant of the same id is refused with.
        """
        second = ApiTenants(Mark(), ((tenant, "{}"),))
        try:
            Loader(self._config, lambda _settings: second).load()
        except ConfigErrors as error:
            for each in error.errors:
                if each.file == PLACE + tenant and each.problem.startswith(ALREADY):
                    return each.problem.removeprefix(ALREADY)
        return ""

    def _checked(
        self,
        mark: Mark,
        known: Mapping[str, ApiTenant],
        changes: Sequence[TenantChange],
        present: Snapshot | None,
    ) -> Snapshot:
        rows = {id_: tenant.settings for id_, tenant in known.items()}
        for change in changes:
            rows.pop(change.id, None)
            if change.settings is not None:
                rows[change.id] = change.settings
        # What changes comes last: of two that claim the same, it is the one that is told.
        candidate = ApiTenants(mark, tuple(rows.items()))
        try:
            snapshot = Loader(self._config, lambda _settings: candidate).load().snapshot
        except ConfigErrors as error:
            present_rows = tuple((id_, each.settings) for id_, each in sorted(known.items()))
            raise self._refusal(error, ApiTenants(mark, present_rows)) from error
        lacking = self._complaints(snapshot)
        if lacking and present is not None:
            before = set(self._complaints(present))
            lacking = [each for each in lacking if each not in before]
        if lacking:
            raise NeedsAttach(lacking)
        return snapshot

    def _refusal(self, error: ConfigErrors, present: ApiTenants) -> ChangeRefused:
        """Return what the change would break or, if nothing, what is broken without it.

        Where an error stands does not tell: of two tenants with the same login it may stand at
        either, and a tenant that is deleted is missed elsewhere.
        """
        before: set[str] = set()
        try:
            Loader(self._config, lambda _settings: present).load()
        except ConfigErrors as broken:
            before = set(map(str, broken.errors))
        new = [each for each in error.errors if str(each) not in before]
        return ChangeRefused(new or error.errors, of_files=not new)
