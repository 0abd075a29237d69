"""The policy delegation protocol: smtpd(8) asks what to do, and our milter asks to admit a message.

Purpose: answer ``check_policy_service``, and carry one request of our own on the same socket.
Source: Postfix SMTPD_POLICY_README, "Protocol description"; access(5) for the actions.
Format: request and reply are attribute lists, see `attributes`. The attribute ``request`` names
the type: ``smtpd_access_policy`` is Postfix's; ``gatepost_admit`` is ours and described in
docs/protocols/policy.md. The reply is the single attribute ``action``; to an admission request it
may also be ``DELETE 2 5``: the message may go out without its second and fifth recipient.
Limits: requests as in `attributes`; an action of 8,192 octets, four times line_length_limit, the
bound that attr_scan_plain(3) names for a string.
Errors: `RemoteProtocolError` for a request of another type or one that lacks what its type needs.
In trouble the README forbids a reply: the server logs a warning and disconnects, and the client
uses its default action. So trouble is a reply of its own, `Disconnect`, and never an action that
somebody made up.
Security: every value is text of the client's, see `text`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.attributes import MAX_LIST_OCTETS, AttributeDecoder, encode_attributes
from gatepost.wire.exchange import ServerExchange
from gatepost.wire.signals import Signal
from gatepost.wire.text import encode_text
from gatepost.wire.xtext import decode_xtext, encode_xtext

ACCESS_TYPE: Final = "smtpd_access_policy"
ADMIT_TYPE: Final = "gatepost_admit"
# Our own answer to an admission request: numbers of recipients to delete follow, from 1.
DELETE: Final = "DELETE"
MAX_ACTION_OCTETS: Final = 8_192

# A 64-bit number; int() would also take blanks, signs and other scripts' digits, and refuses
# some thousands of digits with an error of its own.
_NUMBER: Final = re.compile(r"[0-9]{0,19}")
_FORBIDDEN: Final = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One question of smtpd(8).

    An attribute that Postfix did not send is empty or 0, as the README has it for values that
    are not available.

    Attributes:
        attributes: Every attribute as it was sent, the first value of each name.
    """

    attributes: Mapping[str, str]

    @property
    def protocol_state(self) -> str:
        """CONNECT, EHLO, HELO, MAIL, RCPT, DATA, END-OF-MESSAGE, VRFY or ETRN."""
        return self.attributes.get("protocol_state", "")

    @property
    def client_address(self) -> str:
        """IP address as text."""
        return self.attributes.get("client_address", "")

    @property
    def client_port(self) -> str:
        """TCP port as text."""
        return self.attributes.get("client_port", "")

    @property
    def sender(self) -> str:
        """Envelope sender, empty for the null sender."""
        return self.attributes.get("sender", "")

    @property
    def recipient(self) -> str:
        """Envelope recipient at RCPT, and later if the message has but one."""
        return self.attributes.get("recipient", "")

    @property
    def recipient_count(self) -> int:
        """Accepted recipients at DATA and END-OF-MESSAGE, 0 before."""
        return int(self.attributes.get("recipient_count") or 0)

    @property
    def queue_id(self) -> str:
        """Queue id, empty until Postfix has made a queue file."""
        return self.attributes.get("queue_id", "")

    @property
    def instance(self) -> str:
        """The same text at all stages of one message."""
        return self.attributes.get("instance", "")

    @property
    def size(self) -> int:
        """Octets: at END-OF-MESSAGE those received, before what the client announced or 0."""
        return int(self.attributes.get("size") or 0)

    @property
    def sasl_username(self) -> str:
        """SASL login, empty if none."""
        return self.attributes.get("sasl_username", "")

    @property
    def ccert_fingerprint(self) -> str:
        """Fingerprint of the client's certificate, empty if none."""
        return self.attributes.get("ccert_fingerprint", "")

    @property
    def policy_context(self) -> str:
        """What main.cf or master.cf says about the listener."""
        return self.attributes.get("policy_context", "")


@dataclass(frozen=True, slots=True)
class AdmitRequest:
    """Our milter's question whether a message may go out for a tenant.

    Attributes:
        tenant: Tenant id, as the tag header named it.
        sasl_username: The platform login that named it.
        queue_id: Queue id.
        sender: Envelope sender, empty for the null sender.
        recipients: Accepted envelope recipients, at least one.
        message: Message id of the token in hex, or empty.
        campaign: Campaign that the message belongs to, or empty.
    """

    tenant: str
    sasl_username: str
    queue_id: str
    sender: str
    recipients: tuple[str, ...]
    message: str = ""
    campaign: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """An answer.

    Attributes:
        text: An action of access(5), such as ``DUNNO`` or ``REJECT 5.7.1 no``, without
            CR, newline or NUL.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """No answer: the connection is closed, and the client uses its default action.

    Attributes:
        reason: Why, for the log; it is not sent.
    """

    reason: str


PolicyRequest = AccessRequest | AdmitRequest
PolicyReply = Action | Disconnect


class PolicyServer(ServerExchange[dict[str, str], PolicyRequest, PolicyReply]):
    """Requests in, replies out, for one connection."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(AttributeDecoder())

    def _parse(self, frame: dict[str, str]) -> PolicyRequest:
        kind = frame.get("request")
        if kind == ACCESS_TYPE:
            return _parse_access(frame)
        if kind == ADMIT_TYPE:
            return _parse_admit(frame)
        if kind is None:
            raise RemoteProtocolError("policy request without the attribute 'request'")
        raise RemoteProtocolError(f"unknown type of policy request {kind[:60]!a}")

    def _format(self, reply: PolicyReply) -> bytes:
        if isinstance(reply, Disconnect):
            return b""
        return _format_action(reply.text)


