"""The socketmap service: what ``socketmap:unix:PATH:NAME`` tables in main.cf ask.

Purpose: put codec and handler together.
Source: Postfix socketmap_table(5); docs/protocols/socketmap.md.
Errors: trouble is the reply TEMP, with the cause; Postfix logs it, defers the delivery and asks
again at the next attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gatepost.wire.socketmap import Reply, Request, SocketmapServer, Temp
from policy_server.failures import Failure, Fields
from policy_server.pump import MAX_CONNECTIONS, Pump, Service

MapHandler = Callable[[Request], Reply | Awaitable[Reply]]


def maps(
    handler: MapHandler,
    count: Callable[[Failure], None],
    max_connections: int = MAX_CONNECTIONS,
) -> Pump[Request, Reply]:
    """Return the service.

    Args:
        handler: Answers a look-up, at once or later.
        count: Is told of each failure; must not raise.
        max_connections: How many connections may be open.
    """
    return Pump(
        Service(
            name="maps",
            codec=SocketmapServer,
            handler=handler,
            trouble=Temp,
            describe=_describe,
            count=count,
            max_connections=max_connections,
        )
    )


def _describe(request: Request) -> Fields:
    return {"map": request.map_name, "key": request.key}
