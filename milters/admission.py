"""Asking the policy server whether a message of a platform login may go out.

Purpose: only the tag header tells the tenant of such a message, and only the milter sees headers; but
whether the tenant may send is decided in one place, the policy server.
Source: docs/protocols/policy.md, ``request=gatepost_admit``.
Limits: 10 seconds for one question, well below Postfix's milter_content_timeout of 300 s and enough
for a policy server that is being restarted.
Errors: `PolicyUnavailable` for everything but an answer; the message then gets a temporary failure.
Security: the socket lies in a directory that only Postfix's group may enter.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from pathlib import Path

from gatepost.decisions.actions import Reject
from gatepost.errors import PolicyUnavailable, ProtocolError
from gatepost.wire.policy import Action, AdmitRequest, PolicyClient
from gatepost.wire.signals import Signal
from milters.session import MessageInProgress

TIMEOUT_S = 10.0
_RETRY_DELAY_S = 0.1
_READ_OCTETS = 16384

log = logging.getLogger("gatepost.milter")


class AdmissionClient:
    """Asks over one connection per thread, which is kept open between messages.

    Args:
        path: The policy server's socket.
        timeout_s: Seconds for one question, retries included.
    """

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._local = threading.local()

    def admit(self, tenant: str, message: MessageInProgress, queue_id: str) -> Reject | None:
        """Return the refusal for a message, or None if it may go out.

        Raises:
            PolicyUnavailable: If there is no answer in time.
        """
        facts = message.facts(queue_id)
        request = AdmitRequest(
            tenant, facts.client.login, queue_id, facts.sender, facts.recipients
        )
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return parse_action(self._ask(request, deadline))
            except (OSError, ProtocolError) as error:
                self._drop()
                # A kept connection may be one that a restarted server has closed, and a server
                # that is starting has no socket yet: both are over in a moment.
                if time.monotonic() + _RETRY_DELAY_S >= deadline:
                    raise PolicyUnavailable(f"policy server: {error}") from error
                time.sleep(_RETRY_DELAY_S)

    def _ask(self, request: AdmitRequest, deadline: float) -> Action:
        connection = self._connection(deadline)
        codec = PolicyClient()
        connection.sendall(codec.send(request))
        while (event := codec.next_event()) is Signal.NEED_DATA:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            data = connection.recv(_READ_OCTETS)
            if not data:
                raise ConnectionError("closed the connection without an answer")
            codec.receive_data(data)
        if not isinstance(event, Action):
            raise ConnectionError("closed the connection without an answer")
        return event

    def _connection(self, deadline: float) -> socket.socket:
        kept: socket.socket | None = getattr(self._local, "connection", None)
        if kept is None:
            kept = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._local.connection = kept
            kept.settimeout(max(deadline - time.monotonic(), 0.001))
            kept.connect(str(self._path))
        kept.settimeout(max(deadline - time.monotonic(), 0.001))
        return kept

    def _drop(self) -> None:
        kept: socket.socket | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if kept is not None:
            with contextlib.suppress(OSError):
                kept.close()


def parse_action(action: Action) -> Reject | None:
    """Return the refusal that an action asks for, or None for DUNNO.

    Raises:
        PolicyUnavailable: If the action is none that the policy server uses here.
    """
    if action.text == "DUNNO":
        return None
    code, _, rest = action.text.partition(" ")
    status, _, text = rest.partition(" ")
    if len(code) == len("550") and code[0] in "45" and code.isdigit() and text:
        return Reject(code, status, text)
    raise PolicyUnavailable(f"policy server answered {action.text[:60]!a}")
