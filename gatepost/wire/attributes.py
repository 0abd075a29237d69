"""Attribute lists: ``name=value`` lines that an empty line ends.

Purpose: the framing of the policy delegation protocol, in both directions.
Source: Postfix SMTPD_POLICY_README, "Protocol description"; attr_scan_plain(3).
Format: one or more lines ``name=value``, each ended by a newline, then an empty line. A name
holds no "=", NUL or newline; a value holds no NUL or newline, but may hold "=" and anything else.
Of a name that occurs twice the first value counts. The README leaves that to the server; Postfix
sends what it knows of a client (address, login) before what the client's certificate claims, so
nothing in a certificate can take the place of an address or a login.
Limits: octets of a list, 262,144 by default: the one long value that we send ourselves is a
list of recipients, and Postfix's default smtpd_recipient_limit of 1,000 times the longest path of
RFC 5321 §4.5.3.1.3, 256 octets, makes 256,000. What Postfix sends is far shorter: 2,048 octets
(line_length_limit) for each value out of an SMTP command, 12,288 (smtpd_sasl_response_limit) for
a login. Attributes of a list, 1,024 by default: as many as Postfix keeps of a list that it reads
(ATTR_HASH_LIMIT); it sends about 30. There is no limit of a line: attr_scan_plain(3) names one of
four times line_length_limit, and Postfix does not check it.
Errors: `AttributeDecoder.next_event` raises `RemoteProtocolError`.
Security: names and values are text of the peer's, see `text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.framing import FrameDecoder
from gatepost.wire.signals import Signal
from gatepost.wire.text import decode_text, encode_text

MAX_LIST_OCTETS: Final = 262_144
MAX_ATTRIBUTES: Final = 1_024

_END: Final = b"\n\n"


def encode_attributes(attributes: Mapping[str, str]) -> bytes:
    """Return a list of attributes as it is sent.

    Raises:
        LocalProtocolError: If a name or a value cannot be sent: the peer would read other
            attributes than these.
    """
    for name, value in attributes.items():
        if not name or any(octet in name for octet in "=\n\0"):
            raise LocalProtocolError(f"{name!a} is no attribute name")
        if "\n" in value or "\0" in value:
            raise LocalProtocolError(f"the value of {name} holds a newline or NUL")
    text = "".join(f"{name}={value}\n" for name, value in attributes.items())
    return encode_text(f"{text}\n")


class AttributeDecoder(FrameDecoder[dict[str, str]]):
    """Cuts a stream of octets into attribute lists.

    Args:
        max_octets: The longest list to accept, its last empty line included.
        max_attributes: The most lines to accept in a list.
    """

    __slots__ = ("_max_attributes", "_max_octets", "_searched")

    def __init__(
        self, max_octets: int = MAX_LIST_OCTETS, max_attributes: int = MAX_ATTRIBUTES
    ) -> None:
        super().__init__()
        self._max_octets = max_octets
        self._max_attributes = max_attributes
        # Octets before this were searched for the end already, so that a list that comes octet
        # by octet costs no more than one that comes whole.
        self._searched = 0

    def next_event(self) -> dict[str, str] | Signal:
        """Return the next list, NEED_DATA, or CLOSED at the end of the stream.

        Raises:
            RemoteProtocolError: If a list has a line without "=", a NUL, more than `max_octets`
                or `max_attributes`, or if the input ends inside a list.
        """
        buffer = self._buffer
        end = buffer.find(_END, self._searched)
        octets = end + len(_END) if end >= 0 else len(buffer) + 1
        if octets > self._max_octets:
            raise RemoteProtocolError(f"attribute list of more than {self._max_octets} octets")
        if end < 0:
            # The last octet may be the first half of the end.
            self._searched = max(0, len(buffer) - 1)
            return self._incomplete()
        # Only whole lists are decoded, so a character is never cut in two.
        attributes = self._parse(decode_text(buffer[:end]))
        del buffer[:octets]
        self._searched = 0
        return attributes

    def _parse(self, text: str) -> dict[str, str]:
        lines = text.count("\n") + 1
        if lines > self._max_attributes:
            raise RemoteProtocolError(f"more than {self._max_attributes} attributes in a list")
        if "\0" in text:
            raise RemoteProtocolError("NUL in an attribute list")
        # Two thirds of what one regular expression over the whole costs.
        pairs = [line.split("=", 1) for line in text.split("\n")]
        try:
            attributes = dict(pairs)
        except ValueError:
            wrong = next(line for line in text.split("\n") if "=" not in line)
            raise RemoteProtocolError(f"attribute without '=': {wrong[:60]!a}") from None
        if len(attributes) != lines:
            # The last value put into a dictionary stays; backwards, that is the first one sent.
            pairs.reverse()
            attributes = dict(pairs)
        return attributes
