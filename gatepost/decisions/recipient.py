"""The RCPT TO check: may this client send from this sender, and what would become of it.

Purpose: refuse while the client still holds the message, and observe there, since RCPT TO is the
only place where Postfix shows tenant, sender and recipient together.
Source: Postfix SMTPD_POLICY_README; RFC 5321 §4.2.3; RFC 3463 §3.8.
Errors: none; trouble is the adapter's.
Security: the answer is never OK, which would skip the operator's own restrictions. The null sender
is never refused for good: a refused bounce is a lost one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.lane import wanted_lane
from gatepost.decisions.status import Hold, hold_all, hold_recipients, slow_lane
from gatepost.decisions.transport import effective_pair
from gatepost.decisions.unknown import REFUSAL, is_refused
from gatepost.domains import domain_of
from gatepost.errors import MalformedMessage
from gatepost.feedback.session import seal_session
from gatepost.feedback.status import NO_STATUSES, Status, Statuses
from gatepost.feedback.token import Purpose, open_token
from gatepost.modes import MAX_DETAIL, Feature, Mode, Modes, Observation
from gatepost.snapshot import Snapshot
from gatepost.tenants.identity import Evidence, Identity, identify
from gatepost.tenants.model import DEFAULT_PROFILE, Tenant
from gatepost.tenants.ownership import refusal, sender_domain_allowed
from gatepost.tls.answer import decide_tls
from gatepost.traffic.lanes import DEFAULT_LANE, service_name
from gatepost.traffic.state import NO_TRAFFIC, TrafficState


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy server answers.

    Attributes:
        tenant: Tenant id, empty for unidentified mail and for platform logins.
        reject: Set when the recipient is refused; otherwise Postfix goes on as if not asked.
        prepend: Value of the session header that tells the milter about a client certificate.
        hold: Why Postfix is to put the message on hold, or None.
        observations: What features in observe mode would have done.
        reasons: One sentence per step, for `explain`.
    """

    tenant: str = ""
    reject: Reject | None = None
    prepend: str | None = None
    observations: tuple[Observation, ...] = ()
    reasons: tuple[str, ...] = ()
    hold: str | None = None


def decide_recipient(
    facts: RecipientFacts,
    snapshot: Snapshot,
    now: float,
    statuses: Statuses = NO_STATUSES,
    traffic: TrafficState = NO_TRAFFIC,
) -> Verdict:
    """Return the answer for one recipient.

    Args:
        facts: The RCPT TO.
        snapshot: The configuration.
        now: Unix time in seconds.
        statuses: Which tenants are warned, slowed down or paused.
        traffic: Which of them are in burst.
    """
    identity = identify(facts.client, snapshot.tenants)
    if identity.tenant is None:
        return _unidentified(facts, identity, snapshot, now)
    return admit(
        identity.tenant,
        facts.sender,
        [facts.recipient],
        facts.queue_id,
        snapshot,
        now,
        statuses=statuses,
        traffic=traffic,
        prepend=_session_header(facts, identity, snapshot, now),
        why=(f"tenant {identity.tenant.id} by {identity.how}",),
    )


