"""What the log says of the queue: a message came, is being delivered, is done with, is gone.

Purpose: the lines that `lines` and `events` pass over are wanted here, too: those of smtpd(8), of
postsuper(1), and deliveries by other agents than smtp(8). Of each only a few words are taken.
Source: Postfix smtpd.c (``client=``), qmgr_active.c, qmgr_deliver.c and bounce(8) (``removed``,
``status=expired``), log_adhoc.c (the delivery line), postsuper.c (``placed on hold``, ``requeued``,
``removed``), cleanup_milter.c and cleanup_message.c (refusals after the end).
Format: ``<stamp> <host> <syslog_name>/<program>[<pid>]: <queue id>: <text>``, as in `lines`.
Limits: the first `MAX_OCTETS` of a line are looked at.
Errors: `parse_queue_line` returns None for everything else, and never raises.
Security: the text is hostile. What is matched is anchored at the line's start, and an address is
read as RFC 5321 quotes it, in linear time.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

MAX_OCTETS = 4096
# Whose lines say anything; the others are agents that deliver.
PROGRAMS = frozenset(
    {"smtpd", "qmgr", "cleanup", "postsuper", "smtp", "lmtp", "local", "virtual", "pipe", "error"}
)

_ADDRESS = rb"(?:\"(?:[^\"\\]|\\.)*+\"|[^\"<>])*+"
_HEAD = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?"
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.,Z+-]{8,30}) "
    rb"[^ ]{1,255} [^ \[\]:]{1,128}/([a-z]{2,16})(?:\[(\d{1,10})\]:| (\d{1,10}) [^ ]{1,32} -) "
    rb"([0-9A-Za-z]{5,40}): ",
)
_ID = re.compile(rb"[0-9A-Za-z]{5,40}")
_ACTIVE = re.compile(
    rb"from=<(" + _ADDRESS + rb")>, size=\d{1,20}, nrcpt=(\d{1,9}) \(queue active\)"
)
_CLIENT = re.compile(
    rb"client=[^\[\]]{0,300}\[([^\[\]]{2,60})\](?:, sasl_method=[^,]{0,60})?"
    rb"(?:, sasl_username=(.{1,256}?)(?:, sasl_sender=.*)?)?(?:, orig_.*)?\Z",
    re.DOTALL,
)
_FINAL = re.compile(
    rb"to=<" + _ADDRESS + rb">, (?:orig_to=<" + _ADDRESS + rb">, )?relay=[^,]{1,400}, "
    rb"(?:conn_use=\d{1,9}, )?delay=[^,]{1,20}, delays=[^,]{1,60}, (?:tls=[^,]{1,200}, )?"
    rb"dsn=[^,]{1,12}, status=(?:sent|bounced) ",
    re.DOTALL,
)
_REFUSED = re.compile(
    rb"(?:(?:milter-)?reject: END-OF-MESSAGE|reject: (?:header|mime-header|nested-header|body)) "
)
_MESSAGE_ID = (b"message-id=", b"resent-message-id=")
_GONE = frozenset({b"removed", b"placed on hold", b"requeued"})
_CLEANUP = frozenset({b"cleanup", b"smtpd"})


class Came(NamedTuple):
    """smtpd(8) has begun to take a message.

    Attributes:
        queue_id: Queue id.
        address: Address of the client.
        login: Its SASL login, or empty.
        process: Process id of smtpd(8), which takes one message at a time.
    """

    queue_id: str
    address: str
    login: str
    process: str = ""


class Written(NamedTuple):
    """cleanup(8) has got the header of a message, so its client has not just gone away."""

    queue_id: str


class Tried(NamedTuple):
    """The queue manager has begun an attempt; `recipients` are all that the message ever had."""

    queue_id: str
    sender: str
    recipients: int


class Final(NamedTuple):
    """One recipient has its final outcome."""

    queue_id: str


class Gone(NamedTuple):
    """A message is no longer outstanding: it is done with, deleted, on hold, or has a new id."""

    queue_id: str


QueueLine: TypeAlias = Came | Written | Tried | Final | Gone


def parse_queue_line(line: bytes) -> QueueLine | None:
    """Return what a line of a log file says of the queue, or None if it says nothing.

    Args:
        line: Without its end.
    """
    head = _HEAD.match(line)
    if head is None:
        return None
    program, pid, pid_5424, queue_id = head.groups()
    text = line[head.end() : MAX_OCTETS]
    return _parse(program, pid or pid_5424, queue_id.decode("ascii"), text)


def parse_queue_entry(program: str, pid: int, text: str) -> QueueLine | None:
    """Return what an entry of the journal says of the queue, or None if it says nothing.

    Args:
        program: Who has written it.
        pid: Its process id.
        text: What it says.
    """
    octets = text.encode("utf-8", "surrogateescape")[:MAX_OCTETS]
    queue_id, colon, rest = octets.partition(b": ")
    if not colon or not _ID.fullmatch(queue_id):
        return None
    name = program.encode("utf-8", "replace")
    return _parse(name, str(pid).encode("ascii"), queue_id.decode("ascii"), rest)


def _parse(program: bytes, pid: bytes, queue_id: str, text: bytes) -> QueueLine | None:
    """Return what a line says of the queue, given who wrote it and what stands behind the id."""
    if text.startswith(b"to=<"):
        return Final(queue_id) if _FINAL.match(text) else None
    found: QueueLine | None = None
    if program == b"qmgr":
        found = _of_qmgr(queue_id, text)
    elif program == b"smtpd" and text.startswith(b"client="):
        if client := _CLIENT.match(text):
            login = _text(client[2] or b"")
            found = Came(queue_id, _text(client[1]), login, pid.decode("ascii"))
    elif program == b"postsuper":
        found = Gone(queue_id) if text in _GONE else None
    elif program == b"cleanup" and text.startswith(_MESSAGE_ID):
        found = Written(queue_id)
    elif program in _CLEANUP and _REFUSED.match(text):
        found = Gone(queue_id)
    return found


def _of_qmgr(queue_id: str, text: bytes) -> Tried | Gone | None:
    if text == b"removed":
        return Gone(queue_id)
    found = _ACTIVE.match(text)
    return Tried(queue_id, _text(found[1]), int(found[2])) if found else None


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
