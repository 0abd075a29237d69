"""Take a mail apart: a reader of MIME that stays within bounds whatever it is given.

Purpose: every parser of what comes back works on the `Part` tree that this makes, and none of them
on octets. The standard library's parser needs a level of recursion for each level of a mail, and
compares each line with the boundary of each level.
Source: RFC 5322, RFC 2045, RFC 2046, RFC 6522; RFC 6532 and RFC 6533 (UTF-8 in headers).
Format: lines end in LF or CRLF. What is broken is read in the way that loses least: an unknown
encoding is left, a missing last boundary ends with its body, a multipart without a usable boundary
is a body, a mail may begin with empty lines or with the "From " line of an mbox.
Limits: 1 MiB of mail, as a report is a few KiB and carries one newsletter; 64 KiB for the header of
a mail or part; 1,000 fields in it, and 8 KiB kept of each; 10 levels; 100 parts. 256 KiB of a body
are read as text, as what tells anything stands at its beginning. Of a message that a
multipart/report shows and that is beyond these limits, only the header is read: of it the first and
the last 32 KiB, and the first and the last 500 fields.
Errors: `MalformedMessage` for more than that, and nothing else.
Security: each level is copied at most twice, so time and memory are proportional to the size.
Not handled: message/partial, message/external-body, uuencode, and parameters by RFC 2231.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gatepost.errors import MalformedMessage
from gatepost.feedback.encoded import decode_words, strip_tags, to_text, undo_transfer
from gatepost.feedback.fields import MAX_FIELDS, field_blocks, fields_of

__all__ = ["Part", "field_blocks", "original_of", "parse_mime", "text_of", "values", "walk"]

MAX_OCTETS = 1024 * 1024
MAX_HEADER_OCTETS = 64 * 1024
MAX_DEPTH = 10
MAX_PARTS = 100
MAX_TEXT_OCTETS = 256 * 1024
MAX_BOUNDARY_OCTETS = 250

_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_HEADERS = frozenset(
    {
        "text/rfc822-headers",
        "message/rfc822-headers",
        "message/global-headers",
        "text/rfc822-header",
    }
)
_EMPTY_LINE = re.compile(rb"\A\r?\n|\r?\n\r?\n")
_MBOX = re.compile(rb"From [^\n]*\n")
_FIRST_FIELD = re.compile(rb"[!-9;-~]{1,76}[ \t]*:|>?From ")
_NEXT_FIELD = re.compile(rb"\n(?=[!-9;-~]{1,76}[ \t]*:)")
_FIRST_FIELD_TEXT = re.compile(r"[!-9;-~]{1,76}[ \t]*:")
_TYPE = re.compile(r"[\w!#$&^.+-]{1,76}/[\w!#$&^.+-]{1,76}", re.ASCII)
_PARAMETER = re.compile(
    r';[ \t]*([!-:<>-~]{1,40}?)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"?|([^;]*))', re.DOTALL
)
# Line ends of any kind, what moves a cursor, and what turns the direction of writing.
_ACTING = (
    *range(32),
    *range(127, 160),
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
_BLANKS = dict.fromkeys(_ACTING, " ")


@dataclass(frozen=True, slots=True)
class Part:
    """A mail, or a part of one.

    Attributes:
        type: Media type in lower case; ``text/plain`` where none is named.
        params: Parameters of the media type; names in lower case, values as written.
        headers: Fields in order: name in lower case, and value unfolded, as written.
        body: The body, its transfer encoding undone; for a multipart what stands before the first
            boundary.
        parts: The parts of a multipart. A message, or the header of one, has that as its only part.
    """

    type: str
    params: Mapping[str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    parts: tuple[Part, ...] = ()


def parse_mime(octets: bytes) -> Part:
    """Return a mail as a tree of parts.

    Args:
        octets: The mail, header and body.

    Raises:
        MalformedMessage: If it is larger, deeper or made of more parts than the limits allow.
    """
    if len(octets) > MAX_OCTETS:
        raise MalformedMessage(
            f"the mail has {len(octets)} octets; {MAX_OCTETS} are read", rule="limit on size"
        )
    return _Reader().message(octets, 1)


def values(part: Part, name: str) -> list[str]:
    """Return the values of a header field, in order.

    Encoded words are decoded, and control characters become blanks.

    Args:
        part: The mail or part.
        name: The field; case does not matter.
    """
    wanted = name.lower()
    return [clean(decode_words(value)) for each, value in part.headers if each == wanted]


def clean(text: str) -> str:
    """Return text without characters that would act on a terminal or break a line."""
    return text.translate(_BLANKS).encode("utf-8", "replace").decode().strip()


def text_of(part: Part) -> str:
    """Return the text of a part; of a multipart, that of its parts, line by line.

    HTML loses its tags, of alternatives the first text counts, and a message within is not entered.
    """
    if part.type.startswith("multipart/") and part.parts:
        return "\n".join(_texts(part))
    text = to_text(part.body[:MAX_TEXT_OCTETS], part.params.get("charset", ""))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return strip_tags(text) if part.type == "text/html" else text


def _texts(part: Part) -> Iterator[str]:
    for each in part.parts:
        if each.type.startswith(("text/", "multipart/")) and each.type not in _HEADERS:
            text = text_of(each)
            if text.strip():
                yield text
                if part.type == "multipart/alternative":
                    return


def walk(part: Part) -> Iterator[Part]:
    """Yield a part and all parts in it, in order, without entering messages."""
    yield part
    if part.type.startswith("multipart/"):
        for each in part.parts:
            yield from walk(each)


def original_of(part: Part) -> Part | None:
    """Return the first message that a mail carries, whole or only its header, or None."""
    for each in walk(part):
        if each.type in _MESSAGES or each.type in _HEADERS:
            return each.parts[0] if each.parts else None
    return None


class _Reader:
    """Counts the parts of one mail while it takes it apart."""

    def __init__(self) -> None:
        self._parts = 0
        self._is_report = False
        self._is_shown = False

    def message(self, octets: bytes, depth: int) -> Part:
        octets = octets.lstrip(b"\r\n")
        mbox = _MBOX.match(octets)
        return self._part(octets[mbox.end() :] if mbox else octets, depth, "text/plain")

    def _part(self, octets: bytes, depth: int, default: str) -> Part:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedMessage(f"more than {MAX_PARTS} parts", rule="limit on parts")
        if depth > MAX_DEPTH:
            raise MalformedMessage(f"more than {MAX_DEPTH} levels", rule="limit on depth")
        head, body = _cut(octets)
        headers = tuple(fields_of(head.split("\n")))
        media_type, params = _media_type(_first(headers, "content-type"), default)
        if self._parts == 1:
            self._is_report = media_type == "multipart/report"
        if media_type.startswith("multipart/"):
            return self._multipart(media_type, params, headers, body, depth)
        body = undo_transfer(body, _first(headers, "content-transfer-encoding"))
        inner: tuple[Part, ...] = ()
        if media_type in _MESSAGES or media_type in _HEADERS:
            inner = (self._inner(body, depth + 1),)
        return Part(media_type, params, headers, body, inner)

    def _inner(self, octets: bytes, depth: int) -> Part:
        """Return a message in a mail; of one that a report shows, the header if it is too much.

        Whoever sent it has made it, and must not keep reports about it from being read.
        """
        if self._is_shown or not self._is_report:
            return self.message(octets, depth)
        parts, self._is_shown = self._parts, True
        try:
            return self.message(octets, depth)
        except MalformedMessage:
            self._parts = parts
            return _header_of(octets.lstrip(b"\r\n"))
        finally:
            self._is_shown = False

    def _multipart(
        self,
        media_type: str,
        params: Mapping[str, str],
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        depth: int,
    ) -> Part:
        boundary = params.get("boundary", "").rstrip().encode("utf-8", "replace")
        pieces = _split(body, boundary) if 0 < len(boundary) <= MAX_BOUNDARY_OCTETS else [body]
        default = "message/rfc822" if media_type == "multipart/digest" else "text/plain"
        parts = tuple(self._part(piece, depth + 1, default) for piece in pieces[1:])
        return Part(media_type, params, headers, pieces[0], parts)


def _header_of(octets: bytes) -> Part:
    """Return a message without its body, and of its header the beginning and the end.

    A signer writes at the beginning, and we at the end.
    """
    mbox = _MBOX.match(octets)
    octets = octets[mbox.end() :] if mbox else octets
    end = _EMPTY_LINE.search(octets)
    head = octets if end is None else octets[: end.start()]
    if len(head) > MAX_HEADER_OCTETS:
        half = MAX_HEADER_OCTETS // 2
        tail = _NEXT_FIELD.search(head, len(head) - half)
        head = head[:half].rpartition(b"\n")[0] + (b"" if tail is None else head[tail.start() :])
    lines = to_text(head).replace("\r\n", "\n").replace("\r", " ").split("\n")
    starts = [number for number, line in enumerate(lines) if _FIRST_FIELD_TEXT.match(line)]
    if len(starts) > MAX_FIELDS:
        half = MAX_FIELDS // 2
        lines = lines[: starts[half]] + lines[starts[-half] :]
    headers = tuple(fields_of(lines))
    media_type, params = _media_type(_first(headers, "content-type"), "text/plain")
    return Part(media_type, params, headers, b"", ())


def _cut(octets: bytes) -> tuple[str, bytes]:
    """Return header and body of a part."""
    end = _EMPTY_LINE.search(octets, 0, MAX_HEADER_OCTETS)
    if end is None and len(octets) > MAX_HEADER_OCTETS and _FIRST_FIELD.match(octets):
        raise MalformedMessage(
            f"a header of more than {MAX_HEADER_OCTETS} octets", rule="limit on header"
        )
    if not _FIRST_FIELD.match(octets):
        # No header: all of it is body, but for the empty line that ought to stand before that.
        return "", octets[end.end() :] if end is not None and end.start() == 0 else octets
    head = octets if end is None else octets[: end.start()]
    text = to_text(head).replace("\r\n", "\n").replace("\r", " ")
    return text, b"" if end is None else octets[end.end() :]


def _split(body: bytes, boundary: bytes) -> list[bytes]:
    """Return what stands before the first boundary, and the parts."""
    marker = b"--" + boundary
    pieces: list[bytes] = []
    start = place = 0
    while (place := body.find(marker, place)) >= 0 and len(pieces) <= MAX_PARTS:
        after = place + len(marker)
        if place > 0 and body[place - 1] != 0x0A:
            place = after
            continue
        line_end = body.find(b"\n", place)
        line_end = len(body) if line_end < 0 else line_end
        closing = body.startswith(b"--", after)
        if not closing and body[after:line_end].strip():
            # The boundary of another multipart, which begins as this one does.
            place = after
            continue
        pieces.append(_without_line_end(body[start:place]))
        start = place = min(line_end + 1, len(body))
        if closing:
            return pieces
    # Software that forgets the last boundary, and mail that was cut.
    pieces.append(body[start:])
    return pieces


def _without_line_end(octets: bytes) -> bytes:
    return octets.removesuffix(b"\n").removesuffix(b"\r")


def _media_type(value: str, default: str) -> tuple[str, Mapping[str, str]]:
    match = _TYPE.match(value.strip())
    if match is None:
        return default if not value.strip() else "text/plain", {}
    media_type = match[0].lower()
    params: dict[str, str] = {}
    for each in _PARAMETER.finditer(value):
        name, quoted, plain = each[1].lower(), each[2], each[3]
        if quoted is not None:
            text = re.sub(r"\\(.)", r"\1", quoted)
        else:
            text = plain.strip() if name == "boundary" else plain.strip().partition(" ")[0]
        params.setdefault(name, text)
    return media_type, params


def _first(headers: tuple[tuple[str, str], ...], name: str) -> str:
    return next((value for each, value in headers if each == name), "")