# Most answers are the same few.
@lru_cache(maxsize=64)
def _format_action(text: str) -> bytes:
    if not text:
        raise LocalProtocolError("empty action")
    # Ordinary actions are printable, which is quickly told.
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise LocalProtocolError(f"CR, newline or NUL in action {text[:60]!a}")
    data = encode_text(text)
    if len(data) > MAX_ACTION_OCTETS:
        raise LocalProtocolError(
            f"action of {len(data)} octets; at most {MAX_ACTION_OCTETS} are sent"
        )
    return b"action=%b\n\n" % data


class PolicyClient:
    """The client's side of one connection, for the milter: one request, one answer."""

    __slots__ = ("_decoder", "_waiting")

    def __init__(self) -> None:
        self._decoder = AttributeDecoder(MAX_ACTION_OCTETS + len("action=\n\n"))
        self._waiting = False

    def send(self, request: AdmitRequest) -> bytes:
        """Return the octets of a request.

        Raises:
            LocalProtocolError: If the last request has no answer yet, or if the request has no
                tenant, no recipients, or more than the server accepts.
            RemoteProtocolError: If the server has sent something before it was asked, which must
                not be taken for the answer.
        """
        if self._waiting:
            raise LocalProtocolError("the last request has no answer yet")
        if not self._decoder.idle:
            raise RemoteProtocolError("a policy reply that nobody asked for")
        data = format_admit(request)
        self._waiting = True
        return data

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server; b"" is the end of the stream.

        Raises:
            LocalProtocolError: If data follows the end of the stream.
        """
        self._decoder.receive_data(data)

    def next_event(self) -> Action | Signal:
        """Return the answer, NEED_DATA, or CLOSED when the server hung up instead.

        Raises:
            RemoteProtocolError: If the server sends anything but one action for one request.
        """
        reply = self._decoder.next_event()
        if isinstance(reply, Signal):
            return reply
        if not self._waiting:
            raise RemoteProtocolError("a policy reply that nobody asked for")
        if not reply.get("action"):
            raise RemoteProtocolError("policy reply without an action")
        self._waiting = False
        return Action(reply["action"])


def format_admit(request: AdmitRequest) -> bytes:
    """Return an admission request as it is sent.

    Raises:
        LocalProtocolError: If it has no tenant, no recipients, a newline or NUL in a value, or
            more octets than the server accepts.
    """
    if not request.tenant or not request.recipients or not all(request.recipients):
        raise LocalProtocolError("an admission request needs a tenant and recipients")
    data = encode_attributes(
        {
            "request": ADMIT_TYPE,
            "tenant": request.tenant,
            "sasl_username": request.sasl_username,
            "queue_id": request.queue_id,
            "sender": request.sender,
            **({"message": request.message} if request.message else {}),
            **({"campaign": encode_xtext(request.campaign)} if request.campaign else {}),
            "recipients": " ".join(map(encode_xtext, request.recipients)),
        }
    )
    if len(data) > MAX_LIST_OCTETS:
        raise LocalProtocolError(
            f"admission request of {len(data)} octets; at most {MAX_LIST_OCTETS} are accepted"
        )
    return data


def _parse_access(attributes: dict[str, str]) -> AccessRequest:
    for name in ("size", "recipient_count"):
        value = attributes.get(name, "0")
        if value != "0" and not _NUMBER.fullmatch(value):
            raise RemoteProtocolError(f"{name} {value[:60]!a} is not a number")
    return AccessRequest(attributes)


def _parse_admit(attributes: dict[str, str]) -> AdmitRequest:
    for name in ("tenant", "recipients"):
        if not attributes.get(name):
            raise RemoteProtocolError(f"admission request without {name}")
    return AdmitRequest(
        tenant=attributes["tenant"],
        sasl_username=attributes.get("sasl_username", ""),
        queue_id=attributes.get("queue_id", ""),
        sender=attributes.get("sender", ""),
        recipients=tuple(map(decode_xtext, attributes["recipients"].split(" "))),
        message=attributes.get("message", ""),
        campaign=decode_xtext(attributes.get("campaign", "")),
    )
