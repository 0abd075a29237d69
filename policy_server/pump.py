"""The pump: moves one connection's octets through codec and handler, for both protocols.

Purpose: read, decode, ask the handler, encode, write; the only code that knows both asyncio and
the codecs. Works the same under asyncio and uvloop.
Format: a handler is a plain function from request to reply. It may return an awaitable instead
when it has to wait for something; the connection then reads no more until the reply is there, so
replies stay in order and what a client can make us keep stays bounded. Other connections go on.
Limits: connections of a service, 4,096 by default: 1,000 smtpd(8) or smtp(8) processes keep one
each, and there may be several instances. One more is closed at once, as a client that waited
instead would wait for up to 100 s.
Not handled: idle connections are left alone. Postfix closes its own (maps after 10 s, policy
connections after 300 s), a policy client whose idle connection was closed loses 1 s before it asks
again, and over a UNIX socket no client vanishes without a trace.
Errors: all go through `Pump.failed`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Protocol, TypeVar, cast

from gatepost.wire.policy import Disconnect
from gatepost.wire.signals import CLOSED, NEED_DATA, Signal
from policy_server.failures import (
    Failure,
    Fields,
    LineBudget,
    kind_of,
    log_exception,
    log_failure,
    reason_of,
)

MAX_CONNECTIONS: Final = 4_096
_REFUSAL_LINES_A_MINUTE: Final = 1
_GARBLED_LINES_A_MINUTE: Final = 20

RequestT = TypeVar("RequestT")
RequestT_co = TypeVar("RequestT_co", covariant=True)
ReplyT = TypeVar("ReplyT")
ReplyT_contra = TypeVar("ReplyT_contra", contravariant=True)


class Codec(Protocol[RequestT_co, ReplyT_contra]):
    """What the pump needs of a codec, see `gatepost.wire.exchange.ServerExchange`."""

    @property
    def idle(self) -> bool:
        """Tell whether the connection is between two requests."""

    def receive_data(self, data: bytes) -> None:
        """Take octets; b"" is the end of the stream."""

    def next_event(self) -> RequestT_co | Signal:
        """Return the next request or a signal."""

    def send(self, reply: ReplyT_contra) -> bytes:
        """Return the octets of a reply."""


@dataclass(frozen=True, slots=True)
class Service(Generic[RequestT, ReplyT]):
    """One service as the pump sees it.

    Attributes:
        name: For the log.
        codec: Makes the codec of a new connection.
        handler: Answers a request, at once or later.
        trouble: Makes the reply that stands for "not now", from a reason.
        describe: Says what a request is about, for the log.
        count: Is told of each failure; must not raise.
        max_connections: How many connections may be open.
    """

    name: str
    codec: Callable[[], Codec[RequestT, ReplyT]]
    handler: Callable[[RequestT], ReplyT | Awaitable[ReplyT]]
    trouble: Callable[[str], ReplyT]
    describe: Callable[[RequestT], Fields]
    count: Callable[[Failure], None]
    max_connections: int = MAX_CONNECTIONS


class Pump(Generic[RequestT, ReplyT]):
    """All connections of one service.

    Args:
        service: What to do with them.
    """

    def __init__(self, service: Service[RequestT, ReplyT]) -> None:
        self.service = service
        self.draining = False
        self._connections: set[Connection[RequestT, ReplyT]] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._refusals = LineBudget(time.monotonic, _REFUSAL_LINES_A_MINUTE)
        self._garbled = LineBudget(time.monotonic, _GARBLED_LINES_A_MINUTE)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def connect(self) -> asyncio.Protocol:
        """Return the protocol of a new connection: what a server of asyncio is made with."""
        return Connection(self)

    def admit(self, connection: Connection[RequestT, ReplyT]) -> bool:
        """Take note of a new connection, or say that there are too many."""
        if len(self._connections) >= self.service.max_connections:
            self._refused()
            return False
        self._connections.add(connection)
        self._none_left.clear()
        return True

    def forget(self, connection: Connection[RequestT, ReplyT]) -> None:
        """Take note that a connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._none_left.set()

    async def drain(self, grace_s: float) -> int:
        """Answer what is in hand and close every connection as soon as it is idle.

        Args:
            grace_s: Seconds after which those that are not idle yet are cut off.

        Returns:
            How many connections were cut off.
        """
        self.draining = True
        for connection in tuple(self._connections):
            connection.close_if_idle()
        try:
            async with asyncio.timeout(grace_s):
                await self._none_left.wait()
        except TimeoutError:
            cut = tuple(self._connections)
            for connection in cut:
                connection.abort()
            await self._none_left.wait()
            return len(cut)
        return 0

    def failed(self, error: BaseException, request: RequestT | None = None) -> ReplyT:
        """Log and count an exception, and return the reply that it makes."""
        service = self.service
        kind = kind_of(error)
        service.count(kind)
        fields = {} if request is None else service.describe(request)
        if kind is Failure.PROTOCOL:
            self._log_garbled(error, fields)
        else:
            log_exception(service.name, error, fields)
        return service.trouble(reason_of(error))

    def hung_up(self, reply: Disconnect, request: RequestT) -> None:
        """Log and count that a handler chose not to answer."""
        service = self.service
        service.count(Failure.UNAVAILABLE)
        log_failure(service.name, Failure.UNAVAILABLE, reply.reason, service.describe(request))

    def _log_garbled(self, error: BaseException, fields: Fields) -> None:
        left_out = self._garbled.take()
        if left_out is not None:
            more = {"left_out": str(left_out)} if left_out else {}
            log_exception(self.service.name, error, {**fields, **more})

    def _refused(self) -> None:
        service = self.service
        service.count(Failure.CAPACITY)
        if self._refusals.take() is not None:
            cause = f"{service.max_connections} connections are open; closing new ones"
            log_failure(service.name, Failure.CAPACITY, cause, {})


