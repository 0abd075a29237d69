"""What a mail that came back says, in one form for complaints, bounces, unsubscriptions and others.

Purpose: every parser (ARF, JMRP, CFBL, XARF, DSN and the bounces that follow no standard) ends in
one `Report`, so that trust, suppression and rates know nothing of formats.
Source: RFC 5965 (ARF), RFC 9477 (CFBL), RFC 3464 and RFC 6533 (DSN), RFC 3834 (automatic replies).
Errors: none.
Security: everything but `authenticated` and `token` is a claim of whoever sent the mail. A report
acts on nothing until both gates of `trust` have been passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gatepost.feedback.token import Purpose, Token


class Kind(StrEnum):
    """What a mail is; the value is what ``gatepost feedback parse`` prints."""

    COMPLAINT = "complaint"
    BOUNCE = "bounce"
    UNSUBSCRIBE = "unsubscribe"
    TLS_REPORT = "tls-report"
    AUTO_REPLY = "auto-reply"
    NOT_SPAM = "not-spam"
    AUTH_FAILURE = "auth-failure"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """Whether an address is worth another try."""

    HARD = "hard"
    SOFT = "soft"
    # It says nothing about the address: a block, a policy, a notice of delay.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Classified:
    """What a bounce means.

    Attributes:
        bounce_class: One of the classes in the rules' data file, such as ``invalid-recipient``.
        severity: Whether the address is bad for good.
        rule: Id of the rule that decided, for `explain`.
        why: One sentence.
    """

    bounce_class: str
    severity: Severity
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient that a report is about.

    Attributes:
        address: The address as reported, or empty where it was redacted.
        status: Enhanced status code such as ``5.1.1``, or empty.
        action: ``failed``, ``delayed``, ``delivered``, ``relayed``, ``expanded``, or empty.
        diagnostic: What the remote server said, at most 500 characters, or empty.
        classified: What it means, for a recipient that failed.
        original_address: The address that we had sent to, as the report has it, or empty; differs
            from `address` where mail was forwarded.
    """

    address: str
    status: str = ""
    action: str = ""
    diagnostic: str = ""
    classified: Classified | None = None
    original_address: str = ""


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token of ours that verified.

    Attributes:
        token: What it says.
        purpose: What it authorises.
        where: Where it stood, such as ``envelope recipient`` or ``CFBL-Feedback-ID``.
    """

    token: Token
    purpose: Purpose
    where: str


@dataclass(frozen=True, slots=True)
class Original:
    """What a report shows of the message that it is about; empty texts where it shows nothing."""

    message_id: str = ""
    sender: str = ""
    feedback_id: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One mail that came back.

    Attributes:
        kind: What it is.
        format: How it said so: ``arf``, ``cfbl``, ``jmrp``, ``xarf``, ``dsn``, ``bounce-text``,
            ``list-unsubscribe``, ``apple-unsubscribe``, ``tlsrpt``, ``auto-reply`` or ``unknown``.
        reporter: Who claims to have sent it: domain of the From: header, or empty.
        feedback_type: Feedback-Type as written, in lower case, or empty.
        recipients: Whom it is about.
        original: What it shows of the original.
        token: Our token, or None. Where there is none of the purpose that the kind needs, one of
            another, which tells the message and proves nothing.
        incidents: What ``Incidents:`` claims; 1 if it is absent. It never multiplies anything.
        notes: What was odd and yet read, one sentence each.
    """

    kind: Kind
    format: str
    reporter: str = ""
    feedback_type: str = ""
    recipients: tuple[ReportedRecipient, ...] = ()
    original: Original = Original()
    token: FoundToken | None = None
    incidents: int = 1
    notes: tuple[str, ...] = ()
