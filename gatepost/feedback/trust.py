"""Who is believed, and for what: the two gates that a report has to pass before anything follows.

Purpose: anybody can send a mail that looks like a complaint or a bounce. It is counted and shown;
but an address is suppressed, and a tenant's rates are moved, only if both gates are open.
Source: RFC 5965 §8.2 (vet the origin before automatic action), RFC 9477 §3.1.4 and §5 (DKIM of the
report, HMAC in CFBL-Feedback-ID), RFC 8058 §4 and §5 (the URI alone authorises to unsubscribe).
Format: the gates, by kind.

=============  =======================================  ============================================
kind           who reports                              what proves that it is about our mail
=============  =======================================  ============================================
complaint      a DKIM signature of a known reporter,    a complaint token of ours, and the message
               or for CFBL one aligned with From:       and recipient in the message book
unsubscribe    nobody: who has the token may            an unsubscribe token of ours, likewise
bounce         nobody, where the token names one        a bounce token of ours, likewise
               recipient; otherwise this host's own
               bounce(8), or a DKIM signature of the
               recipient's domain
others         nothing follows from them                -
=============  =======================================  ============================================

Notices of failure are not signed as a rule, so a bounce can be had by its token alone. The token of
one recipient is known to those who handled that recipient's mail, and authorises nothing but that
recipient's own suppression. The token of a message with several recipients is known to all of them;
what one of them says of another counts only with the proof in the table. The same goes for a
complaint of a reporter whom only RFC 9477 vouches for.

A token under a name that we do not write is believed only where the report does not show that it
is about another message: a tenant may have copied it out of somebody else's mail. Elsewhere
Message-ID is not compared, since relays and providers write new ones.
Errors: none.
Security: this module is the only one that says `Result.BELIEVED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gatepost.feedback.report import Kind, Report, ReportedRecipient
from gatepost.feedback.reporters import Reporters
from gatepost.feedback.sent import Message
from gatepost.feedback.tokens_in import NEEDED, TOKEN_HEADER, stands_where_we_write
from gatepost.maillog.provider import provider_of

# What may suppress an address.
ACTING = frozenset({Kind.COMPLAINT, Kind.UNSUBSCRIBE, Kind.BOUNCE})


class Result(StrEnum):
    """What became of a report; the value is what commands and metrics show."""

    BELIEVED = "believed"
    # One gate was closed.
    UNAUTHENTICATED = "unauthenticated"
    NO_TOKEN = "no-token"  # noqa: S105  # not a password
    # A token of ours, for a message or recipient that the book does not have.
    NOT_SENT = "not-sent"
    # Both gates were closed.
    NEITHER = "neither"
    # Nothing follows from its kind.
    COUNTED = "counted"
    # It has been acted on before.
    REPEATED = "repeated"
    # A reporter says more about a tenant than is acted on by itself.
    OVER_LIMIT = "over-limit"
    # Read by the TLS side.
    TLS_REPORT = "tls-report"


@dataclass(frozen=True, slots=True)
class Authentication:
    """What is proven of where a mail came from.

    Attributes:
        domains: d= of the signatures that verified, as A-labels.
        author: The address in From:, or empty.
        own: Whether this host's Postfix made it, as its bounce(8) makes notices.
        reason: Why no signature verified, or empty.
    """

    domains: tuple[str, ...] = ()
    author: str = ""
    own: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """One recipient that a report is believed to be about.

    Attributes:
        address: As we sent to it; empty where only the message is known.
        reported: What the report says of it, or None.
    """

    address: str
    reported: ReportedRecipient | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may follow from a report.

    Attributes:
        result: Whether it is believed.
        reason: Why, in half a sentence.
        reporter: Domain that reported it: of the signature that counts, otherwise the claimed one.
        authenticated: Whether the first gate was open.
        about: Whom it is about; empty unless it is believed.
        tenant: Whose message its token names, believed or not; empty where that is not known.
    """

    result: Result
    reason: str
    reporter: str = ""
    authenticated: bool = False
    about: tuple[About, ...] = ()
    tenant: str = ""


def judge(
    report: Report,
    proven: Authentication,
    message: Message | None,
    reporters: Reporters,
    token_header: str = TOKEN_HEADER,
) -> Judgement:
    """Return what may follow from a report.

    Args:
        report: The report.
        proven: Where it came from.
        message: What the message book has for its token, or None.
        reporters: Whose complaints are believed, the operator's own list included.
        token_header: Name of the header that carries our token.
    """
    signer, listed = _signer(report, proven, reporters)
    by = signer or report.reporter
    authenticated = bool(signer) or proven.own
    closed = _closed(report, proven, message, signed=bool(signer)) or _copied(
        report, message, token_header
    )
    if closed is not None or report.token is None or message is None:
        result, reason = closed or (Result.NO_TOKEN, "")
        return Judgement(result, reason, by, authenticated)
    about, reason = _about(report, message, proven, report.token.token.recipient, listed=listed)
    if not about:
        result = Result.UNAUTHENTICATED if reason == _OF_ANOTHER else Result.NOT_SENT
        return Judgement(result, reason, by, authenticated)
    return Judgement(Result.BELIEVED, reason, by, authenticated, about)