class Connection(asyncio.Protocol, Generic[RequestT, ReplyT]):
    """One connection.

    Args:
        pump: The service's connections, of which this is to be one.
    """

    def __init__(self, pump: Pump[RequestT, ReplyT]) -> None:
        self._pump = pump
        self._handler = pump.service.handler
        self._codec = pump.service.codec()
        self._transport: asyncio.Transport
        # A reply is being waited for; the client does not read its replies.
        self._waiting = False
        self._blocked = False
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start, or leave at once if there are too many connections."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._pump.admit(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop. A reply that is waited for is dropped when it comes.

        It is not cancelled: others may wait for the same, and it fills a cache for the next one.
        """
        del exc
        self._pump.forget(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._codec.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        """Take note that the client sends no more; it may still read."""
        self._ended = True
        self._codec.receive_data(b"")
        self._advance()
        # The transport is ours to close, once the last reply is written.
        return True

    def pause_writing(self) -> None:
        """Answer no more until the client has read its replies."""
        self._blocked = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._blocked = False
        self._go_on()

    def close_if_idle(self) -> None:
        """Close between two requests, so that the client loses nothing."""
        if self._codec.idle:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is in hand."""
        self._transport.abort()

    def _advance(self) -> None:
        """Answer whatever has arrived whole, for as long as answers come at once."""
        while not (self._waiting or self._blocked) and self._step():
            pass

    def _step(self) -> bool:
        """Take one event from the codec, and tell whether there may be another."""
        request = None
        try:
            event = self._codec.next_event()
            if event is NEED_DATA:
                if self._pump.draining:
                    self.close_if_idle()
                return False
            if event is CLOSED:
                self._transport.close()
                return False
            request = event
            reply = self._handler(request)
            # isinstance() of an abstract class takes several times as long.
            if hasattr(reply, "__await__"):
                self._wait(request, cast("Awaitable[ReplyT]", reply))
            else:
                self._reply(request, reply)
                if type(reply) is not Disconnect:
                    # The usual end of a turn, told without asking the codec again.
                    return not self._codec.idle or self._ended or self._pump.draining
        except Exception as error:
            return self._fail(error, request)
        return True

    def _wait(self, request: RequestT, reply: Awaitable[ReplyT]) -> None:
        future = asyncio.ensure_future(reply)
        self._waiting = True
        self._transport.pause_reading()
        future.add_done_callback(partial(self._waited, request))

    def _waited(self, request: RequestT, reply: asyncio.Future[ReplyT]) -> None:
        self._waiting = False
        try:
            self._reply(request, reply.result())
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error, request)
        self._go_on()

    def _reply(self, request: RequestT, reply: ReplyT) -> None:
        self._send(reply)
        if isinstance(reply, Disconnect):
            self._pump.hung_up(reply, request)

    def _fail(self, error: BaseException, request: RequestT | None) -> bool:
        """Answer with trouble, or close if there is no request to answer; result as `_step`'s."""
        reply = self._pump.failed(error, request)
        if request is None:
            self._transport.close()
            return False
        self._send(reply)
        return True

    def _send(self, reply: ReplyT) -> None:
        data = self._codec.send(reply)
        if not self._transport.is_closing():
            self._transport.write(data)

    def _go_on(self) -> None:
        if not (self._waiting or self._blocked or self._transport.is_closing()):
            self._transport.resume_reading()
            self._advance()
