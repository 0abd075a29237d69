"""Netstrings: strings that announce their own length.

Purpose: the framing of the socketmap protocol.
Source: D. J. Bernstein, "Netstrings" (1997); Postfix netstring(3).
Format: ``<length>:<data>,`` where length is decimal ASCII without leading zeros, and counts the
octets of the data alone.
Limits: `max_octets` is the caller's; a longer announcement is refused as soon as its length can be
read, before any of its data is waited for.
Errors: `NetstringDecoder.next_event` raises `RemoteProtocolError`.
Security: what the peer can make us keep is `max_octets` and one read of the caller's.
"""

from __future__ import annotations

from typing import Final

from gatepost.errors import RemoteProtocolError
from gatepost.wire.framing import FrameDecoder
from gatepost.wire.signals import Signal

_COMMA: Final = ord(",")
_ZERO: Final = ord("0")


def encode_netstring(data: bytes) -> bytes:
    """Return `data` as one netstring."""
    return b"%d:%b," % (len(data), data)


class NetstringDecoder(FrameDecoder[bytearray]):
    """Cuts a stream of octets into the strings that were sent.

    Args:
        max_octets: The longest string to accept, in octets of data.
    """

    __slots__ = ("_head_octets", "_max_octets")

    def __init__(self, max_octets: int) -> None:
        super().__init__()
        self._max_octets = max_octets
        # The longest length that can be accepted, and its colon.
        self._head_octets = len(str(max_octets)) + 1

    def next_event(self) -> bytearray | Signal:
        """Return the next string, NEED_DATA, or CLOSED at the end of the stream.

        Raises:
            RemoteProtocolError: If the input is no netstring, announces more than `max_octets`,
                or ends inside a netstring.
        """
        buffer = self._buffer
        colon = buffer.find(b":", 0, self._head_octets)
        if colon < 0:
            return self._without_colon()
        start = colon + 1
        end = start + self._length(buffer[:colon])
        if len(buffer) <= end:
            return self._incomplete()
        if buffer[end] != _COMMA:
            raise RemoteProtocolError(f"netstring ends in {chr(buffer[end])!a}, not in a comma")
        data = buffer[start:end]
        del buffer[: end + 1]
        return data

    def _length(self, digits: bytearray) -> int:
        # int() alone would let signs, underscores and blanks through.
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            raise RemoteProtocolError(f"netstring length {digits.decode('latin-1')!a} is no number")
        length = int(digits)
        if length > self._max_octets:
            raise RemoteProtocolError(
                f"netstring of {length} octets; at most {self._max_octets} are accepted"
            )
        return length

    def _without_colon(self) -> Signal:
        head = self._buffer[: self._head_octets].decode("latin-1")
        if head and not (head.isascii() and head.isdigit()):
            raise RemoteProtocolError(f"netstring length {head!a} is no number")
        if len(head) == self._head_octets:
            raise RemoteProtocolError(
                f"netstring of {head}... octets; at most {self._max_octets} are accepted"
            )
        return self._incomplete()
