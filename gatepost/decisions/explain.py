"""One sender to recipient pair, every decision and why: the live decisions, one after another.

Purpose: ``gatepost explain`` must never tell a story of its own, so this calls the very functions
that the policy server, the milter and the maps call, and keeps what they say.
Errors: none; trouble that would make mail wait is part of the explanation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gatepost.decisions.actions import ChangeSender, Plan
from gatepost.decisions.backlog import decide_backlog
from gatepost.decisions.facts import Header, MessageFacts, RecipientFacts
from gatepost.decisions.lane import LaneChoice, choose_lane
from gatepost.decisions.message import decide_message
from gatepost.decisions.reachability import asks_for_sights, decide_reachability
from gatepost.decisions.recipient import Verdict, admit, decide_recipient, nexthop_of
from gatepost.decisions.suppression import (
    Occasion,
    asks_for_suppression,
    decide_message_suppressed,
    decide_suppressed,
)
from gatepost.decisions.tlsmap import PROFILE_PREFIX, TLS_MAP, answer_tls, decide_policy
from gatepost.decisions.transport import Route, decide_transport
from gatepost.errors import Unavailable
from gatepost.feedback.session import SESSION_HEADER
from gatepost.feedback.status import NO_STATUSES, Statuses
from gatepost.feedback.suppression import Suppressed
from gatepost.modes import Modes
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.model import Tenant
from gatepost.tls.answer import NO_OPINION, TlsAnswer
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.reachability import NO_SIGHTS, Sights
from gatepost.traffic.state import NO_TRAFFIC, TrafficState


@dataclass(frozen=True, slots=True)
class Case:
    """The pair to explain.

    Attributes:
        client: Who is connected.
        sender: Envelope sender, empty for the null sender.
        recipient: Envelope recipient.
        headers: Header fields of the message.
        nexthop: Next-hop to ask the TLS map for; None for the recipient's domain.
    """

    client: Client
    sender: str
    recipient: str
    headers: tuple[Header, ...] = ()
    nexthop: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that was decided.

    Attributes:
        tenant: Tenant id, empty for unidentified mail.
        modes: The modes in force: the tenant's, or the defaults for unidentified mail.
        rcpt: The RCPT TO check.
        plan: The milter's plan, or None if RCPT TO already refused.
        admission: The end-of-message check of a platform login's message, or None.
        delivery_sender: The envelope sender with which Postfix asks the maps.
        route: The transport map's answer, or None if mail waits or was refused.
        map_name: The TLS map that the delivery asks.
        nexthop: The key that it asks for.
        tls: The TLS answer.
        policy: The answer in Postfix's words, or None for no opinion.
        waits: Why mail would wait in the queue, or None.
        lane: Which lane the tenant's mail takes, and why; None where no tenant is known.
    """

    tenant: str
    modes: Modes
    rcpt: Verdict
    plan: Plan | None = None
    admission: Verdict | None = None
    delivery_sender: str = ""
    route: Route | None = None
    map_name: str = ""
    nexthop: str = ""
    tls: TlsAnswer = NO_OPINION
    policy: str | None = None
    waits: str | None = None
    lane: LaneChoice | None = None

    @property
    def refused(self) -> bool:
        """Tell whether some check refuses the message."""
        checks = (self.rcpt, self.plan, self.admission)
        return any(check is not None and check.reject is not None for check in checks)


def explain(
    case: Case,
    snapshot: Snapshot,
    version: PostfixVersion,
    now: float,
    operator: OperatorTls = ASKS_NOTHING,
    knowledge: Knowledge | None = None,
    sights: Sights = NO_SIGHTS,
    *,
    statuses: Statuses = NO_STATUSES,
    suppressed: Callable[[str], Suppressed | None] = lambda _tenant: None,
    traffic: TrafficState = NO_TRAFFIC,
) -> Explanation:
    """Return every decision about one message to one recipient.

    Args:
        case: The message and the recipient.
        snapshot: The configuration.
        version: The Postfix that would ask.
        now: Unix time in seconds.
        operator: What Postfix itself asks of every delivery.
        knowledge: What was found out about the next-hop, or None if nobody looked.
        sights: What was seen of the mail servers of the recipient's domain.
        statuses: Which tenants are warned, slowed down or paused.
        suppressed: Returns what the suppression list of a tenant says of the recipient.
        traffic: Which tenants are in burst, and what of them is outstanding.
    """
    told = _Telling(
        case, snapshot, version, now, operator, knowledge, sights, statuses, suppressed, traffic
    )
    rcpt = told.at_rcpt()
    if rcpt.reject is not None:
        return Explanation(rcpt.tenant, _modes(rcpt.tenant, snapshot), rcpt)
    plan, admission = told.at_end(rcpt)
    found = Explanation(plan.tenant, _modes(plan.tenant, snapshot), rcpt, plan, admission)
    return found if found.refused else told.with_delivery(found, plan)


