"""At RCPT TO: whether the destination can meet what the tenant's profile asks for.

Purpose: refuse while the client still holds the message. Only what is known is used; where nothing
is, the recipient is accepted and the delivery decides.
Source: RFC 3463 §3.8, X.7.10 "encryption needed"; RFC 5321 §4.2.1 for 450 against 550.
Errors: none.
Not handled: recipients that Postfix delivers otherwise than to the MX hosts of their domain. With a
relayhost nothing is refused; for an entry in transport_maps, see docs/tls.md. Mail of platform
logins is not looked at: its tenant is known after the last recipient.
"""

from __future__ import annotations

from dataclasses import replace

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.recipient import Verdict, nexthop_of
from gatepost.domains import domain_of
from gatepost.modes import MAX_DETAIL, Feature, Mode, Observation
from gatepost.snapshot import Snapshot
from gatepost.tls.answer import TlsAnswer, decide_tls
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.reachability import Sights, Unmet, unmet


def asks_for_sights(verdict: Verdict, facts: RecipientFacts, snapshot: Snapshot) -> str | None:
    """Return the domain that has to be looked at before the answer stands, or None for none.

    Args:
        verdict: The answer so far.
        facts: The RCPT TO.
        snapshot: The configuration.
    """
    if verdict.reject is not None or not verdict.tenant or not facts.sender:
        return None
    tenant = snapshot.tenants.by_id[verdict.tenant]
    profile = snapshot.tls.profiles[tenant.profile]
    if tenant.modes.tls is Mode.OFF or profile.at_rcpt is Mode.OFF or not profile.asks:
        return None
    return domain_of(facts.recipient)


def decide_reachability(
    verdict: Verdict,
    facts: RecipientFacts,
    snapshot: Snapshot,
    now: float,
    sights: Sights,
    knowledge: Knowledge | None = None,
    operator: OperatorTls = ASKS_NOTHING,
) -> Verdict:
    """Return the answer with what is known of the destination.

    Args:
        verdict: The answer so far, for which `asks_for_sights` gave the domain of the recipient.
        facts: The RCPT TO.
        snapshot: The configuration.
        now: Unix time in seconds.
        sights: What survey and deliveries know.
        knowledge: What the destination publishes, or None if nobody looked.
        operator: What Postfix itself asks for.
    """
    tenant = snapshot.tenants.by_id[verdict.tenant]
    profile = snapshot.tls.profiles[tenant.profile]
    answer = decide_tls(
        profile, nexthop_of(facts.recipient), snapshot.tls, operator, knowledge, now
    )
    found = _unmet(answer, sights, now)
    if found is None:
        return verdict
    domain = domain_of(facts.recipient) or ""
    asked = " and ".join(opinion.source for opinion in answer.opinions) or "its own policy"
    text = found.text(domain, asked)
    enforced = tenant.modes.tls is Mode.ENFORCE and profile.at_rcpt is Mode.ENFORCE
    reasons = (*verdict.reasons, f"{text} ({'enforce' if enforced else 'observe'})")
    if enforced:
        code, status = ("550", "5.7.10") if found.certain else ("450", "4.7.10")
        return replace(verdict, reject=Reject(code, status, text), prepend=None, reasons=reasons)
    observation = Observation(
        now,
        tenant.id,
        Feature.TLS,
        "reject" if found.certain else "defer",
        text[:MAX_DETAIL],
        facts.queue_id,
        facts.sender,
        facts.recipient,
    )
    return replace(verdict, observations=(*verdict.observations, observation), reasons=reasons)


def _unmet(answer: TlsAnswer, sights: Sights, now: float) -> Unmet | None:
    if answer.unnamed:
        # The owner may put it right at any moment.
        return Unmet(False, answer.blocked, 0.0, "published")
    if answer.requirement is None or answer.waits:
        return None
    return unmet(answer.requirement, sights, now)
