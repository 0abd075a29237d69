"""Suppression lists as CSV: ours, those of other senders, and bare lists of addresses.

Purpose: a list is what an operator brings along from the system before, and takes along.
Source: RFC 4180; the exports of SendGrid, Amazon SES and Mailgun.
Format: with a header, in any order and case; the separator is a comma, semicolon or tab.

===========  =======================================  =========================================
column       also called                              holds
===========  =======================================  =========================================
``address``  email, e-mail, email address,            the address; the only column that must be
             emailaddress, recipient                  there
``tenant``                                            whose list; empty for the global one
``reason``   type                                     a reason; also ``bounce``, ``spam`` and
                                                      ``unsubscribed`` as others write
``since``    created, created_at, date,               ISO 8601, RFC 5322 or Unix time
             lastupdatetime
``expires``                                           the same; empty for good, or for bounces
                                                      for as long as the settings say
``source``                                            text
``note``                                              text
===========  =======================================  =========================================

Without a header, the first line holds an address, and each line is one; empty lines and lines that
begin with ``#`` are passed over.
Limits: 8 KiB of a line.
Errors: a line that makes no sense becomes a `BadLine`; `MalformedMessage` if the header has no
address.
Not handled: columns of other names are passed over.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from gatepost.errors import MalformedMessage
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import (
    GLOBAL,
    Reason,
    Suppressed,
    canonical_address,
    expiry_of,
)

HEADER = ("tenant", "address", "reason", "since", "expires", "source", "note")
MAX_LINE = 8192

_NAMES: Mapping[str, str] = {
    **{name: name for name in HEADER},
    **dict.fromkeys(("email", "e-mail", "email address", "emailaddress", "recipient"), "address"),
    "type": "reason",
    **dict.fromkeys(("created", "created_at", "date", "lastupdatetime"), "since"),
}
_REASONS: Mapping[str, Reason] = {
    **{reason.value: reason for reason in Reason},
    **dict.fromkeys(("bounce", "bounced", "bounces", "hard bounce"), Reason.HARD_BOUNCE),
    **dict.fromkeys(("spam", "spamreport", "spam report", "complained"), Reason.COMPLAINT),
    **dict.fromkeys(("unsubscribed", "unsubscribes"), Reason.UNSUBSCRIBE),
}
_SEPARATORS = ",;\t"
_UNIX_TIME = re.compile(r"[0-9]{9,11}(?:\.[0-9]{1,9})?")
_WORD = re.compile(r"[A-Za-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no entry.

    Attributes:
        line: Its number, from 1.
        problem: What is wrong, without a full stop.
    """

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a table does not say.

    Attributes:
        tenant: Whose list, or None where each line has to say so.
        tenants: Ids of the tenants that a line may name.
        reason: The reason of every entry, whatever the table says, or None to read it there.
        expires: Until when all of them hold, or None to read it there.
        source: Where the entries come from.
        note: Further words.
        now: Unix time in seconds; since when an entry without a date holds.
        rules: How long bounces hold.
    """

    tenant: str | None
    tenants: Collection[str]
    reason: Reason | None
    expires: float | None
    source: str
    note: str
    now: float
    rules: SuppressionRules


def read_entries(lines: Iterable[str], defaults: Defaults) -> Iterator[Suppressed | BadLine]:
    """Yield the entries of a table, in order, and the lines that are none.

    Args:
        lines: Its lines.
        defaults: What holds where it does not say.

    Raises:
        MalformedMessage: If the header has no column for addresses.
    """
    numbered = _Lines(lines)
    first = next(numbered, "")
    while not first.strip() or first.lstrip().startswith("#"):
        if not first:
            return
        first = next(numbered, "")
    columns, separator = _header(first)
    if columns is None:
        yield from _read_bare(first, numbered, defaults)
        return
    rows = csv.reader(numbered, delimiter=separator)
    while True:
        begin = numbered.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(begin, str(error))
            continue
        if row:
            fields = {name: row[place].strip() for name, place in columns if place < len(row)}
            yield _entry(fields, defaults, begin)


def row_of(entry: Suppressed) -> tuple[str, ...]:
    """Return an entry as a row below `HEADER`."""
    return (
        entry.tenant,
        entry.address,
        entry.reason.value,
        format_time(entry.at),
        "" if entry.expires is None else format_time(entry.expires),
        entry.source,
        entry.note,
    )


def format_time(at: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, to the second."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Return the Unix time that a text of one of the forms above says; UTC without a zone.

    Raises:
        MalformedMessage: If it is none of them.
    """
    if _UNIX_TIME.fullmatch(text):
        return float(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text[:60])
        except (ValueError, OverflowError) as error:
            raise MalformedMessage(f"{text[:40]!a} is no time", rule="ISO 8601") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    # What can be told in seconds and as a date.
    if not 1970 <= moment.year < 9999:
        raise MalformedMessage(f"{text[:40]!a} is no time", rule="ISO 8601")
    return moment.timestamp()


