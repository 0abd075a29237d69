"""The control socket of a role: how ``gatepost status``, ``reload`` and the metrics reach it.

Purpose: a running role can be asked how it is and told to reload, whether it runs on libmilter's
threads or on an asyncio loop, without touching the path of mail: the socket has threads of its own.
Format: one JSON object on one line each way. Request ``{"command": "status"}``; commands are
``status``, ``reload`` and ``metrics``. Reply ``{"ok": true, …}`` or ``{"ok": false, "error": …}``.
Limits: request 4,096 octets within 5 s, so that a port probe holds nothing; 8 connections at once,
more are closed at once; reply 64 MiB, far above the metrics of 1,000 tenants.
Errors: the server never raises and answers nonsense with an error; `ask` raises `StartError`.
Security: the socket is open to the service's user and group (0660) in a directory that only they
may enter. A reload re-reads the files of the operator; no command carries configuration.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gatepost.errors import StartError
from gatepost.runtime.log import log_event
from gatepost.runtime.sockets import listen_unix

MAX_REQUEST = 4096
MAX_REPLY = 64 * 1024 * 1024
MAX_CONNECTIONS = 8
REQUEST_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 2.0
CONTROL_MODE = 0o660

_log = logging.getLogger(__name__)

Reply = Mapping[str, Any]
Handler = Callable[[], Reply]


class ControlServer:
    """Answers on the control socket until `close`."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        """Listen and start answering.

        Args:
            path: The socket.
            handlers: What to call for each command; the reply gets ``"ok": true`` unless it says
                otherwise. Handlers run on threads of this server, several at once.

        Raises:
            StartError: If the socket cannot be made.
        """
        self.path = path
        self._handlers = dict(handlers)
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._listener, self._file = listen_unix(path, CONTROL_MODE, backlog=MAX_CONNECTIONS * 2)
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket; answers under way are finished."""
        self._closing = True
        # close() alone does not wake a thread in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._file.remove()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._closing:
                    log_event(_log, logging.ERROR, "control-accept", reason=str(error))
                    # Out of descriptors: accept would fail again at once and burn the processor.
                    threading.Event().wait(0.1)
                continue
            if not self._free.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="control-answer", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(REQUEST_TIMEOUT_S)
                line = _read_line(connection, MAX_REQUEST)
                if line is not None:
                    connection.sendall(json.dumps(self._answer(line)).encode("ascii") + b"\n")
        except OSError:
            # Whoever asked has gone, or never asked anything.
            pass
        finally:
            self._free.release()

    def _answer(self, line: bytes) -> Reply:
        try:
            request = json.loads(line)
            command = request["command"]
            handler = self._handlers[command]
        except (ValueError, KeyError, TypeError, RecursionError):
            known = ", ".join(self._handlers)
            return {"ok": False, "error": f"not a request that is known here; commands: {known}"}
        try:
            return {"ok": True, **handler()}
        except Exception as error:
            _log.exception("control-failed")
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def ask(path: Path, command: str, *, timeout_s: float = ASK_TIMEOUT_S) -> dict[str, Any]:
    """Return the reply of a role to one command.

    Args:
        path: The control socket of the role.
        command: ``status``, ``reload`` or ``metrics``.
        timeout_s: Seconds to wait for each step.

    Raises:
        StartError: If nobody answers there, or not in time, or with nonsense.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(json.dumps({"command": command}).encode("ascii") + b"\n")
            line = _read_line(connection, MAX_REPLY)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise StartError("not running") from error
    except PermissionError as error:
        raise StartError(f"{path}: permission denied; run this as root") from error
    except TimeoutError as error:
        raise StartError(f"no answer within {timeout_s:g} s") from error
    except OSError as error:
        raise StartError(f"{path}: {error}") from error
    try:
        reply = json.loads(line or b"")
    except ValueError as error:
        raise StartError(f"{path}: closed the connection without an answer") from error
    if not isinstance(reply, dict):
        raise StartError(f"{path}: the answer is no JSON object")
    return reply


def _read_line(connection: socket.socket, limit: int) -> bytes | None:
    """Return one line without its end, or None if the peer sent none within the limit."""
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        part = connection.recv(65536)
        if not part:
            return None
        head, end, _ = part.partition(b"\n")
        parts.append(head)
        size += len(head)
        if end:
            return b"".join(parts) if size <= limit else None
    return None
