"""Asking the policy server whether a message of a platform login may go out.

Purpose: only the tag header tells the tenant of such a message, and only the milter sees headers;
but whether the tenant may send is decided in one place, the policy server.
Source: docs/protocols/policy.md, ``request=gatepost_admit``.
Limits: 10 seconds for one question, well below Postfix's milter_content_timeout of 300 s and enough
for a policy server that is being restarted. Tries are 0.1 s apart at first, twice that each time.
Errors: `PolicyUnavailable` for everything but an answer; the message then gets a temporary failure.
Security: the socket lies in a directory that only Postfix's group may enter.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

from gatepost.decisions.actions import Reject
from gatepost.errors import LocalProtocolError, PolicyUnavailable, RemoteProtocolError
from gatepost.wire.policy import Action, AdmitRequest, PolicyClient
from gatepost.wire.signals import Signal
from milters.session import MessageInProgress

TIMEOUT_S = 10.0
_FIRST_DELAY_S = 0.1
# A timeout of 0 would make the socket non-blocking.
_SHORTEST_WAIT_S = 0.001
_READ_OCTETS = 16384

# The codec stays with its connection: it notices an answer that nobody asked for.
_Connection = tuple[socket.socket, PolicyClient]


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
        request = AdmitRequest(tenant, facts.client.login, queue_id, facts.sender, facts.recipients)
        deadline = time.monotonic() + self._timeout_s
        delay = _FIRST_DELAY_S
        while True:
            kept = self._kept()
            try:
                return parse_action(self._ask(request, deadline))
            except LocalProtocolError as error:
                self._drop()
                raise PolicyUnavailable(f"policy server: {error}") from error
            except (OSError, RemoteProtocolError) as error:
                self._drop()
                # A kept connection is most likely one that a restarted server has closed.
                if kept is not None:
                    continue
                # A server that is starting has no socket yet.
                if time.monotonic() + delay >= deadline:
                    raise PolicyUnavailable(f"policy server: {error}") from error
            time.sleep(delay)
            delay *= 2

    def _ask(self, request: AdmitRequest, deadline: float) -> Action:
        connection, codec = self._kept() or self._connect(deadline)
        data = codec.send(request)
        connection.settimeout(_left(deadline))
        connection.sendall(data)
        while (event := codec.next_event()) is Signal.NEED_DATA:
            connection.settimeout(_left(deadline))
            codec.receive_data(connection.recv(_READ_OCTETS))
        if not isinstance(event, Action):
            raise ConnectionError("closed the connection without an answer")
        return event

    def _kept(self) -> _Connection | None:
        kept: _Connection | None = getattr(self._local, "kept", None)
        return kept

    def _connect(self, deadline: float) -> _Connection:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        kept = self._local.kept = (connection, PolicyClient())
        connection.settimeout(_left(deadline))
        connection.connect(str(self._path))
        return kept

    def _drop(self) -> None:
        kept = self._kept()
        self._local.kept = None
        if kept is not None:
            with contextlib.suppress(OSError):
                kept[0].close()


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), _SHORTEST_WAIT_S)


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
