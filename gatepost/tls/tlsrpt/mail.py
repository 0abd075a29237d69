"""The reports in a mail: multipart/report as RFC 8460 wants it, and whatever else carries one.

Source: RFC 8460 §5.3 (multipart/report, report-type=tlsrpt), §5.1 (file names), §6.4 and §6.5
(media types); RFC 6522.
Format: parts are tried in the order of how much they look like a report: by media type, by file
name, then any other that starts as JSON or gzip does. The first kind that gives a report counts.
Limits: 16 MiB of mail; 200 parts; multiparts and mails within mails, 50.
Errors: `parse_mail` raises `MalformedMessage`, and nothing else.
Not handled: the DKIM signature that RFC 8460 §3 asks for. Who takes mail from an address checks it,
before the report counts for anything; ``TLS-Report-Submitter`` alone proves nothing.
"""

from __future__ import annotations

import email.message
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt.json_report import Hints, as_domain, hints_of_name, parse_json
from gatepost.tls.tlsrpt.limits import GZIP_MAGIC, MAX_OCTETS, inflate
from gatepost.tls.tlsrpt.model import TlsReport

MAX_PARTS = 200
MAX_CONTAINERS = 50

_RULE = "RFC 8460 §5.3"
_DECLARED = frozenset({"application/tlsrpt+gzip", "application/tlsrpt+json"})
_NAMED = re.compile(r"(?:\.json|\.json\.gz|\.gz)\Z", re.IGNORECASE)
# A mailbox in mbox form, of which the email package would read the first mail and nothing else.
_SECOND_MAIL = re.compile(rb"\n\r?\nFrom [^\r\n]{1,300}\r?\n[A-Za-z][A-Za-z0-9-]{0,60}: ")
_CONTAINER = re.compile(rb"\b(?:multipart|message)/", re.IGNORECASE)
# Blanks and the two byte order marks may stand before JSON.
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*\{")


@dataclass(frozen=True, slots=True)
class _Candidate:
    octets: bytes
    name: str
    declared: bool


def starts_as_json(octets: bytes) -> bool:
    """Tell whether octets begin as a JSON object does."""
    return _JSON_START.match(octets) is not None


def unpack(octets: bytes, hints: Hints) -> TlsReport:
    """Return the report in JSON text that may be compressed.

    Raises:
        MalformedMessage: If it is none.
    """
    return parse_json(inflate(octets) if octets.startswith(GZIP_MAGIC) else octets, hints)


def parse_mail(octets: bytes) -> tuple[TlsReport, ...]:
    """Return the reports that a mail carries; at least one.

    Args:
        octets: The message, header and body, with any line ends.

    Raises:
        MalformedMessage: If it carries none, or exceeds a limit.
    """
    _check_size(octets)
    try:
        message = email.message_from_bytes(octets, policy=email.policy.compat32)
        hints = Hints(
            _header(message, "TLS-Report-Domain"), _header(message, "TLS-Report-Submitter")
        )
        candidates = list(_candidates(message))
        declared = is_report(message)
    except MalformedMessage:
        raise
    except Exception as error:  # the email package has no list of what hostile mail makes it raise
        raise MalformedMessage(f"the mail cannot be read: {error}", rule="RFC 2045") from error
    if not candidates:
        raise MalformedMessage("the mail carries no TLS report", rule=_RULE)
    reports, problems = [], []
    for candidate in candidates:
        try:
            reports.append(_report(candidate, hints, declared_mail=declared))
        except MalformedMessage as problem:
            problems.append(problem)
    if not reports:
        raise problems[0]
    return tuple(reports)


def is_report(message: email.message.Message) -> bool:
    """Tell whether a mail declares itself as a TLS report, RFC 8460 §5.3."""
    kind = message.get_param("report-type", "")
    return message.get_content_type() == "multipart/report" and str(kind).lower() == "tlsrpt"


def _check_size(octets: bytes) -> None:
    if len(octets) > MAX_OCTETS:
        raise MalformedMessage(f"the mail has more than {MAX_OCTETS} octets", rule=_RULE)
    # Each boundary starts a part, and each container a level: both counted before any is built.
    # Generated boundaries start with "--" and more, and so does nothing else in such numbers.
    if octets.count(b"\n--") + octets.count(b"\r--") > 2 * MAX_PARTS:
        raise MalformedMessage(f"the mail has more than {MAX_PARTS} parts", rule=_RULE)
    if octets.startswith(b"From ") and _SECOND_MAIL.search(octets):
        raise MalformedMessage(
            "it is a mailbox of several mails; formail -s gatepost tls reports add - splits it",
            rule=_RULE,
        )
    if len(_CONTAINER.findall(octets)) > MAX_CONTAINERS:
        raise MalformedMessage(f"the mail has more than {MAX_CONTAINERS} multiparts", rule=_RULE)


def _header(message: email.message.Message, name: str) -> str:
    return as_domain(str(message.get(name, "")))


def _candidates(message: email.message.Message) -> Iterator[_Candidate]:
    """Yield parts that may be reports; those that say so first."""
    found: list[tuple[int, _Candidate]] = []
    for part in message.walk():
        payload = None if part.is_multipart() else part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            continue
        declared = part.get_content_type() in _DECLARED
        name = str(part.get_filename() or "")
        fits = payload.startswith(GZIP_MAGIC) or starts_as_json(payload)
        if declared or fits:
            rank = 0 if declared else 1 if _NAMED.search(name) else 2
            found.append((rank, _Candidate(payload, name, declared)))
    best = min((rank for rank, _ in found), default=0)
    # The rest of a mail with a declared report, such as its text, is no report.
    yield from (candidate for rank, candidate in found if rank == best)


def _report(candidate: _Candidate, hints: Hints, *, declared_mail: bool) -> TlsReport:
    named = hints_of_name(candidate.name)
    both = Hints(
        hints.domain or named.domain, hints.submitter or named.submitter, named.start, named.end
    )
    report = unpack(candidate.octets, both)
    deviations = []
    if not candidate.declared:
        deviations.append("the part has another media type than RFC 8460 names")
    if not declared_mail:
        deviations.append("the mail is no multipart/report of type tlsrpt")
    return replace(report, deviations=(*report.deviations, *deviations))
