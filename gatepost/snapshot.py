"""The immutable, indexed form of all configuration that decisions read.

Purpose: one object holds everything that a decision may depend on, so a reload is one assignment
and a decision never sees half of an old and half of a new configuration. `Settings`, in
`gatepost.settings`, is the other half: what only a restart can change.
Errors: none; building a snapshot, in `gatepost.settings`, reports all errors at once.
Security: keys are in here; a snapshot is never logged or shown whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.feedback.rules import FeedbackRules, LadderRules, SuppressionRules, Webhook
from gatepost.feedback.token import Keyring
from gatepost.modes import Modes
from gatepost.tenants.model import TenantIndex
from gatepost.tls.rules import TlsRules
from gatepost.traffic.burst import BurstRules
from gatepost.traffic.lanes import Lane
from gatepost.traffic.quota import QuotaRules
from gatepost.traffic.shaping import NO_SHAPING, ShapingRules
from gatepost.traffic.warmup import NO_WARMUP, WarmupRules


class Unknown(StrEnum):
    """What becomes of mail that no tenant can be found for."""

    PASS = "pass"  # noqa: S105  # not a password
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Platform:
    """What belongs to the platform and not to one tenant.

    Attributes:
        sender_id: The SenderId of Feedback-ID, 5 to 15 characters.
        tenant_header: Name of the tag header, as written out.
        token_header: Name of the header that carries the token, as written out.
        bounce_domain: Domain of token return paths, or None where no tenant uses them.
        feedback_domain: Domain that complaint reports and unsubscriptions are sent to, or None.
        unsubscribe_url: Where one-click unsubscriptions go, without a slash at its end, or None.
        unknown: Whether mail of no tenant is let through.
        inbound: Recipient domains that receive mail here; mail to them is never refused as
            unidentified. The bounce and feedback domains belong to it by themselves.
        null_sender_profile: Profile for mail with a null sender, which no tenant can be found
            for at delivery; None leaves it to Postfix's own default transport, and so does
            a general mode of the feature tls other than enforce.
    """

    sender_id: str = ""
    tenant_header: str = "X-Tenant-ID"
    token_header: str = "X-Gatepost-Token"  # noqa: S105  # not a password
    bounce_domain: str | None = None
    unknown: Unknown = Unknown.PASS
    inbound: frozenset[str] = frozenset()
    null_sender_profile: str | None = None
    feedback_domain: str | None = None
    unsubscribe_url: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that decisions read.

    Attributes:
        digest: First 12 hex digits of the SHA-256 over all configuration files, for `status`.
        modes: The default mode of each feature; also the modes of unidentified mail.
        services: Every (lane, profile) pair that the tenants can need, as service name to pair.
        feedback: What becomes of what comes back.
        suppression: When an address is no longer written to.
        ladder: What complaints and bounces lead to.
        webhooks: Who is told of events.
        quotas: How much mail may pass.
        bursts: When tenants are moved to another lane, and how much may be outstanding.
        shaping: When a lane is slowed towards a provider.
        warmups: How much may be sent on the first days.
    """

    digest: str
    platform: Platform
    modes: Modes
    tenants: TenantIndex
    tls: TlsRules
    lanes: Mapping[str, Lane]
    keyring: Keyring
    services: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    feedback: FeedbackRules = field(default_factory=FeedbackRules)
    suppression: SuppressionRules = field(default_factory=SuppressionRules)
    ladder: LadderRules = field(default_factory=LadderRules)
    webhooks: tuple[Webhook, ...] = ()
    quotas: QuotaRules = field(default_factory=QuotaRules)
    bursts: BurstRules = field(default_factory=BurstRules)
    shaping: ShapingRules = NO_SHAPING
    warmups: WarmupRules = NO_WARMUP
