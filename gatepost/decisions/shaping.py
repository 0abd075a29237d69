"""What a delivery in the log says of the pair of lane and provider, and who a provider is.

Purpose: the same names for providers where replies are counted and where deliveries are held back.
Format: a provider is a group of the rules, or the registrable domain of the MX host.
Errors: none.
Security: only what a remote server itself said is a signal. What Postfix says of its own troubles,
such as a map of ours that does not answer, is none, and neither is a refusal of an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatepost.domains import domain_of
from gatepost.feedback.classify import classify
from gatepost.feedback.phrases import found, joined, words_of
from gatepost.maillog.model import SENT, Delivery
from gatepost.maillog.provider import provider_of
from gatepost.snapshot import Snapshot
from gatepost.traffic.lanes import DEFAULT_LANE
from gatepost.traffic.shaping import CLASSES, Rule, ShapingRules

# Classes that speak of the address or of a network; no text in a rule makes one of them a signal.
NEVER: Final = frozenset(
    {
        *("invalid-recipient", "inactive-mailbox", "bad-domain", "mailbox-full"),
        *("recipient-restricted", "message-too-large", "tls-required", "dns-failure"),
        *("connection", "expired", "auto-reply", "challenge"),
    }
)
# Postfix writes one of these before the words of the server, see smtp(8).
_QUOTES: Final = (" said: ", " refused to talk to me: ")
_MAX_REPLY: Final = 120


@dataclass(frozen=True, slots=True)
class Signal:
    """A reply that counts.

    Attributes:
        rule: For which rule.
        reply: What was said, cut off.
    """

    rule: Rule
    reply: str


def provider_name(domain: str, host: str, rules: ShapingRules) -> str:
    """Return who runs the mail of a domain.

    Args:
        domain: Recipient domain or next-hop in lower case.
        host: MX host, in lower case.
        rules: The groups.
    """
    return rules.group_of_domain(domain) or rules.group_of_host(host) or provider_of(host)


def lane_of_service(service: str, snapshot: Snapshot) -> str | None:
    """Return the lane of a service by its name in the log, or None for one that is not ours."""
    if not service:
        return DEFAULT_LANE
    found = snapshot.services.get(service)
    return found[0] if found is not None else None


def pair_of(delivery: Delivery, snapshot: Snapshot) -> tuple[str, str] | None:
    """Return lane and provider of a delivery, or None if it went to no mail server by no lane."""
    lane = lane_of_service(delivery.service, snapshot)
    if lane is None or not delivery.host:
        return None
    domain = domain_of(delivery.recipient) or ""
    return lane, provider_name(domain, delivery.host, snapshot.shaping)


def signal_of(delivery: Delivery, provider: str, rules: ShapingRules) -> Signal | None:
    """Return what a delivery says of rate or reputation, or None for nothing.

    Args:
        delivery: One that did not arrive, or did.
        provider: Whose reply it is.
        rules: The rules.
    """
    if delivery.status == SENT:
        return None
    said = next((rest for quote in _QUOTES if (rest := delivery.reply.partition(quote)[2])), "")
    if not said:
        return None
    of_class = classify(delivery.dsn, said).bounce_class
    rule = next((rule for rule in rules.rules if _fits(rule, provider, of_class, said)), None)
    return None if rule is None else Signal(rule, " ".join(said.split())[:_MAX_REPLY])


def _fits(rule: Rule, provider: str, of_class: str, text: str) -> bool:
    if rule.providers and provider not in rule.providers:
        return False
    if of_class in rule.classes & CLASSES:
        return True
    if not rule.phrases or of_class in NEVER:
        return False
    padded = joined(words_of(text))
    return any(found(head, tail, padded) for head, tail in rule.phrases)
