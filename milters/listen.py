"""libmilter's socket and libmilter's loop.

Purpose: have libmilter listen where Postfix looks, with the rights that Postfix needs, and run it
on a thread of its own. Does what ``Milter.runmilter`` does, except that libmilter listens before
its loop begins, so that whoever starts us is told the truth.
Source: libmilter smfi_register, smfi_opensocket, smfi_main; pymilter ``Milter/__init__.py``.
Limits: libmilter closes a connection that sends a packet above 64 KiB. For its sake Postfix cuts a
header field at 60,000 octets as soon as it has any milter (KLUDGE_HEADER_LIMIT, cleanup_message.c).
Errors: `open_socket` raises `StartError`.
Not handled: libmilter can listen only once in a process.
"""

from __future__ import annotations

from pathlib import Path

import Milter
import milter as libmilter

from gatepost.errors import StartError
from gatepost.runtime.paths import SOCKET_MODE
from gatepost.runtime.sockets import BACKLOG, SocketFile, taking_place

NAME = "gatepost"
READ_TIMEOUT_S = 7210


def register(factory: type[Milter.Base]) -> None:
    """Tell libmilter what to call; each connection gets an object that `factory` makes."""
    Milter.factory = factory
    libmilter.set_connect_callback(Milter.connect_callback)
    libmilter.set_envfrom_callback(lambda ctx, *args: ctx.getpriv().envfrom_bytes(*args))
    libmilter.set_envrcpt_callback(lambda ctx, *args: ctx.getpriv().envrcpt_bytes(*args))
    libmilter.set_header_callback(lambda ctx, name, value: ctx.getpriv().header_bytes(name, value))
    libmilter.set_eom_callback(lambda ctx: ctx.getpriv().eom())
    libmilter.set_abort_callback(lambda ctx: ctx.getpriv().abort())
    libmilter.set_close_callback(Milter.close_callback)
    libmilter.register(NAME, negotiate=Milter.negotiate_callback)


def open_socket(path: Path, group: str | None) -> SocketFile:
    """Have libmilter listen at `path`, after `register`.

    Raises:
        StartError: As `gatepost.runtime.sockets.listen_unix`.
    """
    with taking_place(path, SOCKET_MODE, group=group) as taking:
        libmilter.setbacklog(BACKLOG)
        libmilter.settimeout(READ_TIMEOUT_S)
        libmilter.setconn(f"unix:{taking.temporary}")
        try:
            libmilter.opensocket(False)
        except libmilter.error as error:
            raise StartError(f"{path}: libmilter cannot listen: {error}") from error
    return taking.file


def serve() -> None:
    """Serve connections until libmilter is stopped; call it on a thread of its own.

    Raises:
        milter.error: If libmilter gives up.
    """
    libmilter.main()