def _closed(
    report: Report, proven: Authentication, message: Message | None, *, signed: bool
) -> tuple[Result, str] | None:
    """Return which gate is closed for a report and why, or None if neither is."""
    if report.kind is Kind.TLS_REPORT:
        return Result.TLS_REPORT, "gatepost tls reports shows it"
    if report.kind not in ACTING:
        return Result.COUNTED, f"nothing follows from {report.kind}"
    unsigned = report.kind is Kind.COMPLAINT and not signed
    if report.token is None or report.token.purpose is not NEEDED[report.kind]:
        result = Result.NEITHER if unsigned else Result.NO_TOKEN
        return result, "no token of ours that has this purpose"
    if unsigned:
        reason = proven.reason or "signed by nobody whose complaints are believed"
        return Result.UNAUTHENTICATED, reason
    return None if message is not None else (Result.NOT_SENT, "the message is not in the book")


def _copied(
    report: Report, message: Message | None, token_header: str
) -> tuple[Result, str] | None:
    """Return why a token is not that of the message that a report shows, or None if it may be."""
    if report.token is None or message is None:
        return None
    if stands_where_we_write(report.token, token_header):
        return None
    shown, ours = (each.strip(" \t<>") for each in (report.original.message_id, message.message_id))
    if not shown or not ours or shown == ours:
        return None
    return Result.NO_TOKEN, f"the token in {report.token.where} is of another Message-ID"


def aligned(signer: str, domain: str) -> bool:
    """Tell whether a signature of one domain speaks for another: the same, or one above it.

    It does not where the domain above is a public suffix.
    """
    if signer == domain:
        return bool(signer)
    return domain.endswith(f".{signer}") and provider_of(signer) == provider_of(domain)


def _signer(report: Report, proven: Authentication, reporters: Reporters) -> tuple[str, bool]:
    """Return the domain whose signature counts, and whether it is a listed reporter's."""
    for domain in proven.domains:
        if reporters.find(domain, proven.author) is not None:
            return domain, True
    if report.kind is Kind.COMPLAINT and report.format != "cfbl":
        return "", False
    for domain in proven.domains:
        # A provider of mailboxes signs for its users, and none of them is the provider.
        if aligned(domain, report.reporter) and reporters.owner(domain) is None:
            return domain, False
    return "", False


_OF_ANOTHER = "a token of the whole message, and no proof that the recipient's provider says so"


def _about(
    report: Report, message: Message, proven: Authentication, index: int, *, listed: bool
) -> tuple[tuple[About, ...], str]:
    """Return whom a report is about, and why; nobody if it must not be believed."""
    if len(message.recipients) == 1 and index == 0:
        index = 1
    if index == 0:
        return _about_one_of_many(report, message, proven, listed=listed)
    address = message.recipient(index)
    if not address:
        return (), "the book has no such recipient of the message"
    return (About(address, _reported(report.recipients, address)),), "a token of this recipient"


def _about_one_of_many(
    report: Report, message: Message, proven: Authentication, *, listed: bool
) -> tuple[tuple[About, ...], str]:
    if report.kind is Kind.UNSUBSCRIBE:
        # A mail says who wants it only in its sender, which anybody can write.
        return (), _OF_ANOTHER
    named = [
        About(address, each)
        for each in report.recipients
        if (address := _recipient_of(message, each))
    ]
    vouched = proven.own if report.kind is Kind.BOUNCE else listed
    proven_of = [each for each in named if vouched or _speaks_for(proven, each.address)]
    if proven_of:
        return tuple(proven_of), "a token of the message, and a recipient of it"
    if named:
        return (), _OF_ANOTHER
    if report.kind is Kind.COMPLAINT and listed:
        # The provider has taken the recipient out: it counts, and suppresses nobody.
        return (About(""),), "a token of the message; the recipient was taken out"
    return (), "the recipient is none of the message's"


def _recipient_of(message: Message, reported: ReportedRecipient) -> str:
    """Return the recipient of a message that a report means, or empty.

    Where mail was forwarded, or an alias led elsewhere, only the original address is one of ours.
    """
    return message.same_recipient(reported.address) or (
        message.same_recipient(reported.original_address) if reported.original_address else ""
    )


def _reported(recipients: tuple[ReportedRecipient, ...], address: str) -> ReportedRecipient | None:
    """Return what a report says of the one recipient that its token names.

    The address may be another one: the mail may have been forwarded.
    """
    same = [each for each in recipients if each.address.lower() == address.lower()]
    return next(iter(same or recipients), None)


def _speaks_for(proven: Authentication, address: str) -> bool:
    domain = address.rpartition("@")[2].lower()
    return any(aligned(signer, domain) for signer in proven.domains)
