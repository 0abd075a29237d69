"""What the configuration says of feedback: intake, suppression, the complaint ladder, webhooks.

Purpose: the immutable form that decisions and the back process read; part of the snapshot.
Source: the defaults of the ladder follow what large senders publish: Gmail and Yahoo ask to stay
below 0.1 % complaints and never to reach 0.3 %; Amazon SES reviews at 0.1 % complaints and 5 %
bounces and pauses at 0.5 % and 10 %.
Errors: none; the configuration was checked before these objects were made.
Security: a webhook's secret is in here and in no `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType

from gatepost.feedback.events import EventKind

_DAY_S = 86400


class OnFailure(StrEnum):
    """What becomes of mail while nobody can say whether its recipient is suppressed."""

    PASS = "pass"  # noqa: S105  # not a password
    DEFER = "defer"


class Step(IntEnum):
    """The steps of the ladder, the stronger the greater."""

    NONE = 0
    WARN = 1
    SLOW = 2
    PAUSE_MARKETING = 3
    PAUSE_ALL = 4

    @property
    def keyword(self) -> str:
        """Return the step as settings and commands name it, such as ``pause-marketing``."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class FeedbackRules:
    """What becomes of what comes back.

    Attributes:
        reporters: DKIM domains whose reports are believed, beside those that ship with Gatepost.
        keep_messages_s: How long a message can be found by its token.
        keep_reports_s: How long raw reports and the quarantine are kept.
        keep_events_s: How long events are kept.
        hashed: Whether addresses are stored as keyed hashes only, where that is enough.
    """

    reporters: frozenset[str] = frozenset()
    keep_messages_s: int = 60 * _DAY_S
    keep_reports_s: int = 7 * _DAY_S
    keep_events_s: int = 30 * _DAY_S
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class SuppressionRules:
    """When an address is no longer written to.

    Attributes:
        hard_bounce_s: How long a hard bounce holds.
        soft_bounces: Soft bounces within `soft_window_s` that suppress.
        soft_window_s: See there; also how long that then holds.
        fold_sub_addresses: Whether ``user+word@`` counts as ``user@``.
        on_failure: What becomes of mail while the store cannot be asked.
        hashed: Whether addresses are stored as keyed hashes only.
    """

    hard_bounce_s: int = 90 * _DAY_S
    soft_bounces: int = 5
    soft_window_s: int = 7 * _DAY_S
    fold_sub_addresses: bool = False
    on_failure: OnFailure = OnFailure.PASS
    hashed: bool = False


_COMPLAINTS: Mapping[Step, float] = MappingProxyType(
    {Step.WARN: 0.001, Step.SLOW: 0.002, Step.PAUSE_MARKETING: 0.003, Step.PAUSE_ALL: 0.005}
)
_BOUNCES: Mapping[Step, float] = MappingProxyType(
    {Step.WARN: 0.04, Step.SLOW: 0.06, Step.PAUSE_MARKETING: 0.08, Step.PAUSE_ALL: 0.10}
)


@dataclass(frozen=True, slots=True)
class LadderRules:
    """At which rates a tenant is warned, slowed down and paused.

    Attributes:
        window_s: Over which time rates are taken.
        min_delivered: Below so many messages in the window nothing is concluded.
        min_complaints: Below so many complaints (or bounces) neither.
        complaints: Share of complaints, as a fraction, from which each step holds; a step that is
            not in here is never taken for complaints.
        bounces: Share of hard bounces, likewise.
        lane: Lane that a tenant is slowed down to, or None to leave that step out.
    """

    window_s: int = 7 * _DAY_S
    min_delivered: int = 200
    min_complaints: int = 3
    complaints: Mapping[Step, float] = field(default_factory=lambda: _COMPLAINTS)
    bounces: Mapping[Step, float] = field(default_factory=lambda: _BOUNCES)
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told of events.

    Attributes:
        name: Its name in the configuration.
        url: Where events are posted, ``https`` or ``http``.
        secret: Key of the signature, as Standard Webhooks has it (without ``whsec_``, decoded).
        tenant: Events of this tenant only, or None for all of them and the platform's own.
        kinds: What to tell, or None for all.
        allow_private: Whether the address may be a private one.
    """

    name: str
    url: str
    secret: bytes = field(repr=False)
    tenant: str | None = None
    kinds: frozenset[EventKind] | None = None
    allow_private: bool = False
