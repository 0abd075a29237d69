"""What the routes work with.

Purpose: one object that holds the configuration in force and opens the stores.
Errors: `Site` methods raise `StoreUnavailable` and `ProblemError`.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from gatepost.runtime.api_tenants import ApiTenantKeeper
from gatepost.runtime.api_token import Caller, caller_of
from gatepost.runtime.tenant_writer import TenantWriter
from gatepost.settings import Loaded, Settings
from gatepost.snapshot import Snapshot
from gatepost.store.api_tenants import ApiTenant
from gatepost.store.open import open_api_tenants, open_api_tokens, open_suppression
from gatepost.store.suppression import SuppressionStore

T_co = TypeVar("T_co", covariant=True)


class _Opener(Protocol[T_co]):
    def __call__(self, url: str, *, create: bool = True) -> T_co:
        """Return the store at a URL."""


@dataclass
class Site:
    """What there is.

    Attributes:
        settings: Where the stores are.
        current: Returns the snapshot in force.
        keeper: Knows which tenants of it were made through the API.
        writer: Changes those.
        reload: Asks for a reload, and returns at once.
        status: Returns what ``gatepost status --json`` shows.
        clock: Returns Unix time in seconds.
    """

    settings: Settings
    current: Callable[[], Snapshot]
    keeper: ApiTenantKeeper
    writer: TenantWriter
    reload: Callable[[], object]
    status: Callable[[], dict[str, Any]]
    clock: Callable[[], float] = time.time
    _stores: dict[object, object] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ids: tuple[object, frozenset[str]] = (None, frozenset())

    def loaded(self) -> Loaded:
        """Return the configuration in force."""
        return Loaded(self.settings, self.current())

    def open(self, opener: _Opener[T_co]) -> T_co:
        """Return a store, which stays open: each thread has a connection of its own.

        Raises:
            StoreUnavailable: If it cannot be opened.
        """
        with self._lock:
            found = self._stores.get(opener)
            if found is None:
                found = self._stores[opener] = opener(self.settings.state)
        return cast("T_co", found)

    def suppression(self) -> SuppressionStore:
        """Return the suppression lists, as `open` does."""
        with self._lock:
            found = self._stores.get(open_suppression)
            if found is None:
                settings = self.settings
                found = open_suppression(settings.state, local=settings.local_state)
                self._stores[open_suppression] = found
        return cast("SuppressionStore", found)

    def caller(self, token: str) -> Caller | None:
        """Return who has a token, or None."""
        return caller_of(self.open(open_api_tokens), token, self.clock())

    def api_ids(self) -> frozenset[str]:
        """Return the ids of the tenants in force that were made through the API."""
        known = self.keeper.known
        if known is None:
            return frozenset()
        made_of, ids = self._ids
        if made_of is not known:
            ids = frozenset(id_ for id_, _ in known.rows)
            self._ids = (known, ids)
        return ids

    def settings_in_force(self, tenant: str) -> str | None:
        """Return the settings in force of a tenant that was made through the API, or None."""
        known = self.keeper.known
        rows = () if known is None else known.rows
        # They are in the order of their ids.
        at = bisect.bisect_left(rows, (tenant,))
        return rows[at][1] if at < len(rows) and rows[at][0] == tenant else None

    def api_tenant(self, tenant: str) -> ApiTenant | None:
        """Return a tenant as the store of API tenants has it now, or None."""
        return self.open(open_api_tenants).find(tenant)

    def is_of_a_file(self, tenant: str) -> bool:
        """Tell whether a tenant stands in a file."""
        return tenant in self.current().tenants.by_id and tenant not in self.api_ids()

    def knows(self, tenant: str) -> bool:
        """Tell whether there is a tenant of an id, in a file or in the store."""
        return self.is_of_a_file(tenant) or self.api_tenant(tenant) is not None
