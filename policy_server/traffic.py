"""Counts mail for bursts and backlogs, and refuses it where a backlog is full, for the handlers.

Purpose: what the policy server lets through is how fast a tenant sends.
Source: Postfix SMTPD_POLICY_README: ``instance`` is the same at all stages of a message.
Format: at RCPT TO a message counts with its first recipient that is let through, and each recipient
counts once. A message of a platform login counts when the milter has it admitted. Mail with a null
sender counts nowhere: at delivery it is no tenant's.
Limits: the last message of `_MAX_SESSIONS` smtpd(8) processes is remembered, and for more than that
none.
Errors: none.
Not handled: mail of sendmail(1) passes no policy service; the log tells of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from gatepost.decisions.backlog import asks_for_backlog, is_full, over_cap
from gatepost.decisions.recipient import Verdict
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from gatepost.traffic.burst import BurstRules, Cap
from gatepost.traffic.quota import Unit
from gatepost.traffic.state import TrafficState

_MAX_SESSIONS = 20_000


class Desk(TrafficState, Protocol):
    """Who measures; see `gatepost.runtime.traffic.bursts`."""

    def count(self, tenant_id: str, messages: int, recipients: int, rules: BurstRules) -> None:
        """Take note of mail that was let through."""

    def is_full(self, tenant_id: str, cap: Cap) -> bool:
        """Tell whether as much of a tenant is outstanding as may be; False where nobody knows."""

    def refused(self, tenant_id: str, mode: Mode) -> None:
        """Count mail that finds a full backlog."""


class TrafficCheck:
    """Counts and refuses.

    Attributes:
        state: What is known of the traffic.
    """

    def __init__(self, desk: Desk) -> None:
        self.state: TrafficState = desk
        self._desk = desk
        # Each smtpd(8) process has one message in hand; see `quota`.
        self._last: dict[str, str] = {}

    def recipient(
        self,
        verdict: Verdict,
        sender: str,
        instance: str,
        queue_id: str,
        snapshot: Snapshot,
        clock: Callable[[], float],
    ) -> Verdict:
        """Return the answer for one recipient at RCPT TO.

        Args:
            verdict: The answer so far.
            sender: Envelope sender.
            instance: Postfix's name for the message.
            queue_id: Queue id, or empty.
            snapshot: The configuration.
            clock: Returns Unix time in seconds.
        """
        cap = snapshot.bursts.cap_of(verdict.tenant)
        if cap is None or verdict.reject is not None:
            return verdict
        if not self._desk.is_full(verdict.tenant, cap):
            return verdict
        if cap.unit is Unit.MESSAGES and self._has_begun(instance):
            # It counts already, and one recipient more makes it no longer.
            return verdict
        return self._ask(verdict, sender, queue_id, snapshot, clock())

    def message(
        self, verdict: Verdict, sender: str, queue_id: str, snapshot: Snapshot, now: float
    ) -> Verdict:
        """Return the answer for a message of a platform login, as `recipient`."""
        if verdict.reject is not None:
            return verdict
        return self._ask(verdict, sender, queue_id, snapshot, now)

    def counted(
        self,
        answer: Verdict | Awaitable[Verdict],
        sender: str,
        instance: str,
        snapshot: Snapshot,
    ) -> Verdict | Awaitable[Verdict]:
        """Count a recipient if the answer lets it pass, now or when it is there; return it."""
        if not isinstance(answer, Verdict):
            return self._counted_later(answer, sender, instance, snapshot)
        if answer.reject is None and answer.tenant and sender:
            # Here and not in a function of its own, which costs as much as all of this.
            last, session = self._last, instance.partition(".")[0]
            if last.get(session) == instance:
                self._desk.count(answer.tenant, 0, 1, snapshot.bursts)
            else:
                if len(last) >= _MAX_SESSIONS:
                    last.clear()
                last[session] = instance
                self._desk.count(answer.tenant, 1, 1, snapshot.bursts)
        return answer

    def admitted(self, tenant_id: str, sender: str, recipients: int, snapshot: Snapshot) -> None:
        """Count a message of a platform login."""
        if sender:
            self._desk.count(tenant_id, 1, recipients, snapshot.bursts)

    async def _counted_later(
        self, answer: Awaitable[Verdict], sender: str, instance: str, snapshot: Snapshot
    ) -> Verdict:
        verdict = await answer
        self.counted(verdict, sender, instance, snapshot)
        return verdict

    def _has_begun(self, instance: str) -> bool:
        return self._last.get(instance.partition(".")[0]) == instance

    def _ask(
        self, verdict: Verdict, sender: str, queue_id: str, snapshot: Snapshot, now: float
    ) -> Verdict:
        tenant = asks_for_backlog(verdict.tenant, sender, snapshot)
        if tenant is None:
            return verdict
        cap, backlog = snapshot.bursts.cap_of(tenant.id), self._desk.backlog(tenant.id)
        if cap is None or backlog is None or not is_full(backlog, cap):
            return verdict
        self._desk.refused(tenant.id, tenant.modes.quota)
        return over_cap(verdict, tenant, backlog, cap, now, queue_id=queue_id, sender=sender)
