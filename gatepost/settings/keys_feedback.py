"""The settings of what comes back: intake, suppression, the complaint ladder, events, webhooks.

See `keys`; the parts are modules of their own for their length alone.
"""

from __future__ import annotations

from gatepost.feedback.events import EventKind
from gatepost.feedback.reporting import Loop
from gatepost.feedback.rules import OnFailure
from gatepost.settings import kinds, kinds_feedback
from gatepost.settings.model import Address
from gatepost.settings.schema import (
    ListOf,
    Section,
    Table,
    optional,
    part,
    required,
    section,
    setting,
)

_KEEP = kinds.duration(3600, 400 * 86400, "30d")


@section
class FeedbackFlowSection:
    """What becomes of what comes back."""

    intake_dir: str = setting(
        kinds.OWN_DIRECTORY,
        "/var/lib/gatepost/intake",
        doc="""Directory in which bounces and reports lie from the moment that Postfix has handed
        them over until they are dealt with, and the quarantine. It must be Gatepost's alone. It is
        made where platform.bounce_domain or feedback_domain is set. A change takes effect after a
        restart, and so does the first of these domains.""",
    )
    reporters: tuple[str, ...] = part(
        ListOf(kinds.DOMAIN),
        doc="""Further DKIM domains whose complaint reports are believed. Those of the large
        providers are known. A report whose signature is of its own From: domain counts for CFBL
        without being listed.""",
        example="[arf.example.org]",
    )
    keep_messages: int = setting(
        _KEEP,
        "60d",
        doc="""How long a message can be found by its token; after that a complaint about it counts
        for nobody. A row for each message takes some 250 octets.""",
    )
    keep_reports: int = setting(
        _KEEP,
        "7d",
        doc="How long raw reports, and mail in quarantine, are kept. They hold addresses.",
    )
    keep_events: int = setting(
        _KEEP,
        "30d",
        doc="""How long events are kept; a delivery takes some 460 octets. Their counts are kept for
        400 days.""",
    )
    events_file: str | None = setting(
        kinds_feedback.PATH_OR_OFF,
        "off",
        doc="""A file that each event is appended to, one JSON object a line, or off. It is opened
        again after it was rotated. A change takes effect after a restart.""",
        example="/var/log/gatepost/events.jsonl",
    )
    unsubscribe: Address | None = setting(
        kinds.LISTEN,
        "off",
        doc="""Where one-click unsubscriptions are answered, for your web server to pass
        platform.unsubscribe_url on to, or off. A change takes effect after a restart.""",
        example="127.0.0.1:9465",
    )
    privacy: bool = setting(
        kinds.choice({"plain": False, "hashed": True}, "hashed"),
        "plain",
        doc="""hashed stores the addresses of the suppression list as keyed hashes: an address can
        be looked up and removed, and the list cannot be read. Set it before the first entry: those
        that are there stay as they are.""",
    )
    loops: tuple[Loop, ...] = part(
        ListOf(kinds.choice_of(Loop)),
        doc="""Feedback loops that the platform is enrolled in. Complaints are a share of the mail
        to their providers, and to any other that has reported. Without any, of the mail to those
        of all loops: where you are not enrolled, rates then look lower than they are. A change
        takes effect after a restart.""",
        example="[yahoo, microsoft]",
    )
    postmaster_token: str | None = optional(
        kinds.FILE,
        doc="""File with the OAuth token for Gmail's Postmaster Tools, relative to this file, to
        read complaint rates at Gmail once a day. It must be readable for root and service.user
        only. Without it, nothing is asked.""",
        example="postmaster.json",
    )
    postmaster_url: str = setting(
        kinds_feedback.HTTP_URL,
        "https://gmailpostmastertools.googleapis.com",
        doc="Where Postmaster Tools are asked.",
    )
    postmaster_domains: tuple[str, ...] = part(
        ListOf(kinds.DOMAIN),
        doc="""DKIM domains of the platform that are verified in Postmaster Tools.""",
        example="[example.net]",
    )