def admit(
    tenant: Tenant,
    sender: str,
    recipients: Collection[str],
    queue_id: str,
    snapshot: Snapshot,
    now: float,
    *,
    statuses: Statuses = NO_STATUSES,
    traffic: TrafficState = NO_TRAFFIC,
    prepend: str | None = None,
    why: Iterable[str] = (),
) -> Verdict:
    """Return the answer for mail of a known tenant.

    The RCPT TO check asks for one recipient; the milter asks at end of message for all of them,
    when a platform login has named the tenant.

    Args:
        tenant: The tenant.
        sender: Envelope sender.
        recipients: Envelope recipients.
        queue_id: Postfix queue id, or empty.
        snapshot: The configuration.
        now: Unix time in seconds.
        statuses: Which tenants are warned, slowed down or paused.
        traffic: Which of them are in burst.
        prepend: The session header, if the message passes.
        why: Reasons that come before those of this function.
    """
    observations: list[Observation] = []
    reject, told = _check_sender(tenant, sender, snapshot, now)
    reasons = [*why, *told]
    if reject is not None:
        if tenant.modes.sender is Mode.ENFORCE:
            return Verdict(tenant.id, reject, reasons=tuple(reasons))
        observations.append(
            Observation(now, tenant.id, Feature.SENDER, "reject", reject.text, queue_id, sender)
        )
    status = statuses.get(tenant.id)
    if status is not None:
        if status.step and tenant.modes.ladder is not Mode.OFF:
            step = status.step.keyword
            reasons.append(f"ladder: {step}, {status.why} (mode {tenant.modes.ladder})")
        held = _held(tenant, recipients, status, now)
        if held is not None and held.acts:
            return Verdict(tenant.id, held.reject, reasons=(*reasons, held.reject.text))
        observations += _would_step(tenant, status, held, sender, queue_id, snapshot, now)
    if sender and Mode.OBSERVE in (tenant.modes.tls, tenant.modes.lane):
        for recipient in recipients:
            observations += _would_route(
                tenant, sender, recipient, queue_id, snapshot, now, traffic
            )
    return Verdict(tenant.id, None, prepend, tuple(observations), tuple(reasons))


def _check_sender(
    tenant: Tenant, sender: str, snapshot: Snapshot, now: float
) -> tuple[Reject | None, tuple[str, ...]]:
    """Return the refusal of a sender that a tenant may not use, or None, and the reasons."""
    mode = tenant.modes.sender
    if mode is Mode.OFF:
        return None, ()
    if sender_allowed(sender, tenant, snapshot, now):
        return None, (f"sender {sender or '<>'} may be used",)
    reject = Reject("553", "5.7.1", refusal(domain_of(sender), tenant))
    return reject, (f"sender {sender}: {reject.text} (mode {mode})",)


def _held(tenant: Tenant, recipients: Collection[str], status: Status, now: float) -> Hold | None:
    """Return why all mail of a tenant waits, or that to one of the recipients."""
    held = hold_all(tenant, status, now)
    if (held is None or not held.acts) and status.parts:
        return hold_recipients(tenant, recipients, status, now) or held
    return held


def _would_step(
    tenant: Tenant,
    status: Status,
    held: Hold | None,
    sender: str,
    queue_id: str,
    snapshot: Snapshot,
    now: float,
) -> list[Observation]:
    """Return what the ladder in mode observe would do to mail of a tenant."""
    found = [] if held is None else [("defer", held.reject.text)]
    lane = slow_lane(status, snapshot.ladder)
    if lane is not None and tenant.modes.ladder is Mode.OBSERVE:
        found.append(("route", f"lane {lane}: {status.why}"))
    return [
        Observation(now, tenant.id, Feature.LADDER, action, detail[:MAX_DETAIL], queue_id, sender)
        for action, detail in found
    ]


def sender_allowed(sender: str, tenant: Tenant, snapshot: Snapshot, now: float) -> bool:
    """Tell whether a sender belongs to a tenant, by its domains or by its own token."""
    if sender_domain_allowed(sender, tenant):
        return True
    local, _, _ = sender.rpartition("@")
    # Mail that comes back through a content filter already carries its token return path.
    if snapshot.platform.bounce_domain and domain_of(sender) == snapshot.platform.bounce_domain:
        try:
            token = open_token(local, Purpose.BOUNCE, snapshot.keyring, now)
        except MalformedMessage:
            return False
        return token.tenant == tenant.number
    return False


