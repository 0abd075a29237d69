"""UNIX sockets that appear complete: right owner, right mode, never a stale file in the way.

Purpose: Postfix must never find a socket that it may not use, and a role that was killed must not
be kept from starting by the file it left behind, nor take the place of one that lives.
Limits: a socket path of at most 107 octets, the size of ``sun_path`` on Linux. A backlog of 1,024
connections: Postfix connects without waiting, so a full backlog is an error at once, and a
temporary one of the table. The kernel cuts it to net.core.somaxconn.
Errors: `StartError`.
Security: the socket is made under a temporary name, gets its mode and group, and is renamed into
place; at no moment is it open to others. The group comes from the directory, which is made
set-group-id; where it does not come out as wanted, it is changed if we may.
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

from gatepost.errors import StartError
from gatepost.runtime.log import log_event

MAX_PATH_OCTETS = 107

# Postfix opens a connection for each smtpd(8) and smtp(8) process.
BACKLOG = 1024

_log = logging.getLogger("gatepost.socket")


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a socket that we listen on.

    Attributes:
        path: Where.
        identity: Device and inode number of the file that we made.
    """

    path: Path
    identity: tuple[int, int]

    def remove(self) -> None:
        """Remove the file, unless another process has put its own in its place."""
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self.identity:
                self.path.unlink()


def listen_unix(
    path: Path, mode: int, *, group: str | None = None, backlog: int = BACKLOG
) -> tuple[socket.socket, SocketFile]:
    """Return a listening stream socket at `path`, in place of one on which nobody answers.

    Args:
        path: Where; the directory must exist.
        mode: Permission bits, such as ``0o660``.
        group: Name of the group that may connect; None, or the name of a group that does not
            exist, leaves what the directory gives.
        backlog: Connections that may wait to be accepted.

    Raises:
        StartError: If a live process answers at `path`, the path is too long or taken by something
            that is no socket, or the socket cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with taking_place(path, mode, group=group) as taken:
            listener.bind(str(taken.temporary))
            listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener, taken.file


@dataclass(slots=True)
class Taking:
    """A socket on its way to its place.

    Attributes:
        temporary: Where to bind and listen.
        file: The file in its place; only after the end of the block.
    """

    temporary: Path
    file: SocketFile


@contextlib.contextmanager
def taking_place(path: Path, mode: int, *, group: str | None = None) -> Iterator[Taking]:
    """Have the block make a listening socket at a temporary path, and put it in place at its end.

    For a socket that somebody else makes, as libmilter does; arguments and errors as `listen_unix`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if len(os.fsencode(temporary)) > MAX_PATH_OCTETS:
        raise StartError(
            f"{path}: longer than the {MAX_PATH_OCTETS} octets that a socket path may have; "
            "choose a shorter directory"
        )
    taking = Taking(temporary, SocketFile(path, (0, 0)))
    try:
        # Two processes that start at once must not both find the place free.
        with _locked(path.parent):
            _check_free(path)
            temporary.unlink(missing_ok=True)
            # No permission at all until chmod: between bind and chmod nobody else may connect.
            old_mask = os.umask(0o777)
            try:
                yield taking
            finally:
                os.umask(old_mask)
            if group is not None:
                _share(temporary, path, group)
            temporary.chmod(mode)
            temporary.rename(path)
            taking.file = SocketFile(path, _identity(path))
    except OSError as error:
        raise StartError(f"{path}: cannot listen: {error.strerror or error}") from error
    finally:
        # In place, it has this name no more.
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory; the kernel releases it if we die."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_free(path: Path) -> None:
    if path.exists() and not path.is_socket():
        raise StartError(f"{path}: is in the way and is no socket; remove it")
    if answers(path):
        raise StartError(
            f"{path}: another process answers there; stop it first, or choose another path"
        )


def answers(path: Path) -> bool:
    """Tell whether a process listens at `path`.

    Raises:
        OSError: If that cannot be found out, for want of permission above all.
    """
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


def _share(temporary: Path, path: Path, group: str) -> None:
    try:
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        return
    if temporary.stat().st_gid == wanted:
        return
    try:
        os.chown(temporary, -1, wanted)
    except PermissionError:
        log_event(
            _log,
            logging.WARNING,
            "socket-group",
            path=str(path),
            reason=f"may not change the group to {group}; Postfix cannot connect",
        )
