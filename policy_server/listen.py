"""The sockets that Postfix connects to, and the files that belong to them.

Purpose: open ``<queue_directory>/gatepost/<name>.sock`` so that Postfix may use it, never take it
from a process that still answers on it, and take it away at the end if it is still ours.
Source: Postfix socketmap_table(5), SMTPD_POLICY_README: both take ``unix:PATH`` relative to the
queue directory, which works in a chroot too.
Limits: a backlog of 1,024 connections: Postfix connects without waiting, so a full backlog is an
error at once, and a temporary one of the table. The kernel cuts it to net.core.somaxconn.
Errors: `open_socket` raises `StartError`.
Security: mode 0660. The group comes from the directory, which `gatepost attach` makes
set-group-id; where it does not come out as Postfix's, it is changed if we may.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatepost.errors import StartError
from gatepost.runtime.log import log_event
from gatepost.runtime.paths import SOCKET_MODE
from gatepost.runtime.sockets import BACKLOG, listen_unix

POSTFIX_GROUP: Final = "postfix"

_log = logging.getLogger("gatepost.policy")


@dataclass(frozen=True, slots=True)
class OwnSocket:
    """A listening socket with its file.

    Attributes:
        listener: Listens already; connections wait until somebody accepts them.
        path: The file.
        identity: Device and inode number of the file that we made.
    """

    listener: socket.socket
    path: Path
    identity: tuple[int, int]

    def remove(self) -> None:
        """Remove the file, unless another process has put its own in its place."""
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self.identity:
                self.path.unlink()


def open_socket(
    path: Path, *, group: str | None = POSTFIX_GROUP, backlog: int = BACKLOG
) -> OwnSocket:
    """Return a listening socket at `path`, in place of one on which nobody answers.

    Args:
        path: Where; the directory must exist.
        group: Name of the group that may connect; None, or the name of a group that does not
            exist, leaves what the directory gives.
        backlog: Connections that may wait to be accepted.

    Raises:
        StartError: If a live process answers at `path`, or the socket cannot be made.
    """
    try:
        # Two servers that start at once must not both find the place free.
        with _locked(path.parent):
            if _answers(path):
                raise StartError(
                    f"{path}: another process answers there; stop it first, or choose another path"
                )
            listener = listen_unix(path, SOCKET_MODE, backlog=backlog)
            own = OwnSocket(listener, path, _identity(path))
    except OSError as error:
        raise StartError(f"{path}: cannot listen: {error.strerror or error}") from error
    if group is not None:
        _share(path, group)
    return own


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory; the kernel releases it if we die."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _answers(path: Path) -> bool:
    """Tell whether a process listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        # Not waiting: a full backlog (EAGAIN) belongs to somebody who lives.
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
        return True


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _share(path: Path, group: str) -> None:
    try:
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        return
    if path.stat().st_gid == wanted:
        return
    try:
        os.chown(path, -1, wanted)
    except PermissionError:
        log_event(
            _log,
            logging.WARNING,
            "socket-group",
            path=str(path),
            reason=f"may not change the group to {group}; Postfix cannot connect",
        )
