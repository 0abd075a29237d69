"""The suppression list as mail asks it, which is the same in every database.

Purpose: which tenants have entries is known without asking; trouble is remembered, so that nothing
waits for it again and again. Whoever inherits from `SuppressionAsking` says how rows are found.
Limits: a tenant's first entry is seen after `REFRESH_S`, every further one at once. After a failure
every question fails at once for `RETRY_S`.
Errors: `StoreUnavailable`.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from gatepost.errors import MalformedMessage, StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import (
    GLOBAL,
    AddressKey,
    CanonicalAddress,
    Suppressed,
    canonical_address,
    key_of,
)
from gatepost.store.suppression_rows import entry_of

REFRESH_S = 0.5
RETRY_S = 1.0


class SuppressionAsking(ABC):
    """Tells whether an address is suppressed; to be used by one thread.

    Attributes:
        TROUBLE: What is raised where the database cannot be asked.
    """

    TROUBLE: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        """Know nothing yet.

        Args:
            name: The database, as trouble names it.
            clock: Monotonic time in seconds.
        """
        self._name = name
        self._clock = clock
        self._secret = b""
        self._owners: dict[str, int] = {}
        self._last_owner = 0
        self._refresh_at = 0.0
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""
        return self._problem

    def may_hold(self, tenant: str) -> bool:
        """Tell whether `find` is worth the question: for a tenant without any list it is not.

        Also true while the database cannot be asked, which `find` then says.
        """
        monotonic = self._clock()
        if monotonic >= self._refresh_at:
            with contextlib.suppress(StoreUnavailable):
                self._guarded(lambda: self._refresh(monotonic))
        owners = self._owners
        return tenant in owners or GLOBAL in owners or self._problem is not None

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """Return the strongest reason in force; see `SuppressionStore.find`.

        Raises:
            StoreUnavailable: If the database cannot be asked.
        """
        if not self.may_hold(tenant):
            return None
        if self._problem is not None:
            raise StoreUnavailable(self._problem)
        try:
            address = canonical_address(recipient)
        except MalformedMessage:
            return None
        return self._guarded(lambda: self._find(tenant, address, recipient, now, rules))

    def _find(
        self,
        tenant: str,
        address: CanonicalAddress,
        recipient: str,
        now: float,
        rules: SuppressionRules,
    ) -> Suppressed | None:
        for each in (tenant, GLOBAL):
            owner = self._owners.get(each)
            if owner is None:
                continue
            key = key_of(address, each, self._known_secret())
            row = self._row(owner, key, now, fold=rules.fold_sub_addresses)
            if row is not None:
                return entry_of(each, row, recipient)
        return None

    def _known_secret(self) -> bytes:
        if not self._secret:
            self._secret = self._read_secret()
        return self._secret

    def _learn(self, owners: Iterable[tuple[int, str]]) -> None:
        """Remember who has a list by now.

        Owners are never taken away, so only those behind the last one have to be asked for.
        """
        for owner, tenant in owners:
            self._owners[tenant] = self._last_owner = owner
        if self._owners:
            self._known_secret()
        self._problem = None

    def _guarded(self, step: Callable[[], Suppressed | None]) -> Suppressed | None:
        """Do a step; after trouble, give up the connection and remember what it was."""
        try:
            return step()
        except self.TROUBLE as error:
            self._drop()
            self._refresh_at = self._clock() + RETRY_S
            self._problem = f"{self._name}: {self._told(error)}"
            raise StoreUnavailable(self._problem) from error

    def _told(self, error: Exception) -> str:
        """Return what was said of trouble."""
        return str(error)

    @abstractmethod
    def _refresh(self, monotonic: float) -> None:
        """See which tenants have entries by now; say when to look again, if nothing fails."""

    @abstractmethod
    def _row(self, owner: int, key: AddressKey, now: float, *, fold: bool) -> Sequence[Any] | None:
        """Return the columns of the strongest row in force, as of `suppression_rows.find_row`."""

    @abstractmethod
    def _read_secret(self) -> bytes:
        """Return the secret that belongs to the database."""

    @abstractmethod
    def _drop(self) -> None:
        """Give up the connection."""
