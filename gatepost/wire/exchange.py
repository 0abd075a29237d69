"""Turns: one request, then exactly one reply, then the next request.

Purpose: the rule that both protocols share, in one place. Whoever drives a server codec asks for
an event, answers it, and asks again. Requests that arrive early wait in the decoder, so replies
cannot come out of order and cannot be more or fewer than the requests.
Source: Postfix socketmap_table(5), "the client sends one request, and the server sends one
reply"; SMTPD_POLICY_README. Postfix has one request in flight on a connection.
Errors: `ServerExchange.next_event` raises `RemoteProtocolError` for what the peer did; after that,
and after a reply that ends the exchange, nothing more comes from the connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Generic, TypeVar

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.framing import FrameDecoder
from gatepost.wire.signals import CLOSED, Signal

FrameT = TypeVar("FrameT")
RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


class _Turn(Enum):
    """Who has to do something."""

    PEER = auto()
    OURS = auto()
    NOBODY = auto()
    BROKEN = auto()


class ServerExchange(ABC, Generic[FrameT, RequestT, ReplyT]):
    """The server's side of a connection.

    Args:
        decoder: Cuts the stream into frames.
    """

    __slots__ = ("_decoder", "_turn")

    def __init__(self, decoder: FrameDecoder[FrameT]) -> None:
        self._decoder = decoder
        self._turn = _Turn.PEER

    @property
    def idle(self) -> bool:
        """Tell whether the connection is between two requests, so closing it loses nothing."""
        return self._turn is not _Turn.OURS and self._decoder.idle

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer; b"" is the end of the stream.

        Raises:
            LocalProtocolError: If data follows the end of the stream.
        """
        self._decoder.receive_data(data)

    def next_event(self) -> RequestT | Signal:
        """Return the next request, which must then be answered, or a signal.

        Raises:
            RemoteProtocolError: If the peer breaks the protocol, now or before.
            LocalProtocolError: If the last request has not been answered.
        """
        if self._turn is not _Turn.PEER:
            return self._out_of_turn()
        frame = self._decoder.next_event()
        if isinstance(frame, Signal):
            return frame
        # Stays so if parsing raises: a peer that broke the protocol is not listened to again.
        self._turn = _Turn.BROKEN
        request = self._parse(frame)
        self._turn = _Turn.OURS
        return request

    def send(self, reply: ReplyT) -> bytes:
        """Return the octets of the reply to the last request.

        Raises:
            LocalProtocolError: If no request waits for a reply, or if the reply cannot be sent;
                in the second case the request still waits, for a better one.
        """
        if self._turn is not _Turn.OURS:
            raise LocalProtocolError("no request waits for a reply")
        data = self._format(reply)
        # Only a reply that asks to hang up has no octets.
        self._turn = _Turn.PEER if data else _Turn.NOBODY
        return data

    @abstractmethod
    def _parse(self, frame: FrameT) -> RequestT:
        """Return the request in a frame, or raise `RemoteProtocolError`."""

    @abstractmethod
    def _format(self, reply: ReplyT) -> bytes:
        """Return a reply as sent, b"" to hang up, or raise `LocalProtocolError`."""

    def _out_of_turn(self) -> Signal:
        if self._turn is _Turn.NOBODY:
            return CLOSED
        if self._turn is _Turn.BROKEN:
            raise RemoteProtocolError("the peer broke the protocol before")
        raise LocalProtocolError("the last request has not been answered")
