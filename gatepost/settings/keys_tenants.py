"""The settings of tenants: who they are, and how far each feature goes for them.

See `keys`; the parts are modules of their own for their length alone.
"""

from __future__ import annotations

from gatepost.modes import Mode
from gatepost.settings import kinds, kinds_burst, kinds_feedback, kinds_traffic
from gatepost.settings.keys_burst import BurstSection
from gatepost.settings.keys_shaping import WARMUP, WarmupSection
from gatepost.settings.schema import (
    ListOf,
    Section,
    Table,
    optional,
    part,
    section,
    setting,
)
from gatepost.tenants.model import DEFAULT_PROFILE, ReturnPath
from gatepost.traffic.burst import Cap
from gatepost.traffic.lanes import DEFAULT_LANE
from gatepost.traffic.quota import Limit, OverQuota

_FINGERPRINT = "b1:2f:6e:40:9a:d7:58:c3:0e:71:24:fb:95:3d:a8:66:1c:e2:4f:07"
_MODE = kinds.choice({mode.value: mode for mode in Mode}, "enforce")


@section
class ModesSection:
    """How far each feature goes.

    off does nothing. observe decides, logs and counts what it would have done, and changes nothing.
    enforce does it.
    """

    default: Mode | None = setting(
        _MODE, "observe", doc="The mode of every feature that is not named here."
    )
    tag: Mode | None = optional(
        _MODE,
        doc="""The tag header, set where it is right and removed where it is not. A tag that names
        a tenant in enforce is also removed from mail of others that are in observe or off, and a
        platform login that may not name that tenant is refused.""",
    )
    sender: Mode | None = optional(
        _MODE,
        doc="""Whether the envelope sender (and the From: header, see check_from) must be one of
        the tenant's domains.""",
    )
    tls: Mode | None = optional(
        _MODE,
        doc="""The TLS profiles. The rules of tls.domains follow the mode at the top level for mail
        that no profile delivers.""",
    )
    feedback: Mode | None = optional(
        _MODE, doc="Feedback-ID, the token header and the token return path."
    )
    lane: Mode | None = optional(_MODE, doc="The lanes.")
    suppression: Mode | None = optional(
        _MODE, doc="Whether mail to suppressed addresses is refused."
    )
    ladder: Mode | None = optional(
        _MODE,
        doc="""Whether complaint and bounce rates slow down and pause a tenant. What an operator
        pauses is paused in any mode.""",
    )
    quota: Mode | None = optional(_MODE, doc="Whether mail over a quota waits.")


@section
class TenantModesSection(ModesSection):
    """Modes of this tenant where they differ from the general ones."""

    default: Mode | None = optional(
        _MODE,
        doc="""The mode of every feature that is not named here; without it, the general one of
        each.""",
    )


@section
class FeedbackSection:
    """Where a tenant says what a message is. The values go into Feedback-ID."""

    campaign: str | None = optional(
        kinds.HEADER, doc="Header that names the campaign.", example="X-Campaign"
    )
    mail_type: str | None = optional(
        kinds.HEADER, doc="Header that names the type of mail.", example="X-Mail-Type"
    )
    cfbl: bool = setting(
        kinds.BOOLEAN,
        "yes",
        doc="""Whether mail asks for complaint reports to platform.feedback_domain by CFBL-Address
        and CFBL-Feedback-ID.""",
        example="no",
    )
    unsubscribe: tuple[str, ...] = part(
        ListOf(kinds_feedback.MAIL_TYPE),
        doc="""Types of mail that get List-Unsubscribe and List-Unsubscribe-Post where they have
        none, for platform.unsubscribe_url. The type is the value of the header mail_type, without
        regard to case.""",
        example="[newsletter, promotion]",
    )
    marketing: tuple[str, ...] = part(
        ListOf(kinds_feedback.MAIL_TYPE),
        doc="""Types of mail that are advertising, and wait when complaints pause the tenant's
        marketing. Without any, those of unsubscribe.""",
        example="[promotion]",
    )


@section
class GroupSection:
    """What the tenants of a group share, such as all those of one reseller."""

    quota: tuple[Limit, ...] = part(
        ListOf(kinds_traffic.QUOTA),
        doc="Quotas of the mail of all its tenants together, as those of a tenant.",
        example="[20000/hour, 200000/day]",
    )


