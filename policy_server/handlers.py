"""From wire requests to decisions and back: what the two sockets of the policy server answer.

Purpose: fill in facts, call the decision, put its answer into the protocol's words, and count.
Source: Postfix SMTPD_POLICY_README, access(5), socketmap_table(5).
Errors: `Unavailable` passes through to the pump, which turns it into TEMP on a map and a closed
connection on the policy socket; Postfix then uses its default_action.
Security: the answer to Postfix is DUNNO, PREPEND or a refusal, and never OK or PERMIT.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.reachability import asks_for_sights, decide_reachability
from gatepost.decisions.recipient import Verdict, admit, decide_recipient, nexthop_of
from gatepost.decisions.suppression import Outcome
from gatepost.decisions.tlsmap import PROFILE_PREFIX, TLS_MAP, lane_of_map
from gatepost.decisions.transport import decide_transport
from gatepost.decisions.warmup import handed_out
from gatepost.errors import Unavailable
from gatepost.feedback.session import SESSION_HEADER
from gatepost.feedback.status import NO_STATUSES, Statuses
from gatepost.modes import Recorder
from gatepost.postfix_version import PostfixVersion
from gatepost.runtime.log import clean, log_event
from gatepost.runtime.traffic.warmups import WarmupDesk
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import fold_login
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.reachability import NO_SIGHTS, Sights
from gatepost.traffic.state import NO_TRAFFIC, TrafficState
from gatepost.wire.policy import (
    DELETE,
    AccessRequest,
    Action,
    AdmitRequest,
    PolicyReply,
    PolicyRequest,
)
from gatepost.wire.socketmap import NotFound, Ok, Perm, Reply, Request, Temp
from policy_server.quota import QuotaCheck, client_of
from policy_server.shaping import ShapingCheck
from policy_server.suppression import SuppressionCheck
from policy_server.tls_maps import Destinations, TlsMaps
from policy_server.traffic import TrafficCheck

TRANSPORT_MAP = "transport"
INSTANCE_PREFIX = f"{TRANSPORT_MAP}@"

log = logging.getLogger("gatepost.policy")

_DUNNO = Action("DUNNO")


class Counts(Protocol):
    """Where answers are counted."""

    def policy(self, verdict: str) -> None:
        """Count one policy answer: ``dunno``, ``prepend``, ``hold`` or ``reject``."""

    def lookup(self, map_name: str, result: str) -> None:
        """Count one map answer: ``ok``, ``notfound``, ``temp`` or ``perm``."""


class SightsOf(Protocol):
    """What was seen of mail servers, by recipient domain."""

    def known(self, domain: str) -> Sights | None:
        """Return what is known, or None if somebody has to look first."""

    async def look(self, domain: str) -> Sights:
        """Return what is known, after a look."""


class Handlers:
    """The handlers of both sockets.

    Args:
        current: Returns the snapshot in force.
        recorder: Takes observations.
        counts: Where answers are counted.
        clock: Unix time in seconds.
        version: The Postfix that asks.
        operator: What it asks for itself of every delivery.
        destinations: What is known of destinations, or None if nothing ever is.
        sights: What was seen of their mail servers, or None if nobody ever looks.
        statuses: Returns which tenants are warned, slowed down or paused.
        suppression: Looks recipients up, or None if nobody does.

    Attributes:
        quota: Counts messages, or None if nobody does.
        shaping: Holds back deliveries of slowed pairs, or None if nobody does.
        warmups: Counts what is handed out to lanes in warm-up, or None if nobody does.
        queue: Last part of Postfix's queue directory.
    """

    def __init__(
        self,
        current: Callable[[], Snapshot],
        recorder: Recorder,
        counts: Counts,
        clock: Callable[[], float],
        version: PostfixVersion,
        operator: OperatorTls = ASKS_NOTHING,
        *,
        destinations: Destinations | None = None,
        sights: SightsOf | None = None,
        statuses: Callable[[], Statuses] = lambda: NO_STATUSES,
        suppression: SuppressionCheck | None = None,
    ) -> None:
        self._current = current
        self._recorder = recorder
        self._counts = counts
        self._clock = clock
        self._tls = TlsMaps(version, operator, clock, destinations)
        self._operator = operator
        self._sights = sights
        self._statuses = statuses
        self._suppression = suppression
        self._traffic: TrafficCheck | None = None
        self._state: TrafficState = NO_TRAFFIC
        self.quota: QuotaCheck | None = None
        self.shaping: ShapingCheck | None = None
        self.warmups: WarmupDesk | None = None
        self.queue = "postfix"

    def measure(self, traffic: TrafficCheck) -> None:
        """Have it measured how fast tenants send, and go by what that tells."""
        self._traffic, self._state = traffic, traffic.state

    def postfix_is(self, version: PostfixVersion, operator: OperatorTls) -> None:
        """Take note of what Postfix has become."""
        self._operator = operator
        self._tls.postfix_is(version, operator)

    def policy(self, request: PolicyRequest) -> PolicyReply | Awaitable[PolicyReply]:
        """Answer one request on the policy socket, at once or later."""
        if isinstance(request, AdmitRequest):
            return self._admit(request)
        if request.protocol_state == "RCPT":
            return self._rcpt(request)
        if request.protocol_state == "END-OF-MESSAGE" and self.quota is not None:
            answer = self.quota.end_of_message(request, self._current(), self._clock())
            return self._finish_counted(answer, request.queue_id, request.sender)
        # A check that the operator put into another restriction list has nothing to say.
        self._counts.policy("dunno")
        return _DUNNO

    def _rcpt(self, request: AccessRequest) -> PolicyReply | Awaitable[PolicyReply]:
        facts = RecipientFacts(
            client_of(request), request.sender, request.recipient, request.queue_id
        )
        snapshot = self._current()
        now = self._clock()
        verdict = decide_recipient(facts, snapshot, now, self._statuses(), self._state)
        if self._suppression is not None and self._suppression.may_hold(verdict.tenant):
            verdict = self._suppression.recipient(verdict, facts, request.instance, snapshot, now)
        if self._sights is None or self._operator.relays:
            return self._finish_rcpt(verdict, facts, request.instance, snapshot)
        domain = asks_for_sights(verdict, facts, snapshot)
        if domain is None:
            return self._finish_rcpt(verdict, facts, request.instance, snapshot)
        sights = self._sights.known(domain)
        if sights is None:
            look = self._sights.look(domain)
            return self._finish_seen(verdict, facts, request.instance, snapshot, look)
        verdict = self._reachable(verdict, facts, snapshot, sights)
        return self._finish_rcpt(verdict, facts, request.instance, snapshot)

    def _finish_rcpt(
        self, verdict: Verdict, facts: RecipientFacts, instance: str, snapshot: Snapshot
    ) -> PolicyReply | Awaitable[PolicyReply]:
        measures = self._traffic if snapshot.bursts.any else None
        if measures is not None:
            verdict = measures.recipient(
                verdict, facts.sender, instance, facts.queue_id, snapshot, self._clock
            )
        answer: Verdict | Awaitable[Verdict] = verdict
        if self.quota is not None and snapshot.quotas.any:
            # The last, so that nothing is reserved for what another check refuses.
            answer = self.quota.recipient(verdict, facts, instance, snapshot, self._clock())
        if measures is not None:
            answer = measures.counted(answer, facts.sender, instance, snapshot)
        return self._finish_counted(answer, facts.queue_id, facts.sender, facts.recipient)

    async def _finish_seen(
        self,
        verdict: Verdict,
        facts: RecipientFacts,
        instance: str,
        snapshot: Snapshot,
        look: Awaitable[Sights],
    ) -> PolicyReply:
        verdict = self._reachable(verdict, facts, snapshot, await look)
        reply = self._finish_rcpt(verdict, facts, instance, snapshot)
        return await reply if isinstance(reply, Awaitable) else reply

    def _reachable(
        self, verdict: Verdict, facts: RecipientFacts, snapshot: Snapshot, sights: Sights
    ) -> Verdict:
        if sights is NO_SIGHTS and not snapshot.tls.discovers:
            return verdict
        knowledge = self._tls.remembered(nexthop_of(facts.recipient), snapshot)
        return decide_reachability(
            verdict, facts, snapshot, self._clock(), sights, knowledge, self._operator
        )

    def lookup(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer one request on the map socket, at once or later."""
        name = request.map_name
        snapshot = self._current()
        result: str | Awaitable[str | None] | None
        try:
            if name == TRANSPORT_MAP or name.startswith(INSTANCE_PREFIX):
                result = self._transport(request, snapshot)
            elif name == TLS_MAP or name.startswith(PROFILE_PREFIX):
                name, lane = lane_of_map(name)
                shaping = self.shaping
                if shaping is not None and shaping.concerns(lane, request.key, snapshot):
                    return self._in_turn(shaping, name, lane or "", request.key, snapshot)
                result = self._tls.policy(name, request.key, snapshot)
            else:
                self._counts.lookup("other", "perm")
                return Perm(f"no such map: {clean(name, 60)}")
        except Unavailable:
            self._count_temp(name, snapshot)
            raise
        if result is None or isinstance(result, str):
            return self._found(name, result)
        return self._found_later(name, result, snapshot)

    def _transport(self, request: Request, snapshot: Snapshot) -> str | None:
        within = request.map_name.partition("@")[2] or None
        route = decide_transport(
            request.key,
            snapshot,
            self._clock(),
            self._statuses(),
            within=within,
            traffic=self._state,
        )
        if self.warmups is not None and within is None and snapshot.warmups:
            self.warmups.hand_out(handed_out(route, snapshot))
        return route.answer(self.queue)

    async def _in_turn(
        self, shaping: ShapingCheck, name: str, lane: str, key: str, snapshot: Snapshot
    ) -> Reply:
        """Answer a TLS map once the delivery may go, or send it back."""
        refusal = await shaping.admit(lane, key, snapshot)
        if refusal is not None:
            self._count_temp(name, snapshot)
            return Temp(refusal)
        try:
            policy = self._tls.policy(name, key, snapshot)
        except Unavailable:
            self._count_temp(name, snapshot)
            raise
        if policy is None or isinstance(policy, str):
            return self._found(name, policy)
        return await self._found_later(name, policy, snapshot)

    async def _found_later(
        self, name: str, result: Awaitable[str | None], snapshot: Snapshot
    ) -> Reply:
        try:
            return self._found(name, await result)
        except Unavailable:
            self._count_temp(name, snapshot)
            raise

    def _found(self, name: str, result: str | None) -> Reply:
        label = TRANSPORT_MAP if name.startswith(INSTANCE_PREFIX) else name
        if result is None:
            self._counts.lookup(label, "notfound")
            return NotFound()
        self._counts.lookup(label, "ok")
        return Ok(result)

    def _count_temp(self, name: str, snapshot: Snapshot) -> None:
        if name.startswith(INSTANCE_PREFIX):
            name = TRANSPORT_MAP
        known = name in {TRANSPORT_MAP, TLS_MAP} or (
            name.removeprefix(PROFILE_PREFIX) in snapshot.tls.profiles
        )
        # A label for each name that somebody made up would have no bound.
        self._counts.lookup(name if known else "other", "temp")

    def _admit(self, request: AdmitRequest) -> PolicyReply | Awaitable[PolicyReply]:
        snapshot, now = self._current(), self._clock()
        tenant = snapshot.tenants.by_id.get(request.tenant)
        login = snapshot.tenants.platform.get(fold_login(request.sasl_username))
        if tenant is not None and login is None and request.campaign and self.quota is not None:
            # All else was decided at RCPT TO.
            answer = self.quota.campaign(tenant, request, snapshot, now)
            return self._finish_counted(answer, request.queue_id, request.sender)
        if tenant is None or login is None or not login.may(request.tenant):
            # The milter decided by another configuration than we have; one of the two is about
            # to be reloaded.
            raise Unavailable(
                f"login {clean(request.sasl_username, 60)} may not act for {request.tenant}"
            )
        verdict = admit(
            tenant,
            request.sender,
            request.recipients,
            request.queue_id,
            snapshot,
            now,
            statuses=self._statuses(),
            traffic=self._state,
        )
        if self._traffic is not None and snapshot.bursts.any:
            verdict = self._traffic.message(
                verdict, request.sender, request.queue_id, snapshot, now
            )
        found: Outcome | Awaitable[Outcome] = Outcome(verdict)
        if self._suppression is not None and self._suppression.may_hold(verdict.tenant):
            found = self._suppression.message(verdict, request, snapshot, now)
        if isinstance(found, Outcome):
            return self._count_admitted(found, request, snapshot, now)
        return self._count_admitted_later(found, request, snapshot, now)

    async def _count_admitted_later(
        self, found: Awaitable[Outcome], request: AdmitRequest, snapshot: Snapshot, now: float
    ) -> PolicyReply:
        reply = self._count_admitted(await found, request, snapshot, now)
        return await reply if isinstance(reply, Awaitable) else reply

    def _count_admitted(
        self, outcome: Outcome, request: AdmitRequest, snapshot: Snapshot, now: float
    ) -> PolicyReply | Awaitable[PolicyReply]:
        counted: Verdict | Awaitable[Verdict] = outcome.verdict
        if self.quota is not None:
            counted = self.quota.message(
                outcome.verdict, request, snapshot, now, len(outcome.delete)
            )
        if isinstance(counted, Verdict):
            return self._finish_admitted(counted, outcome, request)
        return self._finish_admitted_later(counted, outcome, request)

    async def _finish_admitted_later(
        self, answer: Awaitable[Verdict], outcome: Outcome, request: AdmitRequest
    ) -> PolicyReply:
        return self._finish_admitted(await answer, outcome, request)

    def _finish_admitted(
        self, counted: Verdict, outcome: Outcome, request: AdmitRequest
    ) -> PolicyReply:
        reply = self._finish(counted, request.queue_id, request.sender)
        snapshot = self._current()
        if self._traffic is not None and snapshot.bursts.any and counted.reject is None:
            left = len(request.recipients) - len(outcome.delete)
            self._traffic.admitted(counted.tenant, request.sender, left, snapshot)
        deletes = counted.reject is None and outcome.delete
        return Action(format_delete(outcome.delete)) if deletes else reply

    def _finish_counted(
        self, answer: Verdict | Awaitable[Verdict], queue_id: str, sender: str, recipient: str = ""
    ) -> PolicyReply | Awaitable[PolicyReply]:
        """Finish now, or when shared counters have answered."""
        if isinstance(answer, Verdict):
            return self._finish(answer, queue_id, sender, recipient)
        return self._finish_later(answer, queue_id, sender, recipient)

    async def _finish_later(
        self, answer: Awaitable[Verdict], queue_id: str, sender: str, recipient: str
    ) -> PolicyReply:
        return self._finish(await answer, queue_id, sender, recipient)

    def _finish(
        self, verdict: Verdict, queue_id: str, sender: str, recipient: str = ""
    ) -> PolicyReply:
        for observation in verdict.observations:
            self._recorder.record(observation)
        if verdict.reject is not None or verdict.hold is not None:
            return self._stop(verdict, queue_id, sender, recipient)
        if verdict.prepend is not None:
            self._counts.policy("prepend")
            return Action(f"PREPEND {SESSION_HEADER}: {verdict.prepend}")
        self._counts.policy("dunno")
        return _DUNNO

    def _stop(self, verdict: Verdict, queue_id: str, sender: str, recipient: str) -> PolicyReply:
        """Refuse or hold, with a log line."""
        if verdict.reject is not None:
            word, reason = "reject", verdict.reject.text
            action = format_reject(verdict.reject)
        else:
            word, reason = "hold", verdict.hold or ""
            action = f"HOLD {reason}"
        log_event(
            log,
            logging.INFO,
            word,
            queue_id=queue_id or "NOQUEUE",
            tenant=verdict.tenant or "-",
            sender=f"<{sender}>",
            to=f"<{recipient}>" if recipient else None,
            reason=reason,
        )
        self._counts.policy(word)
        return Action(action)


def format_reject(reject: Reject) -> str:
    """Return a refusal in the words of access(5): code, enhanced status, text."""
    return f"{reject.code} {reject.status} {reject.text}"


def format_delete(indices: Iterable[int]) -> str:
    """Return what tells the milter to delete recipients, by their indices from 0."""
    return " ".join((DELETE, *(str(index + 1) for index in indices)))