class _Lines:
    """Lines, and how many there were."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line


def bounded_lines(read_line: Callable[[int], str]) -> Iterator[str]:
    """Yield the lines of a file; of one that is too long, its beginning, which is no entry.

    Args:
        read_line: Returns the rest of a line, at most so many characters; empty at the end.
    """
    while line := read_line(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (more := read_line(MAX_LINE)) and not more.endswith("\n"):
                pass
            begin = line[:60].replace('"', "")
            line = f"{begin}… is too long\n"
        yield line


def _header(line: str) -> tuple[Sequence[tuple[str, int]] | None, str]:
    """Return where each column stands, or None without a header; and the separator."""
    if "@" in line:
        return None, ","
    separator = max(_SEPARATORS, key=line.count)
    words = next(csv.reader([line], delimiter=separator), [])
    names = [_NAMES.get(word.strip().lower()) for word in words]
    columns: dict[str, int] = {}
    for place, name in enumerate(names):
        if name is not None:
            columns.setdefault(name, place)
    if "address" not in columns:
        raise MalformedMessage(
            "the first line holds neither an address nor a column called address or email",
            rule="RFC 4180 §2",
        )
    return tuple(columns.items()), separator


def _read_bare(first: str, lines: _Lines, defaults: Defaults) -> Iterator[Suppressed | BadLine]:
    line: str | None = first
    while line is not None:
        text = line.strip()
        if text and not text.startswith("#"):
            yield _entry({"address": text}, defaults, lines.number)
        line = next(lines, None)


def _entry(fields: Mapping[str, str], defaults: Defaults, line: int) -> Suppressed | BadLine:
    try:
        return _entry_of(fields, defaults)
    except MalformedMessage as error:
        return BadLine(line, str(error))


def _entry_of(fields: Mapping[str, str], defaults: Defaults) -> Suppressed:
    address = fields.get("address", "")
    # Only to see whether it is one; the store needs it in this form as well.
    canonical = str(canonical_address(address))
    tenant = _tenant(fields, defaults)
    reason = defaults.reason or _reason(fields.get("reason", ""), tenant)
    since = fields.get("since", "")
    at = parse_time(since) if since else defaults.now
    ends = fields.get("expires", "")
    expires = defaults.expires
    if expires is None and ends:
        expires = parse_time(ends)
    if expires is not None and not reason.may_expire:
        raise MalformedMessage(f"the reason {reason} has no end", rule="suppression")
    if tenant == GLOBAL and reason is not Reason.INVALID:
        raise MalformedMessage(
            "the global list takes addresses with the reason invalid alone", rule="suppression"
        )
    return Suppressed(
        tenant,
        canonical,
        reason,
        at,
        expiry_of(reason, at, defaults.rules) if expires is None else expires,
        fields.get("source", "") or defaults.source,
        fields.get("note", "") or defaults.note,
    )


def _tenant(fields: Mapping[str, str], defaults: Defaults) -> str:
    found = fields.get("tenant")
    if defaults.tenant is None:
        if found is None:
            raise MalformedMessage("no column tells whose list it is for", rule="suppression")
        if found != GLOBAL and found not in defaults.tenants:
            raise MalformedMessage(f"there is no tenant {found[:40]!a}", rule="suppression")
        return found
    if found not in {None, defaults.tenant}:
        raise MalformedMessage(f"it is for the list of {found[:40]!a}", rule="suppression")
    return defaults.tenant


def _reason(text: str, tenant: str) -> Reason:
    if not text:
        return Reason.INVALID if tenant == GLOBAL else Reason.MANUAL
    reason = _REASONS.get(text.lower())
    if reason is None:
        what = text if _WORD.fullmatch(text) else ascii(text[:40])
        raise MalformedMessage(f"{what} is no reason", rule="suppression")
    return reason