@section
class TenantSection:
    """A customer on whose account messages are sent."""

    logins: tuple[str, ...] = part(
        ListOf(kinds.LOGIN), doc="SASL logins; upper and lower case are the same.", example="[acme]"
    )
    certificates: tuple[str, ...] = part(
        ListOf(kinds.FINGERPRINT),
        doc="""Fingerprints of client certificates, by smtpd_tls_fingerprint_digest. Postfix must
        ask for certificates: smtpd_tls_ask_ccert = yes.""",
        example=f"[{_FINGERPRINT}]",
    )
    clients: tuple[kinds.Network, ...] = part(
        ListOf(kinds.NETWORK),
        doc="Client addresses and networks.",
        example="[192.0.2.128/28]",
    )
    listeners: tuple[str, ...] = part(
        ListOf(kinds.LISTENER),
        doc="""Listeners, by their milter_macro_daemon_name in master.cf. What attach writes
        gives the policy service the same name.""",
        example="[acme-in]",
    )
    senders: tuple[str, ...] = part(
        ListOf(kinds.DOMAIN_OR_PARENT),
        doc="""Domains of envelope senders that belong to this tenant alone. .acme.example stands
        for the domains below acme.example. Without any, every sender may be used.""",
        example="[acme.example]",
    )
    check_from: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="""Whether the From: header, too, must name one of the senders. Bounces, MAIL FROM:<>,
        always pass, and so does whatever a client sends as one.""",
        example="yes",
    )
    profile: str = setting(
        kinds.SHORT_NAME,
        DEFAULT_PROFILE,
        doc="""The TLS profile. To enforce it, the envelope sender must tell the tenant at
        delivery: by return_path: token with feedback in enforce, or by senders with sender in
        enforce.""",
        example="private",
    )
    lane: str = setting(
        kinds.SHORT_NAME,
        DEFAULT_LANE,
        doc="The lane. To enforce it, the same is needed as for a profile.",
        example="bulk",
    )
    return_path: ReturnPath = setting(
        kinds.choice_of(ReturnPath),
        "keep",
        doc="""token replaces the envelope sender by a signed address in platform.bounce_domain, so
        that each bounce leads back to tenant and message. Part of the feature feedback.""",
        example="token",
    )
    quota: tuple[Limit, ...] = part(
        ListOf(kinds_traffic.QUOTA),
        doc="""How many messages may pass: a number per second, minute, hour, day or week, or a time
        such as 15m. At no time more than that pass within a window, wherever it begins. With the
        word recipients behind it, recipients are counted instead: 5000/hour recipients. Bounces,
        MAIL FROM:<>, are never counted.""",
        example="[100/minute, 5000/hour, 50000/day]",
    )
    login_quota: tuple[Limit, ...] = part(
        ListOf(kinds_traffic.QUOTA),
        doc="Quotas of each login by itself, beside that of the tenant.",
        example="[20/minute]",
    )
    campaign_quota: tuple[Limit, ...] = part(
        ListOf(kinds_traffic.QUOTA),
        doc="""Quotas of each campaign by itself, beside that of the tenant. The header
        feedback.campaign names the campaign, so a message over it is refused at its end.""",
        example="[1000/hour]",
    )
    group: str | None = optional(
        kinds.SHORT_NAME,
        doc="The group whose quota the tenant shares, beside its own.",
        example="resellers",
    )
    quota_exempt: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="Whether its mail is counted for no quota, the platform's included.",
        example="yes",
    )
    over_quota: OverQuota = setting(
        kinds.choice_of(OverQuota),
        "defer",
        doc="""What becomes of mail over a quota. defer refuses it with 450 4.7.1, and the client
        tries again. hold takes it and puts it on hold in Postfix's queue, not counted, until
        somebody releases it with postsuper -H; mail of platform logins, and over a campaign_quota,
        is deferred all the same.""",
        example="hold",
    )
    burst: BurstSection = part(Section(BurstSection))
    backlog: Cap | None = optional(
        kinds_burst.CAP,
        doc="""How much of its mail may be outstanding: in Postfix's queue and not on hold. Beyond
        that, RCPT TO gets 450 4.7.1 until some of it is delivered or has failed for good. Part of
        the feature quota; it needs maillog. Bounces, MAIL FROM:<>, always pass.""",
        example="20000",
    )
    warmup: WarmupSection = part(WARMUP)
    feedback: FeedbackSection = part(Section(FeedbackSection))
    modes: TenantModesSection = part(Section(TenantModesSection))


TENANTS = Table(kinds.TENANT_ID, Section(TenantSection), "acme")


@section
class TenantFile:
    """A file in tenants_dir."""

    tenants: dict[str, TenantSection] = part(TENANTS, doc="Tenants by id.")
