"""Tell the service manager how we are: the datagrams of sd_notify(3), from both sides.

Purpose: a role tells systemd, or our own supervisor, that it is ready. Both listen on a datagram
socket named in ``NOTIFY_SOCKET``, so a role need not know which of them started it.
Source: systemd sd_notify(3), "Notes" on the protocol.
Format: ``NAME=value`` lines in one datagram.
Limits: a datagram of at most 4,096 octets is read; more than one status line is never sent.
Errors: `notify` never raises; being unable to report is no reason to stop working.
Security: the receiver trusts the process id that the kernel attaches, not the text.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

MAX_DATAGRAM = 4096

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def notify(*lines: str) -> bool:
    """Send ``NAME=value`` lines to whoever started us; tell whether they went out."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.connect(address)
            sock.sendall("\n".join(lines).encode("utf-8", "backslashreplace"))
    except OSError:
        return False
    return True


def notify_ready(status: str = "") -> bool:
    """Say that start or reload is complete."""
    return notify("READY=1", *([f"STATUS={status}"] if status else []))


def notify_reloading() -> bool:
    """Say that a reload has begun; systemd wants the time on its own clock with it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def notify_stopping() -> bool:
    """Say that a stop has begun."""
    return notify("STOPPING=1")


class NotifyListener:
    """The receiving end, for the supervisor."""

    def __init__(self, path: Path) -> None:
        """Listen on a socket that only our own user can write to.

        Raises:
            OSError: If the socket cannot be made.
        """
        self.path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        old_mask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(old_mask)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._socket.fileno()

    def receive(self) -> tuple[int, dict[str, str]] | None:
        """Return the sender's process id and its lines, or None when nothing is waiting."""
        space = socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(MAX_DATAGRAM, space)
        except OSError:
            return None
        pid = 0
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
        pairs = (
            line.partition("=") for line in data.decode("utf-8", "backslashreplace").split("\n")
        )
        return pid, {name: value for name, _, value in pairs}

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.close()
        self.path.unlink(missing_ok=True)
