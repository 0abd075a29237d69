"""UNIX sockets that appear complete: right owner, right mode, never a stale file in the way.

Purpose: Postfix must never find a socket that it may not use, and a role that was killed must not
be kept from starting by the file it left behind.
Limits: a socket path of at most 107 octets, the size of ``sun_path`` on Linux.
Errors: `listen_unix` raises `StartError`.
Security: the socket is made under a temporary name, gets its mode, and is renamed into place; at
no moment is it open to others. Group and set-group-id come from the directory.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from gatepost.errors import StartError

MAX_PATH_OCTETS = 107

# Postfix opens a connection for each smtpd(8) and smtp(8) process; the kernel caps this at
# net.core.somaxconn, 4096 by default.
BACKLOG = 1024


def listen_unix(path: Path, mode: int, *, backlog: int = BACKLOG) -> socket.socket:
    """Return a listening stream socket at `path`, replacing whatever socket stands there.

    Args:
        path: Where; the directory must exist.
        mode: Permission bits, such as ``0o660``.
        backlog: Connections that may wait to be accepted.

    Raises:
        StartError: If the path is too long, is taken by something that is no socket, or cannot be
            written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if len(os.fsencode(temporary)) > MAX_PATH_OCTETS:
        raise StartError(
            f"{path}: longer than the {MAX_PATH_OCTETS} octets that a socket path may have; "
            "choose a shorter directory"
        )
    if path.exists() and not path.is_socket():
        raise StartError(f"{path}: is in the way and is no socket; remove it")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        temporary.unlink(missing_ok=True)
        # No permission at all until chmod: between bind and chmod nobody else may connect.
        old_mask = os.umask(0o777)
        try:
            listener.bind(str(temporary))
        finally:
            os.umask(old_mask)
        temporary.chmod(mode)
        listener.listen(backlog)
        temporary.rename(path)
    except OSError as error:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise StartError(f"{path}: cannot listen: {error.strerror}") from error
    return listener
