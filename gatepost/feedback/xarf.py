"""Complaints in XARF, the JSON form that RFC 9477 allows beside ARF; versions 1 to 4.

Purpose: Gatepost asks for ARF, and reads XARF where it comes nevertheless.
Source: the XARF specification 4.0 and the schemas of its versions 1 to 3; RFC 9477 §3.4.
Format: a feedback report with ``Feedback-Type: xarf`` whose last part is JSON, or JSON called
``xarf.json``. Of what the format can report, complaints about messages are complaints here; scans,
attacks and copyright are `unknown`.
Limits: the size of the mail; texts of 320 characters; 10 pieces of evidence, of which the first
that is a message is read.
Errors: none: what cannot be read is a report of unknown content.
Security: JSON too deep for Python's parser is taken for unreadable, as is a number too long for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from gatepost.errors import MalformedMessage
from gatepost.feedback.addresses import bare_address, recipient_of
from gatepost.feedback.arf import fields_in, report_part, type_in
from gatepost.feedback.encoded import to_text, undo_base64
from gatepost.feedback.mime import Part, clean, parse_mime, values, walk
from gatepost.feedback.reading import Reading
from gatepost.feedback.report import Kind

MAX_EVIDENCE = 10

# (category, type) of version 4, and (class, type) of the versions before it.
_COMPLAINTS: Final = frozenset(
    {
        *(("messaging", "spam"), ("messaging", "bulk_messaging"), ("messaging", "phishing")),
        *(("activity", "spam"), ("content", "phishing"), ("content", "fraud")),
    }
)
_MESSAGES = ("message/rfc822", "text/rfc822-headers", "message/global")


def read_xarf(mail: Part) -> Reading | None:
    """Return what a report in this format says, or None if the mail is none.

    Raises:
        MalformedMessage: If its ARF fields are too many.
    """
    declared_type = type_in(fields_in(report_part(mail)))
    for part in walk(mail):
        if part.parts or not _may_be_xarf(part, declared_type):
            continue
        data = _decode(part)
        if data is not None:
            return _reading(data)
    if declared_type != "xarf":
        return None
    return Reading(Kind.UNKNOWN, "xarf", "xarf", notes=("the JSON of the report cannot be read",))


def _may_be_xarf(part: Part, declared_type: str) -> bool:
    names = [part.params.get("name", ""), *values(part, "content-disposition")]
    named = any("xarf" in name.lower() for name in names)
    return part.type == "application/json" and (declared_type == "xarf" or named)


def _decode(part: Part) -> Mapping[str, object] | None:
    try:
        data = json.loads(to_text(part.body).lstrip("\ufeff"), strict=False)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _reading(data: Mapping[str, object]) -> Reading:
    report = data.get("Report")
    old = isinstance(report, dict)
    inner: Mapping[str, object] = report if isinstance(report, dict) else data
    category = _text(inner, "ReportClass" if old else "category").lower()
    kind_of = _text(inner, "ReportType" if old else "type").lower()
    more = inner.get("AdditionalInfo")
    extra: Mapping[str, object] = more if isinstance(more, dict) else {}
    notes: list[str] = []
    to = _text(inner, "smtp_to") or _text(inner, "SmtpRcptToAddress")
    sender = _text(inner, "smtp_from") or _text(inner, "SmtpMailFromAddress")
    complaint = (category, kind_of) in _COMPLAINTS
    if not complaint:
        notes.append(f"nothing follows from a report of {category or 'no'} {kind_of or 'type'}")
    return Reading(
        Kind.COMPLAINT if complaint else Kind.UNKNOWN,
        "xarf",
        kind_of[:40],
        (recipient_of(to, notes),) if to else (),
        _original(inner),
        mail_from=bare_address(sender or _text(extra, "SMTPFrom")),
        notes=tuple(notes),
    )


def _original(data: Mapping[str, object]) -> Part | None:
    for piece in _evidence(data):
        media_type = _text(piece, "content_type") or _text(piece, "ContentType")
        payload = piece.get("payload", piece.get("Payload", piece.get("Data")))
        if media_type.lower() in _MESSAGES and isinstance(payload, str):
            octets = payload.encode("utf-8", "replace")
            plain = piece.get("Base64Encoded") is False
            try:
                return parse_mime(octets if plain else undo_base64(octets))
            except MalformedMessage:
                return None
    return None


def _evidence(data: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    for name in ("evidence", "Samples", "Attachment"):
        pieces = data.get(name)
        if isinstance(pieces, list):
            yield from (piece for piece in pieces[:MAX_EVIDENCE] if isinstance(piece, dict))


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    return clean(value[:320]) if isinstance(value, str) else ""
