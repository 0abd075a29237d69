"""Connections to PostgreSQL that are cut when the server says nothing for too long.

Purpose: a server whose host is alive and that does nothing, such as one whose disk hangs, keeps the
timeouts of statements from ending any; keepalives are answered. Nobody must wait for it for ever.
Limits: `SILENT_S` for one answer, looked at every `LOOK_S` by one thread of the process; but not
where `WatchedConnection.patient` is set, for what may take long.
Errors: whoever waits gets a `psycopg.OperationalError`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

SILENT_S = 12.0
LOOK_S = 1.0

_T = TypeVar("_T")


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is waited for only so long.

    Attributes:
        patient: Whether it is waited for as long as it takes.
        asked_at: Monotonic time since when an answer is waited for, or None.
    """

    patient = False
    asked_at: float | None = None

    def wait(self, gen: PQGen[_T], *args: Any, **words: Any) -> _T:
        """Wait for the server, as everything does that asks it something."""
        self.asked_at = time.monotonic()
        try:
            return super().wait(gen, *args, **words)
        finally:
            self.asked_at = None


class _Watch:
    """Cuts connections, on a thread of its own from the first one on."""

    def __init__(self) -> None:
        self._connections: weakref.WeakSet[WatchedConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, connection: WatchedConnection) -> None:
        with self._lock:
            self._connections.add(connection)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="postgres-watch", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_S)
            with self._lock:
                connections = list(self._connections)
                if not connections:
                    self._thread = None
                    return
            now = time.monotonic()
            for each in connections:
                asked_at = each.asked_at
                if asked_at is not None and now - asked_at > SILENT_S and not each.patient:
                    _cut(each)
            del connections


_watch = _Watch()


def watched(conninfo: str) -> WatchedConnection:
    """Return a new connection that begins no transaction by itself.

    Raises:
        psycopg.Error: If there is none to be had.
    """
    connection = WatchedConnection.connect(conninfo, autocommit=True)
    _watch.add(connection)
    return connection


def _cut(connection: WatchedConnection) -> None:
    # The one who waits owns the connection, and closes it; here only its socket ends.
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as ours,
    ):
        ours.shutdown(socket.SHUT_RDWR)
