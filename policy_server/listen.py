"""The sockets that Postfix connects to.

Purpose: open ``<queue_directory>/gatepost/<name>.sock`` so that Postfix may use it, and take it
away at the end if it is still ours; how, is `gatepost.runtime.sockets`.
Source: Postfix socketmap_table(5), SMTPD_POLICY_README: both take ``unix:PATH`` relative to the
queue directory, which works in a chroot too.
Errors: `open_socket` raises `StartError`.
Security: mode 0660 and Postfix's group.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatepost.runtime.paths import SOCKET_MODE
from gatepost.runtime.sockets import BACKLOG, SocketFile, listen_unix

POSTFIX_GROUP: Final = "postfix"


@dataclass(frozen=True, slots=True)
class OwnSocket:
    """A listening socket with its file.

    Attributes:
        listener: Listens already; connections wait until somebody accepts them.
        file: The file.
    """

    listener: socket.socket
    file: SocketFile

    def remove(self) -> None:
        """Remove the file, unless another process has put its own in its place."""
        self.file.remove()


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
    return OwnSocket(*listen_unix(path, SOCKET_MODE, group=group, backlog=backlog))
