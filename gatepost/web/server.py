"""A small HTTP server for metrics and a health check.

Purpose: Prometheus scrapes ``/metrics``; a load balancer or a watchdog asks ``/healthz``.
Format: ``GET /metrics``: text format 0.0.4. ``GET /healthz``: 200 and ``ok`` if all roles answer,
503 and one line for each that does not. Other paths: 404; other methods: 501.
Limits: 8 connections at once, further ones are closed; 5 s for a request; no keep-alive.
Errors: `MetricsServer` raises `StartError` if it cannot listen.
Security: meant for a loopback address: no password, no encryption, and metrics name tenants.
"""

from __future__ import annotations

import http.server
import logging
import socket
import socketserver
import threading
from http import HTTPStatus
from typing import Any

from gatepost import __version__
from gatepost.errors import StartError
from gatepost.runtime.log import log_event
from gatepost.settings import Address
from gatepost.web.metrics import AllMetrics

MAX_CONNECTIONS = 8
REQUEST_TIMEOUT_S = 5
TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

_log = logging.getLogger("gatepost.web")


class MetricsServer:
    """Serves until `close`, on threads of its own."""

    def __init__(self, address: Address, metrics: AllMetrics) -> None:
        """Listen and start serving.

        Raises:
            StartError: If the address is taken or is not ours.
        """
        try:
            self._server = _Server(address, metrics)
        except OSError as error:
            raise StartError(f"metrics: cannot listen on {address}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS * 2

    def __init__(self, address: Address, metrics: AllMetrics) -> None:
        self.metrics = metrics
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """Bind, without looking up our own name as the base class does."""
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve on a thread, or close if too many are busy."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log one line instead of a traceback."""
        del request, client_address
        _log.warning("web-failed", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version = f"gatepost/{__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, PROMETHEUS, self.server.metrics.scrape().text)
        elif path == "/healthz":
            down = self.server.metrics.down()
            status = HTTPStatus.SERVICE_UNAVAILABLE if down else HTTPStatus.OK
            lines = [f"{role}: {reason}\n" for role, reason in down.items()] or ["ok\n"]
            self._answer(status, TEXT, "".join(lines).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, TEXT, b"there are /metrics and /healthz\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log for those who want to see it."""
        log_event(_log, logging.DEBUG, "web", client=self.client_address[0], text=format % args)
