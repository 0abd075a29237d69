"""One-click unsubscription over HTTP, behind the operator's web server.

Purpose: ask `web.unsubscribe` what to answer, and have `effects` do it. The web server before it
does TLS; this listens on a loopback address.
Source: RFC 8058 §3.2; RFC 9112 §9.6 (closing a connection).
Format of the log line: ``unsubscribe result=… tenant=… message=… client=…``, where ``client`` is
what X-Forwarded-For claims; nothing else is made of that header. Only requests with a token of ours
are told at level info.
Limits: one request a connection; 10 s until it has been read; 256 connections, further ones are
closed; request line and header fields of 4 KiB each, 64 of them; 4 KiB of a body; 200 requests a
second that would unsubscribe, with 1,000 at once; further ones get 503, and the client tries
again. A message that is not known is looked for again after 1.5 s, as the milter writes its book
behind the mail.
Errors: `StartError` if it cannot listen. While the store is unavailable, 503 is answered, and
nothing is lost: the page says so, and mail providers try again.
Security: who asks is not known, since all come from the web server; a token is all that counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gatepost.errors import StartError, StoreUnavailable
from gatepost.feedback.token import Token
from gatepost.runtime.feedback.effects import Effects, open_feedback_stores
from gatepost.runtime.feedback.feedback_metrics import watch_unsubscribe
from gatepost.runtime.log import log_event
from gatepost.runtime.role import Role
from gatepost.settings import Address
from gatepost.snapshot import Snapshot
from gatepost.web import unsubscribe
from gatepost.web.unsubscribe import Answer, Request, decide

READ_S = 10.0
BOOK_S = 1.5
MAX_CONNECTIONS = 256
MAX_FIELD = 4096
MAX_FIELDS = 64
RATE = 200.0
BURST = 1000.0
STOP_S = 5.0

_log = logging.getLogger("gatepost.unsubscribe")
# It went away while its body was read, or sent one that breaks HTTP.
_OF_THE_CLIENT = (ConnectionError, ClientError, RequestPayloadError, HttpProcessingError)
_ADDRESSES = re.compile(r"[0-9A-Fa-f.:, ]{1,100}")


class Unsubscribes(Protocol):
    """What an unsubscription does; `runtime.effects.Effects` implements it."""

    def unsubscribe(self, token: Token, now: float) -> bool:
        """Unsubscribe whom a token names, once; tell whether it names anybody.

        Raises:
            StoreUnavailable: If that cannot be done now.
        """

    def close(self) -> None:
        """Let go of what the calling thread has opened."""


class Allowance:
    """A bucket that fills with time.

    Args:
        rate: What comes in a second.
        burst: What it holds.
        clock: Monotonic time in seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class UnsubscribeServer:
    """Serves on a thread and loop of its own, until `stop`."""

    def __init__(
        self,
        address: Address,
        effects: Unsubscribes,
        current: Callable[[], Snapshot],
        count: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Listen; requests are answered as soon as this returns.

        Args:
            address: Where; port 0 takes any that is free, see `port`.
            effects: What an unsubscription does; called on a thread of its own.
            current: Gives the snapshot in force.
            count: Counts one request by its result.
            clock: Unix time in seconds.

        Raises:
            StartError: If the address is taken or is not ours.
        """
        self._effects = effects
        self._current = current
        self._count = count
        self._clock = clock
        self._allowance = Allowance(RATE, BURST, time.monotonic)
        self._open: set[_Connection] = set()
        # Those whose request has been read, and which therefore may take their time.
        self._read: set[RequestHandler] = set()
        try:
            self._socket = _listen(address)
        except OSError as error:
            raise StartError(
                f"feedback.unsubscribe: cannot listen on {address}: {error.strerror}"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        # The store takes one writer at a time, and a thread has a connection of its own to it.
        self._worker = ThreadPoolExecutor(1, "unsubscriber")
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="unsubscribe", daemon=True
        )
        self._thread.start()
        if not started.wait(STOP_S):
            raise StartError(f"feedback.unsubscribe: did not start on {address} in time")

    def stop(self) -> None:
        """Take no more requests; end after those that are in hand."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)

    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        handlers, server = self._loop.run_until_complete(self._listen())
        self._loop.call_soon(started.set)
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(handlers.shutdown(STOP_S / 2))
            self._worker.submit(self._effects.close)
            self._worker.shutdown()
            self._loop.close()

    async def _listen(self) -> tuple[web.Server, asyncio.Server]:
        handlers = web.Server(self._handle)

        def connected() -> asyncio.Protocol:
            if len(self._open) >= MAX_CONNECTIONS:
                return _Full()
            handler = _Connection(
                self._open,
                handlers,
                loop=self._loop,
                access_log=None,
                max_line_size=MAX_FIELD,
                max_field_size=MAX_FIELD,
                max_headers=MAX_FIELDS,
                auto_decompress=False,
            )
            self._open.add(handler)
            self._loop.call_later(READ_S, self._close_slow, handler)
            return handler

        return handlers, await self._loop.create_server(connected, sock=self._socket)

    def _close_slow(self, handler: RequestHandler) -> None:
        """Close a connection whose request has not come in time."""
        if handler in self._read:
            self._read.discard(handler)
        elif handler.transport is not None:
            handler.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await _read_body(request)
        self._read.add(request.protocol)
        asked = Request(
            request.method,
            request.raw_path.partition("?")[0],
            request.headers.get("Content-Type", ""),
            body,
        )
        token, answer = await self._answer(asked)
        self._tell(request, token, answer)
        return _response(answer)

    async def _answer(self, request: Request) -> tuple[Token | None, Answer]:
        now = self._clock()
        keyring = self._current().keyring
        decided = decide(request, keyring, now)
        if isinstance(decided, Answer):
            return None, decided
        # Only now: whoever sends what has no token must not use up what others need.
        if not self._allowance.take():
            return None, unsubscribe.LIMITED
        try:
            known = await self._unsubscribe(decided, now)
            if not known:
                # Programs click before the milter has written the message into the book.
                await asyncio.sleep(BOOK_S)
                known = await self._unsubscribe(decided, now)
        except StoreUnavailable as error:
            log_event(_log, logging.WARNING, "store-unavailable", reason=str(error))
            return decided, unsubscribe.LATER
        except Exception:
            _log.exception("unsubscribe-failed")
            return decided, unsubscribe.LATER
        return decided, unsubscribe.DONE if known else unsubscribe.NOT_FOUND

    async def _unsubscribe(self, token: Token, now: float) -> bool:
        effect = self._effects.unsubscribe
        return await self._loop.run_in_executor(self._worker, effect, token, now)

    def _tell(self, request: web.BaseRequest, token: Token | None, answer: Answer) -> None:
        self._count(answer.result)
        forwarded = request.headers.get("X-Forwarded-For", "")
        tenant = None if token is None else self._current().tenants.by_number.get(token.tenant)
        log_event(
            _log,
            logging.DEBUG if token is None else logging.INFO,
            "unsubscribe",
            result=answer.result,
            tenant=tenant.id if tenant is not None else "-",
            message=token.message.hex() if token is not None else None,
            client=forwarded if _ADDRESSES.fullmatch(forwarded) else None,
        )


def unsubscribe_server(role: Role) -> UnsubscribeServer | None:
    """Return the server of a role, or None if its settings want none.

    Raises:
        StartError: As of `UnsubscribeServer`.
    """
    settings = role.settings
    if settings.unsubscribe is None:
        return None
    results = watch_unsubscribe(role.metrics)
    return UnsubscribeServer(
        settings.unsubscribe,
        Effects(lambda: open_feedback_stores(settings.state, settings.local_state), role.current),
        role.current,
        lambda result: results[result](),
    )


class _Connection(RequestHandler):
    """A connection that answers what is no HTTP with a page of ours.

    aiohttp's own answer shows a part of what was sent, and logs a traceback for each.
    """

    def __init__(self, others: set[_Connection], manager: web.Server, **more: Any) -> None:
        super().__init__(manager, **more)
        self._others = others

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another."""
        self._others.discard(self)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be read, or that we failed on."""
        del message
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(exc, _OF_THE_CLIENT):
            _log.error("unsubscribe-failed", exc_info=exc)
            return _response(unsubscribe.LATER)
        log_event(_log, logging.DEBUG, "unsubscribe", result="no-http", client=request.remote)
        return _response(unsubscribe.NO_REQUEST)


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


def _response(answer: Answer) -> web.Response:
    response = web.Response(
        status=answer.status,
        body=answer.body,
        headers={**unsubscribe.HEADERS, **answer.more},
    )
    if not answer.body:
        del response.headers["Content-Type"]
    response.force_close()
    return response


async def _read_body(request: web.BaseRequest) -> bytes:
    """Return the body, or one octet more than is taken of it."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = b""
    while len(body) <= unsubscribe.MAX_BODY_OCTETS:
        piece = await request.content.read(unsubscribe.MAX_BODY_OCTETS + 1 - len(body))
        if not piece:
            break
        body += piece
    return body


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.host, address.port))
        made.listen(MAX_CONNECTIONS)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
