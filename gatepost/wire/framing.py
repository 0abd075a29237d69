"""Frames: what every decoder of a stream has to keep and to say.

Purpose: the buffer, the end of the stream and the signals, once for netstrings and attribute lists.
Errors: a decoder that raises `RemoteProtocolError` leaves its input as it is, so asking again
raises the same error again, and nothing behind a broken frame is ever taken for a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.signals import CLOSED, NEED_DATA, Signal

FrameT = TypeVar("FrameT")


class FrameDecoder(ABC, Generic[FrameT]):
    """Cuts a stream of octets into frames."""

    __slots__ = ("_buffer", "_eof")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._eof = False

    @property
    def idle(self) -> bool:
        """Tell whether nothing of a next frame has arrived."""
        return not self._buffer

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer; b"" is the end of the stream.

        Raises:
            LocalProtocolError: If data follows the end of the stream.
        """
        if self._eof:
            raise LocalProtocolError("data after the end of the stream")
        if data:
            self._buffer += data
        else:
            self._eof = True

    @abstractmethod
    def next_event(self) -> FrameT | Signal:
        """Return the next frame, NEED_DATA, or CLOSED at the end of the stream.

        Raises:
            RemoteProtocolError: If the input breaks the format, is too long, or ends in a frame.
        """

    def _incomplete(self) -> Signal:
        if not self._eof:
            return NEED_DATA
        if self._buffer:
            raise RemoteProtocolError("the stream ends in the middle of a message")
        return CLOSED