@dataclass(frozen=True, slots=True)
class _Telling:
    """What `explain` was asked; each method makes the decisions of one moment of a message."""

    case: Case
    snapshot: Snapshot
    version: PostfixVersion
    now: float
    operator: OperatorTls
    knowledge: Knowledge | None
    sights: Sights
    statuses: Statuses
    suppressed: Callable[[str], Suppressed | None]
    traffic: TrafficState

    @property
    def occasion(self) -> Occasion:
        """Return what names the message where it is told of."""
        return Occasion(self.case.sender, "", "EXPLAIN")

    def at_rcpt(self) -> Verdict:
        """Return what the policy server says of the recipient."""
        case, snapshot, now = self.case, self.snapshot, self.now
        asked = RecipientFacts(case.client, case.sender, case.recipient)
        rcpt = decide_recipient(asked, snapshot, now, self.statuses, self.traffic)
        listed = asks_for_suppression(rcpt, case.sender, snapshot)
        if listed is not None:
            found = self.suppressed(listed.id)
            rcpt = decide_suppressed(
                rcpt, listed, self.occasion, case.recipient, found, now
            ).verdict
        if not self.operator.relays and asks_for_sights(rcpt, asked, snapshot) is not None:
            rcpt = decide_reachability(
                rcpt, asked, snapshot, now, self.sights, self.knowledge, self.operator
            )
        return decide_backlog(rcpt, case.sender, snapshot, now, self.traffic)

    def at_end(self, rcpt: Verdict) -> tuple[Plan, Verdict | None]:
        """Return what the milter does and, where it asks, what the policy server says."""
        case, snapshot, now = self.case, self.snapshot, self.now
        # A milter does not see the certificate; it reads the session header.
        seen = replace(case.client, certificate="")
        facts = MessageFacts(
            seen, "explain", "EXPLAIN", case.sender, (case.recipient,), _with_session(case, rcpt)
        )
        plan = decide_message(facts, snapshot, now, self.statuses)
        if plan.reject is not None or not plan.ask_admission:
            return plan, None
        tenant = snapshot.tenants.by_id[plan.tenant]
        admission = self._admitted(tenant)
        if asks_for_suppression(admission, case.sender, snapshot) is not None:
            admission = decide_message_suppressed(
                admission,
                tenant,
                self.occasion,
                facts.recipients,
                [self.suppressed(tenant.id)],
                now,
            ).verdict
        return plan, admission

    def _admitted(self, tenant: Tenant) -> Verdict:
        """Return what is said of a whole message whose tenant only the milter knows."""
        case, snapshot, now, traffic = self.case, self.snapshot, self.now, self.traffic
        verdict = admit(
            tenant,
            case.sender,
            (case.recipient,),
            "",
            snapshot,
            now,
            statuses=self.statuses,
            traffic=traffic,
        )
        return decide_backlog(verdict, case.sender, snapshot, now, traffic)

    def with_delivery(self, found: Explanation, plan: Plan) -> Explanation:
        """Return an explanation with what the maps answer, or why the message waits."""
        case, snapshot, now = self.case, self.snapshot, self.now
        sender = next(
            (action.address for action in plan.actions if isinstance(action, ChangeSender)),
            case.sender,
        )
        found = replace(found, delivery_sender=sender)
        nexthop = case.nexthop or nexthop_of(case.recipient)
        try:
            route = decide_transport(sender, snapshot, now, self.statuses, traffic=self.traffic)
            name = _map_name(route, snapshot)
            answer = answer_tls(name, nexthop, snapshot, self.operator, self.knowledge, now)
            policy = decide_policy(
                name, nexthop, snapshot, self.version, self.operator, self.knowledge, now
            )
        except Unavailable as error:
            return replace(found, waits=str(error))
        return replace(
            found,
            route=route,
            map_name=name,
            nexthop=nexthop,
            tls=answer,
            policy=policy,
            lane=self._lane_of(route),
        )

    def _lane_of(self, route: Route) -> LaneChoice | None:
        """Return the lane of a route's tenant, and why; None if it has no tenant."""
        tenant = route.tenant
        if tenant is None:
            return None
        return choose_lane(tenant, self.snapshot, self.statuses, self.traffic)


def _modes(tenant_id: str, snapshot: Snapshot) -> Modes:
    tenant = snapshot.tenants.by_id.get(tenant_id)
    return tenant.modes if tenant is not None else snapshot.modes


def _with_session(case: Case, rcpt: Verdict) -> tuple[Header, ...]:
    """Return the headers as the milter would see them after the policy server's PREPEND."""
    if rcpt.prepend is None:
        return case.headers
    return (Header(SESSION_HEADER, rcpt.prepend), *case.headers)


def _map_name(route: Route, snapshot: Snapshot) -> str:
    if route.service is None or route.nexthop:
        return TLS_MAP
    return PROFILE_PREFIX + snapshot.services[route.service][1]
