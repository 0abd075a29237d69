"""SMTP replies: octets in, replies out.

Source: RFC 5321 §4.2 (replies), §4.2.1 (three digits, "-" for more lines, one code for all lines),
§4.5.3.1.5 (512 octets a line).
Limits: a line of 4,096 octets, as servers exceed 512; a reply of 64 KiB, many times the longest
EHLO reply that is known. Nothing beyond that is kept: a server may send what it likes.
Errors: `next_reply` raises `RemoteProtocolError`, and again at each further call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.errors import RemoteProtocolError

MAX_LINE_OCTETS = 4096
MAX_REPLY_OCTETS = 65536

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    Attributes:
        code: 200 to 599.
        lines: The text of each line behind code and separator, octets as Latin-1.
        raw: The whole reply as it came, octets as Latin-1.
    """

    code: int
    lines: tuple[str, ...]
    raw: str

    @property
    def positive(self) -> bool:
        """Tell whether it is a 2xx."""
        return 200 <= self.code < 300

    @property
    def text(self) -> str:
        """Return code and first line, for people: printable ASCII, at most 120 characters."""
        line = "".join(c if " " <= c <= "~" else "?" for c in self.lines[0][:116])
        return f"{self.code} {line}".rstrip()


class ReplyReader:
    """Takes octets as they come and gives replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        self._lines: list[str] = []
        self._raw: list[bytes] = []
        self._octets = 0
        self._error = ""

    @property
    def pending(self) -> bool:
        """Tell whether octets have come that belong to no reply that was given."""
        return bool(self._buffer or self._raw)

    def receive_data(self, data: bytes) -> None:
        """Take octets of the server; none are kept once the server has broken the rules."""
        if not self._error:
            self._buffer += data

    def next_reply(self) -> Reply | None:
        """Return the next reply, or None until more octets come.

        Raises:
            RemoteProtocolError: If these octets are no reply.
        """
        while not self._error:
            line = self._next_line()
            reply = None if line is None else self._take(line)
            if reply is not None or (line is None and not self._error):
                return reply
        raise RemoteProtocolError(self._error)

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, MAX_LINE_OCTETS)
        if end >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            self._octets += len(line)
            if self._octets > MAX_REPLY_OCTETS:
                self._fail(f"a reply of more than {MAX_REPLY_OCTETS} octets")
            return line
        if len(self._buffer) >= MAX_LINE_OCTETS:
            self._fail(f"a line of more than {MAX_LINE_OCTETS} octets")
        return None

    def _take(self, line: bytes) -> Reply | None:
        found = _LINE.match(line.rstrip(b"\r\n"))
        if found is None:
            self._fail("a line that is no SMTP reply")
        if self._error or found is None:
            return None
        code = int(found[1])
        if self._lines and code != self._code:
            self._fail("one reply with two codes")
            return None
        self._code = code
        self._lines.append((found[3] or b"").decode("latin-1"))
        self._raw.append(line)
        if found[2] == b"-":
            return None
        reply = Reply(code, tuple(self._lines), b"".join(self._raw).decode("latin-1"))
        self._lines, self._raw, self._octets = [], [], 0
        return reply

    def _fail(self, reason: str) -> None:
        self._error = reason
        self._buffer.clear()
        self._raw.clear()
