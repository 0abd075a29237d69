"""Make one `Report` of a mail that came back, whatever its format.

Purpose: the intake, ``gatepost feedback parse`` and the tests of each format run this one function.
Format: the first of these that knows the mail decides. What names itself goes before what is known
by its words, and what a person did before what a server says:

1. TLS reports (RFC 8460), which the TLS side reads;
2. complaints: XARF, ARF, the old JMRP;
3. delivery status notices (RFC 3464, 6533);
4. automatic replies that say so beyond doubt, such as vacation notes;
5. unsubscriptions;
6. bounces that follow no standard, known by their texts;
7. whatever else calls itself automatic.

A notice that lists no failed recipient is no bounce. That mail was delayed, relayed or delivered is
told by an `auto-reply` of format ``dsn`` or ``bounce-text``, from which nothing follows.
Limits: those of `mime`. Of a larger mail the first MiB is read, as it holds all that a report says
before it shows the original; where that tells nothing, the mail is refused for its size.
Errors: `MalformedMessage`, and nothing else, for what cannot be read within the limits.
Security: the result is a claim, but for its token. `trust` decides what may follow from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gatepost.errors import MalformedMessage
from gatepost.feedback.addresses import author_domain, bare_address
from gatepost.feedback.arf import read_arf
from gatepost.feedback.auto_reply import read_automatic, read_reply
from gatepost.feedback.bounce_text import original_in_text, read_bounce_text
from gatepost.feedback.dsn import FAILED, read_dsn
from gatepost.feedback.jmrp import read_jmrp
from gatepost.feedback.mime import MAX_OCTETS, Part, parse_mime, values, walk
from gatepost.feedback.reading import Reading, declared, original_in
from gatepost.feedback.report import Kind, Original, Report, ReportedRecipient
from gatepost.feedback.token import Keyring, Purpose
from gatepost.feedback.tokens_in import (
    TOKEN_HEADER,
    Tokens,
    choose_token,
    find_tokens,
    places_in,
)
from gatepost.feedback.unsubscribe_mail import read_unsubscribe
from gatepost.feedback.xarf import read_xarf

_MAX_TEXT_CHARACTERS = 998
_TLS_REPORTS = frozenset({"application/tlsrpt+gzip", "application/tlsrpt+json"})


@dataclass(frozen=True, slots=True)
class EnvelopeFacts:
    """The envelope of a mail that came back.

    Attributes:
        sender: Envelope sender, empty if it is null, or None where it is not known.
        recipient: Envelope recipient, or empty where it is not known.
    """

    sender: str | None = None
    recipient: str = ""


def read_mail(
    octets: bytes,
    envelope: EnvelopeFacts,
    keyring: Keyring,
    now: float,
    token_header: str = TOKEN_HEADER,
) -> Report:
    """Return what a mail that came back says.

    Args:
        octets: The mail, header and body.
        envelope: Its envelope.
        keyring: The keys that may have signed our tokens.
        now: Unix time in seconds.
        token_header: Name of the header that carries our token.

    Raises:
        MalformedMessage: If it cannot be read within the limits.
    """
    try:
        return _read(octets, envelope, keyring, now, token_header)
    except (RecursionError, MemoryError) as error:
        raise MalformedMessage("the mail takes too much to read", rule="limit on memory") from error


def _read(
    octets: bytes, envelope: EnvelopeFacts, keyring: Keyring, now: float, token_header: str
) -> Report:
    mail = parse_mime(octets[:MAX_OCTETS])
    if not mail.headers:
        raise MalformedMessage("there is no header, so it is no mail", rule="RFC 5322 §3.6")
    to_us = find_tokens(places_in(mail, envelope.recipient, None), keyring, now)
    reading = _reading(mail, envelope, to_us)
    cut = len(octets) > MAX_OCTETS
    if cut and reading.kind is Kind.UNKNOWN:
        raise MalformedMessage(
            f"the mail has {len(octets)} octets; its first {MAX_OCTETS} say nothing",
            rule="limit on size",
        )
    places = places_in(mail, envelope.recipient, reading, token_header)
    tokens = find_tokens(places, keyring, now)
    notes = [*reading.notes, *tokens.notes]
    if reading.about_report is not None:
        # A tenant that gives its mail the form of a report has complaints about it all the same.
        if tokens.of(Purpose.COMPLAINT) is not None:
            reading = replace(reading, kind=reading.about_report)
        else:
            notes.append("a report about a report is ignored (RFC 6650)")
    if cut:
        notes.append(f"of {len(octets)} octets, {MAX_OCTETS} were read")
    token = choose_token(tokens, reading.kind, notes)
    return Report(
        reading.kind,
        _format(mail, envelope, reading),
        author_domain(mail),
        reading.feedback_type,
        reading.recipients,
        _original(reading.original),
        token,
        reading.incidents,
        tuple(notes),
    )


def _reading(mail: Part, envelope: EnvelopeFacts, to_us: Tokens) -> Reading:
    null_sender = envelope.sender == "" or "<>" in values(mail, "return-path")
    to_token = to_us.of(Purpose.UNSUBSCRIBE) is not None
    return (
        _tls_report(mail)
        or read_xarf(mail)
        or read_arf(mail)
        or read_jmrp(mail)
        or _notice(mail)
        or read_reply(mail)
        or read_unsubscribe(mail, null_sender=null_sender, to_token=to_token)
        or _notice_in_words(mail)
        or read_automatic(mail)
        or Reading(Kind.UNKNOWN, "unknown")
    )


def _tls_report(mail: Part) -> Reading | None:
    if declared(mail) == "tlsrpt" or any(part.type in _TLS_REPORTS for part in walk(mail)):
        return Reading(Kind.TLS_REPORT, "tlsrpt")
    return None


def _notice(mail: Part) -> Reading | None:
    dsn = read_dsn(mail)
    if dsn is None:
        return None
    kind, notes = _kind_of_notice(dsn.recipients)
    return Reading(
        *(kind, "dsn", "", dsn.recipients, dsn.original, dsn.envelope_id),
        notes=(*dsn.notes, *notes),
    )


def _notice_in_words(mail: Part) -> Reading | None:
    recipients = read_bounce_text(mail)
    if recipients is None:
        return None
    kind, notes = _kind_of_notice(recipients)
    original = original_in(mail) or original_in_text(mail)
    return Reading(kind, "bounce-text", "", recipients, original, notes=notes)


def _kind_of_notice(recipients: Iterable[ReportedRecipient]) -> tuple[Kind, tuple[str, ...]]:
    actions = {each.action for each in recipients}
    if FAILED in actions:
        return Kind.BOUNCE, ()
    told = " and ".join(sorted(actions - {""})) or "nothing"
    return Kind.AUTO_REPLY, (f"nobody failed, so this is no bounce: it tells of {told}",)


def _format(mail: Part, envelope: EnvelopeFacts, reading: Reading) -> str:
    """Return the format; a report that answers a CFBL-Address is one of RFC 9477."""
    if reading.format != "arf" or reading.original is None:
        return reading.format
    asked = {bare_address(value).lower() for value in values(reading.original, "cfbl-address")} - {
        ""
    }
    sent_to = [envelope.recipient] if envelope.recipient else values(mail, "to")
    if any(bare_address(value).lower() in asked for value in sent_to):
        return "cfbl"
    # Everything but these two fields may have been taken out.
    only_reference = not asked and values(reading.original, "cfbl-feedback-id")
    return "cfbl" if only_reference else "arf"


def _original(original: Part | None) -> Original:
    if original is None:
        return Original()
    sender = next((value for name, value in original.headers if name == "from"), "")
    return Original(
        _text(original, "message-id"), bare_address(sender), _text(original, "feedback-id")
    )


def _text(part: Part, name: str) -> str:
    return next(iter(values(part, name)), "")[:_MAX_TEXT_CHARACTERS]
