"""Asks the counters of quotas, for the handlers.

Purpose: reserve at RCPT TO, count at the end of the message, say why there is no room. Counters in
memory answer at once, and so does this; where they are shared, what it returns may have to be
waited for.
Source: Postfix SMTPD_POLICY_README: ``instance`` is the same at all stages of a message, and
``recipient_count`` is known at END-OF-MESSAGE.
Format of ``instance``: it begins with the process id of smtpd(8), which handles one message at a
time; another instance of the same process means that the one before is over. Should Postfix ever
change that, a reservation may end too early, and the end of the message looks again.
Errors: none.
Not handled: mail of sendmail(1), which passes no policy service and is not counted. Of what a
milter or header_checks refuses after END-OF-MESSAGE, Postfix tells no policy service; who reads
the log calls `refused`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.quota import (
    asks_for_quota,
    campaign_claims,
    claims_of,
    holds,
    over_quota,
    waits_at_rcpt,
)
from gatepost.decisions.recipient import Verdict
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.identity import identify
from gatepost.tenants.model import Tenant
from gatepost.traffic.counters import Amount, Counters, Holder, SharedCounters
from gatepost.traffic.quota import STEPS, Claim, Shortage, Unit
from gatepost.wire.policy import AccessRequest, AdmitRequest

_MAX_KEPT = 100_000
_MAX_MESSAGES = 20_000
_ONE = Amount(1, 1)

# What counters answer, and what is made of it.
_Answer = Shortage | Awaitable[Shortage | None] | None
_Finish = Callable[[Shortage | None], Verdict]


class QuotaCheck:
    """Reserves and counts.

    Args:
        counters: The counters.
        steady: Their clock.
        count: Counts a result of a tenant; see `gatepost.runtime.traffic.quotas.RESULTS`.
    """

    def __init__(
        self,
        counters: Counters | SharedCounters,
        steady: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._counters = counters
        self._steady = steady
        self._count = count
        self._made_for: Snapshot | None = None
        self._made: dict[tuple[str, str], tuple[Claim, ...]] = {}
        # By queue id, under which names the last ones were counted: at most twice, for the
        # tenant and for the campaign.
        self._messages: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        # Recipients that were let through, of each smtpd(8) process's present message.
        self._recipients: dict[str, tuple[str, int]] = {}

    def recipient(
        self, verdict: Verdict, facts: RecipientFacts, instance: str, snapshot: Snapshot, now: float
    ) -> Verdict | Awaitable[Verdict]:
        """Return the answer for one recipient at RCPT TO.

        Args:
            verdict: The answer so far.
            facts: The RCPT TO.
            instance: Postfix's name for the message.
            snapshot: The configuration.
            now: Unix time in seconds.
        """
        session = session_of(instance)
        tenant = None
        if verdict.reject is None:
            tenant = asks_for_quota(verdict.tenant, facts.sender, snapshot)
        claims: tuple[Claim, ...] = ()
        if tenant is not None and waits_at_rcpt(tenant, snapshot):
            claims = self._claims(tenant, facts.client.login, snapshot)
        if tenant is None or not claims:
            # What this process handled before has ended all the same.
            self._counters.release(session, instance)
            return verdict
        amount = self._amount(session, instance, claims)
        answer = self._counters.reserve(Holder(session, instance), claims, amount, self._steady())
        if answer is None:
            return verdict
        over_for = tenant

        def finish(shortage: Shortage | None) -> Verdict:
            if shortage is None:
                return verdict
            if amount is not _ONE:
                # It is as if this one had not been asked for.
                self._recipients[session] = (instance, amount.recipients - 1)
            if shortage.opens_in_s is None:
                # Its recipients are too many for one message; in the next there may be room.
                window_s = shortage.claim.limit.window_s
                shortage = replace(shortage, opens_in_s=window_s * (1 + 1 / STEPS))
            return self._over(verdict, over_for, shortage, now, facts.queue_id, facts.sender)

        return _finished(answer, finish)

    def _amount(self, session: str, instance: str, claims: tuple[Claim, ...]) -> Amount:
        """Return how much a message is with one recipient more than before."""
        if not any(claim.limit.unit is Unit.RECIPIENTS for claim in claims):
            return _ONE
        before = self._recipients.get(session)
        recipients = before[1] + 1 if before is not None and before[0] == instance else 1
        if len(self._recipients) >= _MAX_KEPT:
            self._recipients.clear()
        self._recipients[session] = (instance, recipients)
        return Amount(1, recipients)

    def end_of_message(
        self, request: AccessRequest, snapshot: Snapshot, now: float
    ) -> Verdict | Awaitable[Verdict]:
        """Return the answer at the end of a message.

        Args:
            request: Postfix's question.
            snapshot: The configuration.
            now: Unix time in seconds.
        """
        found = identify(client_of(request), snapshot.tenants).tenant
        verdict = Verdict("" if found is None else found.id)
        tenant = asks_for_quota(verdict.tenant, request.sender, snapshot)
        if tenant is None:
            return verdict
        claims = self._claims(tenant, request.sasl_username, snapshot)
        if not claims:
            return verdict
        instance = request.instance
        holder = Holder(session_of(instance), instance)
        answer = self._counters.commit(
            holder, claims, Amount(1, max(request.recipient_count, 1)), self._steady()
        )
        counted_for = tenant

        def finish(shortage: Shortage | None) -> Verdict:
            if shortage is None:
                self._count("room", counted_for.id)
                self._remember(request.queue_id, instance)
                return verdict
            hold = holds(counted_for, snapshot)
            return self._over(
                verdict, counted_for, shortage, now, request.queue_id, request.sender, hold=hold
            )

        return _finished(answer, finish)

    def message(
        self, verdict: Verdict, request: AdmitRequest, snapshot: Snapshot, now: float, deleted: int
    ) -> Verdict | Awaitable[Verdict]:
        """Return the answer for a message of a platform login.

        Args:
            verdict: The answer so far.
            request: The milter's question.
            snapshot: The configuration.
            now: Unix time in seconds.
            deleted: How many of its recipients are going to be deleted.
        """
        tenant = asks_for_quota(verdict.tenant, request.sender, snapshot)
        if verdict.reject is not None or tenant is None:
            return verdict
        claims = self._claims(tenant, request.sasl_username, snapshot)
        claims += campaign_claims(tenant, request.campaign, snapshot)
        return self._count_admitted(verdict, tenant, claims, request, now, deleted)

    def campaign(
        self, tenant: Tenant, request: AdmitRequest, snapshot: Snapshot, now: float
    ) -> Verdict | Awaitable[Verdict]:
        """Return the answer for a message that was counted already, but for its campaign."""
        verdict = Verdict(tenant.id)
        if asks_for_quota(tenant.id, request.sender, snapshot) is None:
            return verdict
        claims = campaign_claims(tenant, request.campaign, snapshot)
        return self._count_admitted(verdict, tenant, claims, request, now, 0, counted=True)

    def refused(self, queue_id: str) -> bool:
        """Count a message no more that others refused after its end; tell whether it was known."""
        now = self._steady()
        messages = self._messages.pop(queue_id, ())
        return sum(self._counters.refund(message, now) for message in messages) > 0

    def _remember(self, queue_id: str, message: str) -> None:
        self._messages[queue_id] = (*self._messages.get(queue_id, ()), message)
        self._messages.move_to_end(queue_id)
        if len(self._messages) > _MAX_MESSAGES:
            self._messages.popitem(last=False)

    def _count_admitted(
        self,
        verdict: Verdict,
        tenant: Tenant,
        claims: tuple[Claim, ...],
        request: AdmitRequest,
        now: float,
        deleted: int,
        *,
        counted: bool = False,
    ) -> Verdict | Awaitable[Verdict]:
        """Count a message that the milter asks for; `counted` if part of it was before."""
        if not claims:
            return verdict
        # A milter that gets no answer asks again.
        name = f"{request.queue_id} {request.message}"
        amount = Amount(1, len(request.recipients) - deleted)
        answer = self._counters.commit(Holder(name, name), claims, amount, self._steady())

        def finish(shortage: Shortage | None) -> Verdict:
            if shortage is None:
                self._count("room", tenant.id)
                self._remember(request.queue_id, name)
                return verdict
            over = self._over(verdict, tenant, shortage, now, request.queue_id, request.sender)
            if counted and over.reject is not None:
                self.refused(request.queue_id)
            return over

        return _finished(answer, finish)

    def _claims(self, tenant: Tenant, login: str, snapshot: Snapshot) -> tuple[Claim, ...]:
        if self._made_for is not snapshot or len(self._made) >= _MAX_KEPT:
            self._made_for, self._made = snapshot, {}
        key = (tenant.id, login)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = claims_of(tenant, login, snapshot)
        return made

    def _over(
        self,
        verdict: Verdict,
        tenant: Tenant,
        shortage: Shortage,
        now: float,
        queue_id: str,
        sender: str,
        *,
        hold: bool = False,
    ) -> Verdict:
        answer = over_quota(
            verdict, tenant, shortage, now, queue_id=queue_id, sender=sender, hold=hold
        )
        if tenant.modes.quota is Mode.OBSERVE:
            self._count("observed", tenant.id)
        else:
            self._count("over" if answer.hold is None else "held", tenant.id)
        return answer


def _finished(answer: _Answer, finish: _Finish) -> Verdict | Awaitable[Verdict]:
    """Return what is made of an answer, now or when it is there."""
    if answer is None or isinstance(answer, Shortage):
        return finish(answer)
    return _finished_later(answer, finish)


async def _finished_later(answer: Awaitable[Shortage | None], finish: _Finish) -> Verdict:
    return finish(await answer)


def session_of(instance: str) -> str:
    """Return what of an instance names the smtpd(8) process."""
    return instance.partition(".")[0]


def client_of(request: AccessRequest) -> Client:
    """Return who asks to send."""
    return Client(
        login=request.sasl_username,
        certificate=request.ccert_fingerprint,
        address=request.client_address,
        port=request.client_port,
        listener=request.policy_context,
    )
