"""The policy delegation service: what ``check_policy_service`` and our milter talk to.

Purpose: put codec and handler together.
Source: Postfix SMTPD_POLICY_README; docs/protocols/policy.md.
Errors: trouble is a closed connection. smtpd(8) asks once more after a second and then uses the
default_action that is set for this service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gatepost.wire.policy import (
    AccessRequest,
    Disconnect,
    PolicyReply,
    PolicyRequest,
    PolicyServer,
)
from policy_server.failures import Failure, Fields
from policy_server.pump import MAX_CONNECTIONS, Pump, Service

PolicyHandler = Callable[[PolicyRequest], PolicyReply | Awaitable[PolicyReply]]


def delegation(
    handler: PolicyHandler,
    count: Callable[[Failure], None],
    max_connections: int = MAX_CONNECTIONS,
) -> Pump[PolicyRequest, PolicyReply]:
    """Return the service.

    Args:
        handler: Answers a request, at once or later.
        count: Is told of each failure; must not raise.
        max_connections: How many connections may be open.
    """
    return Pump(
        Service(
            name="policy",
            codec=PolicyServer,
            handler=handler,
            trouble=Disconnect,
            describe=_describe,
            count=count,
            max_connections=max_connections,
        )
    )


def _describe(request: PolicyRequest) -> Fields:
    fields = {
        "queue_id": request.queue_id or "NOQUEUE",
        "login": request.sasl_username,
        "sender": f"<{request.sender}>",
    }
    if isinstance(request, AccessRequest):
        return {
            "state": request.protocol_state,
            "client": request.client_address,
            **fields,
            "to": f"<{request.recipient}>",
        }
    return {"state": "admit", "tenant": request.tenant, **fields}
