"""The HTTP server of the API, on the loop of its process.

Purpose: uvicorn, without its way with signals and logs, and with a patience that ends.
Limits: `MAX_CONNECTIONS` connections; `MAX_HEAD` octets of a request line and its headers, which
have to be there `HEAD_S` after the connection or the last answer.
Errors: `listen` raises `StartError`.
Security: without the limit of time, whoever opens connections and says nothing holds all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gatepost.errors import StartError
from gatepost.runtime.sockets import SocketFile, listen_unix
from gatepost.settings import Address
from gatepost.web.api.asgi import ASGIApp

MAX_CONNECTIONS = 200
MAX_HEAD = 16_384
HEAD_S = 10.0
KEEP_ALIVE_S = 5
SOCKET_MODE = 0o660
BACKLOG = 128


class _Patience(H11Protocol):
    """Closes a connection on which no request becomes whole."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what has come; wait for the rest of a head, not for that of a body."""
        super().handle_events()
        # A word of the library's own, which has no other text.
        if repr(self.conn.their_state) != "IDLE":
            self._wait_no_more()
        elif self._late is None:
            self._wait()

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class ApiServer(uvicorn.Server):
    """Serves until `should_exit` is set; signals are not its business."""

    def __init__(self, app: ASGIApp, grace_s: int) -> None:
        """Prepare to serve.

        Args:
            app: The application.
            grace_s: Seconds that requests in hand may take at the end.
        """
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                app,
                http=_Patience,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=grace_s,
                h11_max_incomplete_event_size=MAX_HEAD,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to who runs the loop."""
        yield


def listen(where: Address | Path) -> tuple[socket.socket, SocketFile | None]:
    """Return a listening socket, and its file if it has one.

    Raises:
        StartError: If the address is taken or is not ours.
    """
    if isinstance(where, Path):
        return listen_unix(where, SOCKET_MODE, backlog=BACKLOG)
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((where.host, where.port))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise StartError(f"api: cannot listen on {where}: {error.strerror}") from error
    return found, None


def port_of(listener: socket.socket) -> int:
    """Return the port of a listening socket, or 0."""
    name: Any = listener.getsockname()
    return int(name[1]) if isinstance(name, tuple) else 0
