"""A webhook consumer on a real HTTP server, which misbehaves when told to."""

from __future__ import annotations

import asyncio
import json
import queue
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook as Verifier

SECRET = bytes(range(32))

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.verified()["data"]["events"]
        return found

    @property
    def event_ids(self) -> list[str]:
        return [each["id"] for each in self.events]

    def verified(self, secret: bytes = SECRET) -> dict[str, Any]:
        """Return the body, if whoever has the secret signed it."""
        document: dict[str, Any] = Verifier(secret).verify(self.body, self.headers)
        return document


def answers(status: int, text: str = "", **headers: str) -> Behaviour:
    async def behaviour(request: web.Request) -> web.StreamResponse:
        del request
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return behaviour


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    del request
    return web.Response()


async def closes(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never_ends(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=500)
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 65536)
    except ConnectionError:
        return response


async def dribbles(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"thank you")
    await asyncio.sleep(60)
    return response


class Consumer:
    """Serves on loopback until `stop`.

    Attributes:
        behaviour: What it answers with; may be changed at any time.
        next: Behaviours for the next requests, one each, before that.
        received: What came, in order.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.behaviour: Behaviour = answers(200)
        self.next: list[Behaviour] = []
        self.received: queue.Queue[Received] = queue.Queue()
        self.all: list[Received] = []
        self.port = 0
        self._scheme = "http" if context is None else "https"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=[self._serve(context, ready)], daemon=True
        )
        self._thread.start()
        assert ready.wait(10)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def take(self, count: int = 1, timeout_s: float = 20) -> list[Received]:
        """Return the next requests, waiting for them."""
        return [self.received.get(timeout=timeout_s) for _ in range(count)]

    def ids(self) -> list[str]:
        """Return the ids of all events that came, in order."""
        return [each for request in self.all for each in request.event_ids]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, context: ssl.SSLContext | None, ready: threading.Event) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # What hangs ends with the connection.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()
        # What was cut off is closed in the next turn.
        await asyncio.sleep(0)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(dict(request.headers), await request.read(), request.path)
        json.loads(received.body)
        behaviour = self.next.pop(0) if self.next else self.behaviour
        self.all.append(received)
        self.received.put(received)
        return await behaviour(request)
