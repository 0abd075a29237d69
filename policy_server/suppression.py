"""Asks the suppression list about recipients, for the handlers.

Purpose: ask where a decision wants to know, count, tell of trouble once, and send off events.
Limits: of a message with more than `AT_ONCE` recipients so many are looked up in one go: nobody is
answered meanwhile, and a question to a server takes a round trip, or two.
Errors: none: while the list cannot be read, the setting ``suppression.on_failure`` decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.recipient import Verdict
from gatepost.decisions.suppression import (
    Occasion,
    Outcome,
    asks_for_suppression,
    decide_message_suppressed,
    decide_suppressed,
    decide_unknown,
)
from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import Suppressed
from gatepost.runtime.log import log_event
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant
from gatepost.wire.policy import AdmitRequest

log = logging.getLogger("gatepost.suppression")

AT_ONCE: Final = 20

CLEAR = "clear"
SUPPRESSED = "suppressed"
UNKNOWN = "unknown"


class SuppressionList(Protocol):
    """Tells whether an address is suppressed."""

    def may_hold(self, tenant: str) -> bool:
        """Tell quickly whether `find` could say anything about recipients of a tenant."""

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """Return the strongest reason in force, or None.

        Raises:
            StoreUnavailable: If the list cannot be read.
        """


class SuppressionCheck:
    """Looks recipients up.

    Attributes:
        may_hold: See `SuppressionList.may_hold`; asked before every recipient.

    Args:
        found: The list.
        count: Counts a recipient that was looked up: `CLEAR`, `SUPPRESSED` or `UNKNOWN`.
        tell: Takes events; must not wait.
    """

    def __init__(
        self, found: SuppressionList, count: Callable[[str], None], tell: Callable[[Event], None]
    ) -> None:
        self._list = found
        self.may_hold = found.may_hold
        self._count = count
        self._tell = tell
        self._failed = False

    def recipient(
        self, verdict: Verdict, facts: RecipientFacts, instance: str, snapshot: Snapshot, now: float
    ) -> Verdict:
        """Return the answer for one recipient at RCPT TO.

        Args:
            verdict: The answer so far.
            facts: The RCPT TO.
            instance: Postfix's name for the transaction.
            snapshot: The configuration.
            now: Unix time in seconds.
        """
        tenant = asks_for_suppression(verdict, facts.sender, snapshot)
        if tenant is None:
            return verdict
        try:
            entry = self._find(tenant.id, facts.recipient, now, snapshot)
        except StoreUnavailable as error:
            return self._unavailable(error, decide_unknown(verdict, tenant, snapshot))
        if entry is None:
            return verdict
        occasion = Occasion(facts.sender, facts.queue_id, instance)
        return self._told(
            decide_suppressed(verdict, tenant, occasion, facts.recipient, entry, now)
        ).verdict

    def message(
        self, verdict: Verdict, request: AdmitRequest, snapshot: Snapshot, now: float
    ) -> Outcome | Awaitable[Outcome]:
        """Return the answer for a message of a platform login, at once or later.

        Args:
            verdict: The answer so far.
            request: The milter's question.
            snapshot: The configuration.
            now: Unix time in seconds.
        """
        tenant = asks_for_suppression(verdict, request.sender, snapshot)
        if tenant is None:
            return Outcome(verdict)
        if len(request.recipients) > AT_ONCE:
            return self._message_later(verdict, tenant, request, snapshot, now)
        try:
            entries = [
                self._find(tenant.id, recipient, now, snapshot) for recipient in request.recipients
            ]
        except StoreUnavailable as error:
            return Outcome(self._unavailable(error, decide_unknown(verdict, tenant, snapshot)))
        return self._message_found(verdict, tenant, request, entries, now)

    async def _message_later(
        self,
        verdict: Verdict,
        tenant: Tenant,
        request: AdmitRequest,
        snapshot: Snapshot,
        now: float,
    ) -> Outcome:
        """Let others have their turn every `AT_ONCE` recipients."""
        entries = []
        try:
            for number, recipient in enumerate(request.recipients, 1):
                entries.append(self._find(tenant.id, recipient, now, snapshot))
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
        except StoreUnavailable as error:
            return Outcome(self._unavailable(error, decide_unknown(verdict, tenant, snapshot)))
        return self._message_found(verdict, tenant, request, entries, now)

    def _message_found(
        self,
        verdict: Verdict,
        tenant: Tenant,
        request: AdmitRequest,
        entries: Sequence[Suppressed | None],
        now: float,
    ) -> Outcome:
        name = request.message
        occasion = Occasion(request.sender, request.queue_id, name or request.queue_id, name)
        return self._told(
            decide_message_suppressed(verdict, tenant, occasion, request.recipients, entries, now)
        )

    def _find(
        self, tenant: str, recipient: str, now: float, snapshot: Snapshot
    ) -> Suppressed | None:
        entry = self._list.find(tenant, recipient, now, snapshot.suppression)
        if self._failed:
            self._failed = False
            log_event(log, logging.INFO, "suppression-back")
        self._count(CLEAR if entry is None else SUPPRESSED)
        return entry

    def _told(self, outcome: Outcome) -> Outcome:
        for event in outcome.events:
            self._tell(event)
            if outcome.delete:
                # A refusal is logged as such; of this, Postfix's log does not say a word.
                log_event(
                    log,
                    logging.INFO,
                    "delete-recipient",
                    queue_id=event.queue_id,
                    tenant=event.tenant,
                    sender=f"<{event.sender}>",
                    to=f"<{event.recipient}>",
                    reason=event.details["reason"],
                    since=event.details.get("since"),
                )
        return outcome

    def _unavailable(self, error: StoreUnavailable, verdict: Verdict) -> Verdict:
        self._count(UNKNOWN)
        if not self._failed:
            self._failed = True
            log_event(log, logging.WARNING, "suppression-unavailable", reason=str(error))
        return verdict
