"""One line of a log file: who wrote it when, and what it says.

Purpose: most lines of a mail log tell nothing of deliveries; these are thrown away by a look for
two words, before anything is taken apart.
Source: RFC 3164 §4.1 and RFC 5424 §6 for the forms of a line; Postfix msg_syslog(3) and postlogd(8)
for ``<syslog_name>/<program>[<pid>]``; rsyslog's $RepeatedMsgReduction and syslogd(8) for repeats.
Format: ``<stamp> <host> <syslog_name>/<program>[<pid>]: <text>``, with or without ``<priority>`` in
front, and RFC 5424's ``<priority>1 <stamp> <host> <app> <pid> <id> <data> <text>``.
Limits: of a line `MAX_LINE_OCTETS` are looked at; rsyslog cuts at 8 KiB.
Errors: `parse_line` returns None for everything that is no line of smtp(8) or qmgr(8).
Security: the text is hostile from its second word on. Everything here is anchored at the line's
start, where only Postfix and the logger write.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gatepost.maillog.stamps import Clock

MAX_LINE_OCTETS = 16384
MAX_REPEATS = 100_000
PROGRAMS = frozenset({"smtp", "qmgr"})
# What another Postfix, or a filter, told smtpd(8) of the message's id by XFORWARD.
TAKEN_OVER = ", orig_queue_id="
# Where lanes' own instances, and the main one, take mail from each other: see
# gatepost.postfix.instances.
_HANDED_OVER = "/private/gatepost"
HANDED_OVER = _HANDED_OVER.encode("ascii")

_STAMP = (
    r"(?:(?P<old>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)"
    r"|(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?))"
)
_LINE = re.compile(
    rf"(?:<\d{{1,3}}>)?{_STAMP} (?P<host>[^ ]{{1,255}}) "
    r"(?P<ident>[^ \[\]:]{1,128})/(?P<program>smtpd?|qmgr|lmtp)\[(?P<pid>\d{1,10})\]: (?P<text>.*)",
    re.DOTALL | re.ASCII,
)
_LINE_5424 = re.compile(
    rf"<\d{{1,3}}>1 {_STAMP} (?P<host>[^ ]{{1,255}}) "
    r"(?P<ident>[^ \[\]:]{1,128})/(?P<program>smtpd?|qmgr|lmtp) (?P<pid>\d{1,10}) [^ ]{1,32} -"
    r"(?: (?:\ufeff)?(?P<text>.*))?",
    re.DOTALL | re.ASCII,
)
_ANY_STAMP = re.compile(rf"(?:<\d{{1,3}}>1? ?)?{_STAMP} ", re.ASCII)
_REPEATED = re.compile(r"message repeated (\d{1,9}) times: \[ ?(.*?)\]?\Z", re.DOTALL | re.ASCII)
_LAST_REPEATED = re.compile(
    rf"(?:<\d{{1,3}}>)?{_STAMP} [^ ]{{1,255}} last message repeated (\d{{1,9}}) times?\s*\Z",
    re.ASCII,
)
_LOSS = re.compile(
    rf"(?:<\d{{1,3}}>)?{_STAMP} [^ ]{{1,255}} "
    r"(?:rsyslogd[^ ]*: .*rate-limiting|(?:systemd-)?journald?\[\d+\]: Suppressed \d+ messages )",
    re.DOTALL | re.ASCII,
)


class Entry(NamedTuple):
    """A line of smtp(8) or qmgr(8), or one that tells of a message that changed its queue id.

    Attributes:
        at: Unix time in seconds.
        host: Host name as logged.
        ident: The syslog_name, such as ``postfix/gp-bulk-private``.
        program: ``smtp`` or ``qmgr``; ``smtpd`` or ``lmtp`` for a change of queue id.
        pid: Process id.
        text: What it says.
        repeats: How often the logger had it, more than once only where it says so.
    """

    at: float
    host: str
    ident: str
    program: str
    pid: int
    text: str
    repeats: int = 1


class Repeat(NamedTuple):
    """``last message repeated N times``."""

    times: int


class Loss(NamedTuple):
    """The logger says that it has dropped lines."""

    at: float


def parse_line(line: bytes, clock: Clock) -> Entry | Repeat | Loss | None:
    """Return what a line is, or None for one that tells nothing of deliveries.

    Args:
        line: Without its end.
        clock: For its time stamp.
    """
    if b"/smtp" not in line and b"/qmgr" not in line and HANDED_OVER not in line:
        return _rare(line, clock)
    text = line[:MAX_LINE_OCTETS].decode("utf-8", "surrogateescape")
    found = _LINE.match(text) or _LINE_5424.match(text)
    if found is None:
        return None
    old, iso, host, ident, program, pid, said = found.groups()
    at = clock.traditional(old) if old else clock.iso(iso)
    if at is None or not said or not tells(program, said):
        return None
    if said.startswith("message repeated ") and (again := _REPEATED.match(said)):
        return Entry(at, host, ident, program, int(pid), again[2], _times(again[1]))
    return Entry(at, host, ident, program, int(pid), said)


def tells(program: str, text: str) -> bool:
    """Tell whether a line of a program is one of those that are looked at."""
    if program == "smtpd":
        return TAKEN_OVER in text
    if program == "lmtp":
        return _HANDED_OVER in text
    return program in PROGRAMS


def stamp_of(line: bytes, clock: Clock) -> float | None:
    """Return the Unix time of any log line, or None."""
    found = _ANY_STAMP.match(line[:100].decode("ascii", "replace"))
    if found is None:
        return None
    return clock.traditional(found["old"]) if found["old"] else clock.iso(found["iso"])


def _rare(line: bytes, clock: Clock) -> Repeat | Loss | None:
    if b"last message repeated" in line:
        found = _LAST_REPEATED.match(line.decode("ascii", "replace"))
        return Repeat(_times(found[3])) if found else None
    if b"rate-limiting" in line or b"Suppressed " in line:
        found = _LOSS.match(line[:MAX_LINE_OCTETS].decode("ascii", "replace"))
        at = stamp_of(line, clock) if found else None
        return None if at is None else Loss(at)
    return None


def _times(digits: str) -> int:
    return min(int(digits), MAX_REPEATS)
