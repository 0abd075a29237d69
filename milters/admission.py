"""Asking the policy server whether a message may go out: of a platform login, or of a campaign.

Purpose: only the tag header tells the tenant of such a message, and only the milter sees headers;
but whether the tenant may send is decided in one place, the policy server. So is whether there
is room in the quota of a campaign, which a header names as well.
Source: docs/protocols/policy.md, ``request=gatepost_admit``.
Limits: 10 seconds for one question, well below Postfix's milter_content_timeout of 300 s and enough
for a policy server that is being restarted. Tries are 0.1 s apart at first, twice that each time.
Errors: `PolicyUnavailable` for everything but an answer; the message then gets a temporary failure.
Security: the socket lies in a directory that only Postfix's group may enter.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from gatepost.decisions.actions import Admission, DeleteRecipient, Reject
from gatepost.decisions.facts import MessageFacts
from gatepost.errors import LocalProtocolError, PolicyUnavailable, RemoteProtocolError
from gatepost.feedback.token import message_id_of
from gatepost.wire.policy import DELETE, Action, AdmitRequest, PolicyClient
from gatepost.wire.signals import Signal

TIMEOUT_S = 10.0
_FIRST_DELAY_S = 0.1
# A timeout of 0 would make the socket non-blocking.
_SHORTEST_WAIT_S = 0.001
_READ_OCTETS = 16384
_MAX_DIGITS = 4


class _Connection:
    """A connection with its codec, which notices an answer that nobody asked for."""

    __slots__ = ("codec", "socket")

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.codec = PolicyClient()


class AdmissionClient:
    """Asks over connections that are kept open between messages, as many as ask at once.

    Args:
        path: The policy server's socket.
        timeout_s: Seconds for one question, retries included.
    """

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        # Not one for each thread: libmilter's threads come and go with SMTP connections.
        self._idle: deque[_Connection] = deque()

    def admit(self, tenant: str, facts: MessageFacts, campaign: str) -> Admission:
        """Return whether a message may go out, and without which recipients.

        Args:
            tenant: Tenant id.
            facts: The message.
            campaign: The campaign that it counts for, or empty.

        Raises:
            PolicyUnavailable: If there is no answer in time.
        """
        request = AdmitRequest(
            tenant,
            facts.client.login,
            facts.queue_id,
            facts.sender,
            facts.recipients,
            message_id_of(facts.host, facts.queue_id).hex(),
            campaign,
        )
        deadline = time.monotonic() + self._timeout_s
        delay = _FIRST_DELAY_S
        while True:
            kept = self._take()
            connection = kept or _Connection()
            try:
                action = self._ask(request, connection, deadline, is_open=kept is not None)
            except LocalProtocolError as error:
                connection.socket.close()
                raise PolicyUnavailable(f"policy server: {error}") from error
            except (OSError, RemoteProtocolError) as error:
                connection.socket.close()
                # A kept connection is most likely one that a restarted server has closed.
                if kept is not None:
                    continue
                # A server that is starting has no socket yet.
                if time.monotonic() + delay >= deadline:
                    raise PolicyUnavailable(f"policy server: {error}") from error
            else:
                self._idle.append(connection)
                return parse_action(action, facts.recipients)
            time.sleep(delay)
            delay *= 2

    def close(self) -> None:
        """Close the connections that nobody is asking over."""
        while (connection := self._take()) is not None:
            connection.socket.close()

    def _take(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _ask(
        self, request: AdmitRequest, connection: _Connection, deadline: float, *, is_open: bool
    ) -> Action:
        link, codec = connection.socket, connection.codec
        data = codec.send(request)
        link.settimeout(_left(deadline))
        if not is_open:
            link.connect(str(self._path))
        link.sendall(data)
        while (event := codec.next_event()) is Signal.NEED_DATA:
            link.settimeout(_left(deadline))
            codec.receive_data(link.recv(_READ_OCTETS))
        if not isinstance(event, Action):
            raise ConnectionError("closed the connection without an answer")
        return event


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), _SHORTEST_WAIT_S)


def parse_action(action: Action, recipients: Sequence[str]) -> Admission:
    """Return what an action asks for: a refusal, recipients to delete, or nothing for DUNNO.

    Args:
        action: What the policy server answered.
        recipients: What it was asked about.

    Raises:
        PolicyUnavailable: If the action is none that the policy server uses here.
    """
    if action.text == "DUNNO":
        return Admission()
    code, _, rest = action.text.partition(" ")
    if code == DELETE:
        return Admission(edits=_deletions(rest.split(" "), recipients))
    status, _, text = rest.partition(" ")
    if len(code) == len("550") and code[0] in "45" and code.isdigit() and text:
        return Admission(Reject(code, status, text))
    raise _unknown(action.text)


def _deletions(numbers: Sequence[str], recipients: Sequence[str]) -> tuple[DeleteRecipient, ...]:
    addresses = []
    for word in numbers:
        number = int(word) if word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS else 0
        if not 1 <= number <= len(recipients):
            raise _unknown(f"{DELETE} {word}")
        addresses.append(recipients[number - 1])
    # Postfix deletes every recipient of that spelling. One without any left would vanish.
    if set(addresses) == set(recipients):
        raise _unknown(f"{DELETE} of all recipients")
    return tuple(map(DeleteRecipient, dict.fromkeys(addresses)))


def _unknown(text: str) -> PolicyUnavailable:
    return PolicyUnavailable(f"policy server answered {text[:60]!a}")
