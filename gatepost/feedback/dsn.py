r"""Delivery status notices: what became of each recipient, and why.

Purpose: bounces, Postfix's own as well as those of servers that took the mail and gave up later.
Source: RFC 3464 (format), RFC 6522 (multipart/report), RFC 6533 (UTF-8 addresses), RFC 3461 §4
(ENVID and ORCPT, which come back as Original-Envelope-Id and Original-Recipient).
Format: multipart/report with report-type=delivery-status: a text, message/delivery-status (or
message/global-delivery-status), and the message or its header. What is read without all of it:
another multipart, or none; fields in a part of another media type, if the mail calls itself a
report; one block for all fields; an empty line within a block; no Action, no Status, no
Diagnostic-Code, no address; several recipients in one block.
Limits: 1,000 recipients, as `fields` has it; 500 characters of a diagnostic are kept, 2,000 looked
at.
Errors: `MalformedMessage` for more recipients or fields than that.
Security: every address and every word is a claim.
Not handled: hashes of what a mailing list made of the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from gatepost.feedback.addresses import bare_address
from gatepost.feedback.classify import classify
from gatepost.feedback.mime import Part, clean, field_blocks, text_of, walk
from gatepost.feedback.reading import declared, original_in
from gatepost.feedback.report import ReportedRecipient

MAX_DIAGNOSTIC: Final = 500
FAILED: Final = "failed"
DELAYED: Final = "delayed"

_LOOKED_AT: Final = 2000
# RFC 3461 §4.4: an ENVID has at most 100 characters.
_MAX_ENVELOPE_ID: Final = 100
_DELIVERY_STATUS: Final = frozenset(
    {
        "message/delivery-status",
        "message/global-delivery-status",
        "text/delivery-status",
        "message/deliverystatus",
    }
)
_ACTIONS: Final = {
    "failed": FAILED,
    "failure": FAILED,
    "fail": FAILED,
    "delayed": DELAYED,
    "delay": DELAYED,
    "delivered": "delivered",
    "deliverable": "delivered",
    "relayed": "relayed",
    "expanded": "expanded",
}
_ADDRESSES: Final = ("final-recipient", "x-actual-recipient", "original-recipient")
_TYPE: Final = re.compile(r"\s{0,9}[A-Za-z0-9-]{1,20}[ \t]{0,9};\s{0,9}")
_STATUS: Final = re.compile(
    r"\s{0,9}([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![.0-9])\s{0,9}(.*)", re.DOTALL
)
# RFC 6533 §3: EmbeddedUnicodeChar
_EMBEDDED: Final = re.compile(r"\\x\{(0{0,2}[0-9A-Fa-f]{2,6})\}")
_LAST_CHARACTER: Final = 0x10FFFF
_EMPTY_LINE: Final = re.compile(r"\n[ \t]{0,99}\n")

_Block = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Dsn:
    """One notice.

    Attributes:
        recipients: Whom it is about; those that failed are classified.
        envelope_id: The ENVID that the original had, or empty.
        reporting_mta: Who says so, without the type of name, or empty.
        original: The message that it is about, or what is shown of it.
        notes: What was odd and yet read, one sentence each.
    """

    recipients: tuple[ReportedRecipient, ...]
    envelope_id: str = ""
    reporting_mta: str = ""
    original: Part | None = None
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[ReportedRecipient, ...]:
        """Return those that mail will not reach: without any, the notice is no bounce."""
        return tuple(each for each in self.recipients if each.action == FAILED)


def read_dsn(mail: Part) -> Dsn | None:
    """Return what a notice says, or None if the mail is none, or tells of nobody.

    Raises:
        MalformedMessage: If it has more recipients or fields than are read.
    """
    notes: list[str] = []
    blocks = _blocks(mail, notes)
    recipient_blocks = list(_recipient_blocks(blocks))
    if not recipient_blocks:
        return None
    notice = _notice(mail)
    alone = len(recipient_blocks) == 1
    recipients = tuple(_recipient(block, notice, notes, alone) for block in recipient_blocks)
    return Dsn(
        recipients,
        _undo_xtext(_first(blocks, "original-envelope-id"))[:_MAX_ENVELOPE_ID],
        clean(_TYPE.sub("", _first(blocks, "reporting-mta"), count=1))[:255],
        original_in(mail),
        tuple(dict.fromkeys(notes)),
    )


def _blocks(mail: Part, notes: list[str]) -> list[dict[str, list[str]]]:
    report_type = declared(mail)
    for part in walk(mail):
        if part.type in _DELIVERY_STATUS:
            if report_type != "delivery-status":
                notes.append(f"report-type is {clean(report_type)[:40] or 'missing'}")
            return field_blocks(text_of(part))
    if mail.type != "multipart/report" or report_type not in {"", "delivery-status"}:
        return []
    for part in mail.parts:
        if not part.parts and part.type.startswith(("text/", "application/")):
            blocks = field_blocks(text_of(part))
            if any("final-recipient" in block and "status" in block for block in blocks):
                notes.append(f"the fields stand in a part of type {clean(part.type)[:60]}")
                return blocks
    return []


def _recipient_blocks(blocks: Iterable[_Block]) -> Iterator[dict[str, str]]:
    """Yield for each recipient its fields, of which each stands once."""
    open_block: dict[str, list[str]] | None = None
    for block in blocks:
        names_one = any(name in block for name in _ADDRESSES)
        if open_block is not None and not names_one and not _is_complete(open_block):
            # An empty line within.
            open_block = {**block, **open_block}
        elif names_one or "action" in block or "status" in block:
            if open_block is not None:
                yield from _divided(open_block)
            open_block = dict(block)
    if open_block is not None:
        yield from _divided(open_block)


def _is_complete(block: _Block) -> bool:
    return "action" in block or "status" in block


def _divided(block: _Block) -> Iterator[dict[str, str]]:
    """Yield a block for each recipient of one that has several."""
    several = len(block.get("final-recipient", ()))
    if several < 2:
        yield {name: " ".join(found) for name, found in block.items()}
        return
    for row in zip_longest(*block.values(), fillvalue=""):
        fields = dict(zip(block, row, strict=True))
        if fields["final-recipient"]:
            # What stands once is meant for all.
            yield {name: value or block[name][0] for name, value in fields.items()}


def _recipient(
    block: Mapping[str, str],
    notice: str,
    notes: list[str],
    alone: bool,  # noqa: FBT001
) -> ReportedRecipient:
    address = next(filter(None, (_address(block.get(name, "")) for name in _ADDRESSES)), "")
    original = _address(_undo_xtext(block.get("original-recipient", "")))
    match = _STATUS.match(block.get("status", ""))
    status, comment = (match[1], match[2]) if match else ("", block.get("status", ""))
    diagnostic = _TYPE.sub("", block.get("diagnostic-code", ""), count=1).strip()
    said = diagnostic or comment.strip(" ()") or _about(address, notice, alone)
    action = _action(block, status, said, notes)
    return ReportedRecipient(
        address,
        status,
        action,
        clean(diagnostic)[:MAX_DIAGNOSTIC],
        classify(status, said[:_LOOKED_AT]) if action == FAILED else None,
        original_address=original,
    )


def _action(block: Mapping[str, str], status: str, said: str, notes: list[str]) -> str:
    written = block.get("action", "").strip().lower()
    # A comment may follow, such as "failed (permanent failure)".
    found = _ACTIONS.get(re.split(r"[^a-z]", written, maxsplit=1)[0])
    if found is not None:
        return found
    notes.append("Action is missing" if not written else f"Action is {clean(written)[:40]}")
    if "will-retry-until" in block:
        return DELAYED
    # RFC 3464 §2.3.3 has five actions; the class of the status is what is left to tell them by.
    first = (status or said.strip() or " ")[0]
    return {"5": FAILED, "4": FAILED if status == "4.4.7" else DELAYED, "2": "delivered"}.get(
        first, ""
    )


def _address(value: str) -> str:
    """Return the address in a field, RFC 3464 §2.1.2 and RFC 6533 §3, or an empty text."""
    return bare_address(_EMBEDDED.sub(_embedded, value))


def _embedded(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    # Half a character, and one that would act on a terminal, is not printable.
    return chr(code) if code <= _LAST_CHARACTER and chr(code).isprintable() else match[0]


def _undo_xtext(value: str) -> str:
    """Return a value without the xtext of RFC 3461 §4, where somebody left it.

    Only the two printable characters that must be encoded are: "+20" in an address is more likely
    to be a sub-address.
    """
    return clean(value).replace("+2B", "+").replace("+3D", "=")


def _first(blocks: Iterable[_Block], name: str) -> str:
    return next((block[name][0] for block in blocks if name in block), "")


def _notice(mail: Part) -> str:
    """Return the text for people, which tells the reason where the fields do not."""
    if mail.type.startswith("multipart/"):
        for part in mail.parts:
            if part.type.startswith(("text/plain", "text/html", "multipart/alternative")):
                return text_of(part)[: 16 * _LOOKED_AT]
    return ""


def _about(address: str, notice: str, alone: bool) -> str:  # noqa: FBT001
    """Return what a notice says of one recipient."""
    place = notice.lower().find(address.lower()) if address else -1
    if place < 0:
        return notice[:_LOOKED_AT] if alone else ""
    if alone:
        return notice[place : place + _LOOKED_AT]
    end = _EMPTY_LINE.search(notice, place)
    return notice[place : end.start() if end else place + _LOOKED_AT]
