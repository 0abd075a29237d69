"""What the rest of Gatepost may ask of a suppression list.

Purpose: one narrow interface for the check at RCPT TO, what comes back, and the commands.
Format: an address has one entry for each reason, so that each ends by itself: a delivery lifts a
bounce and leaves the complaint beside it alone.
Limits: `add` and `delivered` are one transaction; whoever has many calls with some thousand each.
Errors: every method raises `StoreUnavailable`, and nothing else where it does not say so. An
address that is none is never found and never added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import Reason, Suppressed


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery that shows that an address works.

    Attributes:
        tenant: Tenant id.
        recipient: Envelope recipient.
        at: Unix time in seconds.
        failure: Id of the event that tells that this very message came back from there, see
            `event_ids.failure_id`; it comes after the delivery, whatever the clocks say.
    """

    tenant: str
    recipient: str
    at: float
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries.

    Attributes:
        entries: In an order of the store's own, which does not change.
        after: Give this for the next page; empty at the end.
    """

    entries: tuple[Suppressed, ...]
    after: str


class Lookup(Protocol):
    """The list as the process asks it that answers mail; to be used by one thread."""

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""

    def may_hold(self, tenant: str) -> bool:
        """Tell whether `find` is worth the question: for a tenant without any list it is not."""

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """Return the strongest reason in force; see `SuppressionStore.find`.

        Raises:
            StoreUnavailable: If it is not known.
        """

    def close(self) -> None:
        """Close the connection."""


class SuppressionStore(Protocol):
    """Keeps which addresses are no longer written to."""

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """Return the strongest reason in force, the tenant's own before the global list's.

        Args:
            tenant: Tenant id.
            recipient: Envelope recipient, in any spelling.
            now: Unix time in seconds.
            rules: Whether sub-addresses count.
        """

    def entries_of(self, tenant: str, address: str, rules: SuppressionRules) -> list[Suppressed]:
        """Return all entries of an address in one list, whether in force or not."""

    def add(self, entries: Iterable[Suppressed], rules: SuppressionRules) -> int:
        """Store entries: all of them or none; return how many were new or changed anything.

        An entry that is there is merged, see `gatepost.feedback.suppression.merged`. On the global
        list, only entries with the reason invalid are stored.

        Args:
            entries: The entries; their addresses in any spelling.
            rules: Whether addresses are stored as hashes only.
        """

    def load(
        self,
        entries: Iterable[Suppressed],
        rules: SuppressionRules,
        told: Callable[[int], None] = ...,
    ) -> int:
        """Store any number of entries, as `add` does, in flat memory and many short transactions.

        Entries are there one after the other once all have been read. If it ends early, what is
        there is whole; doing it again does the rest.

        Args:
            entries: The entries.
            rules: Whether addresses are stored as hashes only.
            told: Is called after each transaction with the number of entries in it.

        Returns:
            How many were new or changed anything.
        """

    def remove(
        self, tenant: str, address: str, rules: SuppressionRules, reason: Reason | None = None
    ) -> list[Suppressed]:
        """Remove an address from one list, for one reason or all; return what was removed."""

    def soft_bounce(
        self, tenant: str, recipient: str, at: float, event_id: str, rules: SuppressionRules
    ) -> Suppressed | None:
        """Count a soft bounce; return the entry if there now are too many, or None.

        The same event counts once, and gives the same result again.

        Args:
            tenant: Tenant id.
            recipient: Envelope recipient.
            at: Unix time in seconds.
            event_id: Id of the event of the bounce.
            rules: How many are too many.
        """

    def delivered(self, deliveries: Sequence[Delivered], rules: SuppressionRules) -> int:
        """Lift the bounces that came before deliveries to the same addresses; return how many.

        Times count in whole seconds, as the log may have no finer ones. A bounce of the same
        second stays: a server that takes a message may send it back at once.
        Soft bounces counted before them are forgotten, too.
        """

    def page(
        self,
        tenant: str | None = None,
        reason: Reason | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> Page:
        """Return some entries.

        Args:
            tenant: Those of one list, or None for all.
            reason: Only those with this reason, or None for all.
            after: `Page.after` of the page before, or empty.
            limit: At most so many.

        Raises:
            MalformedMessage: If no page ended there.
        """

    def lists(self) -> list[str]:
        """Return whose lists there are: tenant ids, and `GLOBAL`; some may be empty."""

    def prune(self, now: float, rules: SuppressionRules) -> int:
        """Delete what has ended, and soft bounces that no longer count; return how many entries."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