@section
class SuppressionSection:
    """When an address is no longer written to. Complaints and unsubscriptions hold for good."""

    hard_bounce: int = setting(
        _KEEP,
        "90d",
        doc="How long a hard bounce holds. A later delivery to the address lifts it.",
    )
    soft_bounces: int = setting(
        kinds.whole_number(1, 1000, "5"),
        "5",
        doc="So many soft bounces within soft_window suppress an address.",
    )
    soft_window: int = setting(
        _KEEP, "7d", doc="See soft_bounces; the suppression then holds as long."
    )
    sub_addresses: bool = setting(
        kinds.choice({"separate": False, "fold": True}, "fold"),
        "separate",
        doc="Whether user+word@example.org is an address of its own, or that of user@example.org.",
    )
    on_failure: OnFailure = setting(
        kinds.choice_of(OnFailure),
        "pass",
        doc="""What becomes of mail while the database cannot be asked: pass lets it through, and
        counts it; defer holds it up with 451.""",
    )


_WARN = "An event, and nothing else."
_SLOW = "The lane ladder.lane."
_PAUSE_MARKETING = "Mail of the types that the tenant lists as marketing waits."
_PAUSE_ALL = "All mail of the tenant waits."


@section
class ComplaintStepsSection:
    """From which share of complaints each step is taken, or off. Gmail wants less than 0.1%."""

    warn: float | None = setting(kinds_feedback.SHARE, "0.1%", doc=_WARN)
    slow: float | None = setting(kinds_feedback.SHARE, "0.2%", doc=_SLOW)
    pause_marketing: float | None = setting(kinds_feedback.SHARE, "0.3%", doc=_PAUSE_MARKETING)
    pause_all: float | None = setting(kinds_feedback.SHARE, "0.5%", doc=_PAUSE_ALL)


@section
class BounceStepsSection:
    """From which share of hard bounces each step is taken, or off."""

    warn: float | None = setting(kinds_feedback.SHARE, "4%", doc=_WARN)
    slow: float | None = setting(kinds_feedback.SHARE, "6%", doc=_SLOW)
    pause_marketing: float | None = setting(kinds_feedback.SHARE, "8%", doc=_PAUSE_MARKETING)
    pause_all: float | None = setting(kinds_feedback.SHARE, "10%", doc=_PAUSE_ALL)


@section
class LadderSection:
    """What a tenant's complaints and bounces lead to, as far as the mode of ladder goes.

    A step is taken when the rate is so high beyond chance: the lower end of its 95 % interval must
    reach the share below.
    """

    window: int = setting(
        kinds.duration(3600, 90 * 86400, "7d"), "7d", doc="Over which time rates are taken."
    )
    min_delivered: int = setting(
        kinds.whole_number(1, 10_000_000, "200"),
        "200",
        doc="Below so many delivered messages in the window nothing is concluded.",
    )
    min_complaints: int = setting(
        kinds.whole_number(1, 1_000_000, "3"),
        "3",
        doc="Below so many complaints, or hard bounces, in the window neither.",
    )
    complaints: ComplaintStepsSection = part(Section(ComplaintStepsSection))
    bounces: BounceStepsSection = part(Section(BounceStepsSection))
    lane: str | None = optional(
        kinds.SHORT_NAME,
        doc="The lane that a tenant is slowed down to. Without it, that step is left out.",
        example="bulk",
    )


@section
class WebhookSection:
    """Who is told of events over HTTP, signed as Standard Webhooks says."""

    url: str | None = required(
        kinds_feedback.HTTP_URL,
        doc="Where events are posted, in batches. Redirects are not followed.",
        example="https://hooks.acme.example/mail",
    )
    secret_file: str | None = required(
        kinds.FILE,
        doc="""File with the secret of the signatures, relative to this file: whsec_ and 24 to 64
        random octets in base64. It must be readable for root and service.user only.""",
        example="webhook-acme.secret",
    )
    tenant: str | None = optional(
        kinds.TENANT_ID,
        doc="The tenant whose events are told. Without it, those of all and the platform's own.",
        example="acme",
    )
    events: tuple[EventKind, ...] = part(
        ListOf(kinds.choice_of(EventKind)),
        doc="The types of events to tell. Without any, all of them.",
        example="[message.bounced, message.complained]",
    )
    allow_private: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="""Whether the host may have a private or loopback address. A tenant that chooses its
        URL could otherwise reach what is inside your network.""",
    )


WEBHOOKS = Table(kinds_feedback.LABEL, Section(WebhookSection), "acme")