def _unidentified(
    facts: RecipientFacts, identity: Identity, snapshot: Snapshot, now: float
) -> Verdict:
    if identity.platform is not None:
        return Verdict(reasons=(f"{identity.how}: the tag header names the tenant",))
    nobody = f"no tenant: {identity.how}"
    if not is_refused(facts.sender, [facts.recipient], snapshot):
        return Verdict(reasons=(nobody, "mail of nobody passes"))
    mode = snapshot.modes.sender
    reasons = (nobody, f"platform.unknown is reject (mode {mode})")
    if mode is Mode.ENFORCE:
        return Verdict("", REFUSAL, reasons=reasons)
    observation = Observation(
        now,
        "",
        Feature.SENDER,
        "reject",
        REFUSAL.text,
        facts.queue_id,
        facts.sender,
        facts.recipient,
    )
    return Verdict("", None, None, (observation,), reasons)


def _session_header(
    facts: RecipientFacts, identity: Identity, snapshot: Snapshot, now: float
) -> str | None:
    """Return the header value that carries a client certificate's tenant to the milter.

    libmilter has no macro for the certificate's fingerprint, so this server, which sees it,
    vouches for the tenant in a header that the milter takes out again.
    """
    tenant = identity.tenant
    if tenant is None or identity.evidence is not Evidence.CERTIFICATE:
        return None
    # There is a queue id once a recipient was accepted, and Postfix keeps what was prepended then:
    # one header for a message and not one for each recipient.
    if facts.queue_id:
        return None
    # Without the header the milter would take the message for one of nobody, or of the tenant
    # that it finds by weaker evidence.
    other = identify(replace(facts.client, certificate=""), snapshot.tenants).tenant
    counts = bool(snapshot.quotas.of(tenant.id).per_campaign)
    acts = counts or _edits(snapshot.modes) or _milter_acts(tenant)
    if not acts and (other is None or not _milter_acts(other)):
        return None
    return seal_session(tenant, facts.client, snapshot.keyring, now)


def _milter_acts(tenant: Tenant) -> bool:
    """Tell whether the milter has anything to do with a tenant's mail."""
    checks_from = tenant.check_from and tenant.modes.sender is not Mode.OFF
    # Marketing and campaigns that are paused wait at end of message, where headers show them.
    waits = bool(tenant.marketing_types) or tenant.campaign_header is not None
    return checks_from or _edits(tenant.modes) or waits


def _edits(modes: Modes) -> bool:
    return modes.tag is not Mode.OFF or modes.feedback is not Mode.OFF


def nexthop_of(recipient: str) -> str:
    """Return the next-hop that Postfix takes from an address, empty for a bare local part."""
    return recipient.rpartition("@")[2] if "@" in recipient else ""


def _would_route(
    tenant: Tenant,
    sender: str,
    recipient: str,
    queue_id: str,
    snapshot: Snapshot,
    now: float,
    traffic: TrafficState,
) -> list[Observation]:
    """Return what TLS rules and lane would do to one recipient's delivery."""
    found = []
    domain = domain_of(recipient) or "an address without a domain"
    if tenant.modes.tls is Mode.OBSERVE:
        profile = snapshot.tls.profiles[tenant.profile]
        answer = decide_tls(profile, nexthop_of(recipient), snapshot.tls, now=now)
        if answer.waits:
            found.append(("defer", Feature.TLS, f"{domain}: {answer.waits}"))
        elif answer.requirement is not None or profile.name != DEFAULT_PROFILE:
            level = answer.requirement.level.keyword if answer.requirement else "may"
            detail = f"profile {profile.name}: {level} for {domain}"
            found.append(("route", Feature.TLS, detail))
    if tenant.modes.lane is Mode.OBSERVE:
        lane, why = wanted_lane(tenant, snapshot, traffic)
        if lane != DEFAULT_LANE:
            service = service_name(lane, effective_pair(tenant)[1])
            tail = f": {why}" if lane != tenant.lane else ""
            found.append(("route", Feature.LANE, f"lane {lane}, service {service}{tail}"))
    return [
        Observation(
            now, tenant.id, feature, action, detail[:MAX_DETAIL], queue_id, sender, recipient
        )
        for action, feature, detail in found
    ]
