"""Features, their modes, and the record of what a feature in observe mode would have done.

Purpose: every decision can be watched before it acts, per feature and per tenant. A feature in
mode ``observe`` computes exactly what ``enforce`` would do, changes nothing, and hands one
`Observation` to a `Recorder`; ``off`` does not even compute.
Errors: none; `Recorder.record` must not raise and must not block, as it stands on the path of mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MAX_DETAIL = 200


class Feature(StrEnum):
    """What can be switched; the value is the key used in the configuration."""

    TAG = "tag"
    SENDER = "sender"
    TLS = "tls"
    FEEDBACK = "feedback"
    LANE = "lane"
    SUPPRESSION = "suppression"
    LADDER = "ladder"
    QUOTA = "quota"


class Mode(StrEnum):
    """How far a feature goes."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class Modes:
    """One mode for each feature; equal sets of modes share one object in a snapshot."""

    tag: Mode = Mode.OBSERVE
    sender: Mode = Mode.OBSERVE
    tls: Mode = Mode.OBSERVE
    feedback: Mode = Mode.OBSERVE
    lane: Mode = Mode.OBSERVE
    suppression: Mode = Mode.OBSERVE
    ladder: Mode = Mode.OBSERVE
    quota: Mode = Mode.OBSERVE

    def of(self, feature: Feature) -> Mode:
        """Return the mode of one feature."""
        mode: Mode = getattr(self, feature.value)
        return mode


@dataclass(frozen=True, slots=True)
class Observation:
    """What a feature in observe mode would have done for one message or recipient.

    Attributes:
        at: Unix time in seconds.
        tenant: Tenant id, empty for unidentified mail.
        feature: The feature that decided.
        action: Short verb, stable for counting: ``add-header``, ``remove-header``,
            ``change-sender``, ``delete-recipient``, ``reject``, ``defer``, ``hold``, ``route``.
        detail: What exactly, at most `MAX_DETAIL` characters of printable ASCII.
        queue_id: Postfix queue id, empty where Postfix has not made one yet.
        sender: Envelope sender, empty for the null sender.
        recipient: Envelope recipient, empty where the whole message is meant.
    """

    at: float
    tenant: str
    feature: Feature
    action: str
    detail: str
    queue_id: str = ""
    sender: str = ""
    recipient: str = ""


class Recorder(Protocol):
    """Takes observations off the path of mail."""

    def record(self, observation: Observation) -> None:
        """Queue one observation; drops and counts it when the queue is full."""
