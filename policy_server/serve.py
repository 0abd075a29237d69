"""Serve until told to stop, then leave without losing a request.

Purpose: what the process of the policy server does between its start and its end.
Format of the end: take away the socket files, so that nobody new comes; accept and answer what
already waits in the backlog; stop listening; close each connection as soon as it is idle; after the
grace period cut off the others. Postfix repeats a request whose connection was closed instead of
answered.
Errors: none; failures of single requests never get this far.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatepost.runtime.log import log_event
from gatepost.runtime.sockets import BACKLOG
from policy_server.listen import OwnSocket
from policy_server.pump import Pump

# To accept a connection, to begin to read and to answer each take a pass of the loop or two.
_LAST_PASSES: Final = 10

_log = logging.getLogger("gatepost.policy")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One socket and the service on it."""

    socket: OwnSocket
    pump: Pump[Any, Any]


async def serve(endpoints: Sequence[Endpoint], stop: asyncio.Event, grace_s: float) -> None:
    """Serve on all endpoints until `stop` is set, then drain.

    Works under asyncio and uvloop. The sockets listen already, so whoever needs to know that
    requests are taken may tell so before this is called.

    Args:
        endpoints: What to serve.
        stop: Set it to end, from within the loop.
        grace_s: Seconds that requests in hand may take at the end.
    """
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_unix_server(
            endpoint.pump.connect, sock=endpoint.socket.listener, backlog=BACKLOG
        )
        for endpoint in endpoints
    ]
    try:
        await stop.wait()
    finally:
        for endpoint in endpoints:
            endpoint.socket.remove()
        for _ in range(_LAST_PASSES):
            await asyncio.sleep(0)
        for server in servers:
            server.close()
        cut = sum(await asyncio.gather(*(endpoint.pump.drain(grace_s) for endpoint in endpoints)))
        if cut:
            log_event(_log, logging.WARNING, "cut-off", connections=cut, after_s=grace_s)
