"""Whose a queued message is, and which part of that tenant's mail.

Purpose: what an operator holds, frees or deletes must be exactly what he named. The envelope sender
names the tenant as it does for the transport map; the message book, where it has the message, names
tenant, campaign and mail type. Who is named by neither is nobody, and is left alone.
Errors: none.
Security: anybody can write a tenant's domain into an envelope sender. Where sender and book name
two tenants, the message is left alone, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from gatepost.decisions.status import campaign_label
from gatepost.domains import domain_of
from gatepost.errors import MalformedMessage
from gatepost.feedback.sent import Message
from gatepost.feedback.status import WHOLE, Part
from gatepost.feedback.token import Purpose, looks_like_token, message_id_of, open_token
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant


class Evidence(StrEnum):
    """By what a message's tenant is known; anybody can write a sender domain."""

    TOKEN = "token return path"  # noqa: S105  # not a password
    DOMAIN = "sender domain"
    BOOK = "message book"


@dataclass(frozen=True, slots=True)
class Named:
    """What queue id and envelope sender tell of a message.

    Attributes:
        tenant: The tenant that the sender names, or empty.
        evidence: By what, or None.
        message: Message id under which the book may have it, 8 octets.
    """

    tenant: str
    evidence: Evidence | None
    message: bytes


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a message is.

    Attributes:
        tenant: Tenant id.
        evidence: By what it is known.
        campaign: Its campaign, empty for none, or None where that is not known.
        mail_type: Its mail type, likewise.
    """

    tenant: str
    evidence: Evidence
    campaign: str | None = None
    mail_type: str | None = None


def named_by_sender(sender: str, queue_id: str, host: str, snapshot: Snapshot, now: float) -> Named:
    """Return what the envelope of a queued message tells.

    Args:
        sender: Envelope sender, empty for the null sender.
        queue_id: Queue id.
        host: ``myhostname`` of the Postfix instance that has it.
        snapshot: The configuration.
        now: Unix time in seconds.
    """
    ours = message_id_of(host, queue_id)
    domain = domain_of(sender)
    if domain is None:
        return Named("", None, ours)
    local = sender.rpartition("@")[0]
    if domain == snapshot.platform.bounce_domain and looks_like_token(local):
        try:
            token = open_token(local, Purpose.BOUNCE, snapshot.keyring, now)
        except MalformedMessage:
            return Named("", None, ours)
        tenant = snapshot.tenants.by_number.get(token.tenant)
        if tenant is None:
            return Named("", None, ours)
        return Named(tenant.id, Evidence.TOKEN, token.message)
    owner = snapshot.tenants.owner(domain)
    return Named("", None, ours) if owner is None else Named(owner.id, Evidence.DOMAIN, ours)


def owner_of(named: Named, booked: Message | None) -> Owner | None:
    """Return whose a message is, or None for nobody's and for one that two tenants could own.

    Args:
        named: What its envelope tells.
        booked: What the message book has of it, or None.
    """
    if booked is None or (named.tenant and booked.tenant != named.tenant):
        if booked is not None or named.evidence is None:
            return None
        return Owner(named.tenant, named.evidence)
    known = bool(booked.sender or booked.campaign or booked.mail_type)
    return Owner(
        booked.tenant,
        Evidence.TOKEN if named.evidence is Evidence.TOKEN else Evidence.BOOK,
        # What only the log told of has no labels, and may have had some.
        booked.campaign if known else None,
        booked.mail_type if known else None,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a tenant's mail is meant.

    Attributes:
        tenant: The tenant.
        part: Campaign and recipient domain.
        marketing: Whether only its marketing is meant.
    """

    tenant: Tenant
    part: Part = WHOLE
    marketing: bool = False

    @property
    def needs_labels(self) -> bool:
        """Tell whether campaign or mail type have to be known."""
        return bool(self.part.campaign) or self.marketing


class Fit(StrEnum):
    """Whether a message of the tenant is meant."""

    YES = "yes"
    NO = "no"
    # Some of its recipients are in the domain, and others are not.
    PARTLY = "partly"
    # Its campaign or mail type is not known.
    UNKNOWN = "unknown"


def fits(owner: Owner, recipients: Collection[str], selection: Selection) -> Fit:
    """Tell whether a message is meant.

    Args:
        owner: Whose it is.
        recipients: Those that it still waits for.
        selection: What is meant.
    """
    part = selection.part
    if owner.tenant != selection.tenant.id:
        return Fit.NO
    inside = _in_domain(recipients, part.domain)
    if inside is Fit.NO:
        return Fit.NO
    if part.campaign and owner.campaign != part.campaign:
        return Fit.UNKNOWN if owner.campaign is None else Fit.NO
    if selection.marketing:
        if owner.mail_type is None:
            return Fit.UNKNOWN
        if owner.mail_type.strip().casefold() not in selection.tenant.marketing_types:
            return Fit.NO
    return inside


def labelled(owner: Owner, headers: Iterable[tuple[str, str]], tenant: Tenant) -> Owner:
    """Return an owner with the labels that a message's own header fields give it.

    Args:
        owner: Whose the message is; what is known of it stays.
        headers: Names and values of its header fields, in order.
        tenant: That tenant.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        found.setdefault(name.lower(), campaign_label(value))

    def of(header: str | None, known: str | None) -> str | None:
        if known is not None:
            return known
        return found.get(header, "") if header is not None else ""

    return Owner(
        owner.tenant,
        owner.evidence,
        of(tenant.campaign_header, owner.campaign),
        of(tenant.mail_type_header, owner.mail_type),
    )


def _in_domain(recipients: Collection[str], domain: str) -> Fit:
    if not domain:
        return Fit.YES
    inside = sum(domain_of(each) == domain for each in recipients)
    if inside == 0:
        return Fit.NO
    return Fit.YES if inside == len(recipients) else Fit.PARTLY
