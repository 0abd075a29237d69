"""Messages that Postfix refused after their end, from the lines of its log.

Purpose: neither a policy service nor a milter hears of it when another milter, header_checks or a
restriction behind it refuses a message; only the log does.
Source: Postfix cleanup_milter.c (``milter-reject: END-OF-MESSAGE``) and cleanup_message.c
(``reject: header``, ``reject: body``), smtpd_check.c (``reject: END-OF-MESSAGE``).
Format: ``<stamp> <host> <syslog_name>/<program>[<pid>]: <queue id>: <what> …``.
Limits: the first `MAX_HEAD` octets of a line are looked at, in which all of this stands.
Errors: none.
Security: what a client wrote stands behind what is matched here, anchored at the line's start.
Not handled: the journal, whose reader gives lines of deliveries only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_HEAD = 600

_REFUSED = re.compile(
    rb"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.,Z+-]{8,30}) "
    rb"[^ ]{1,255} [^ \[\]:]{1,128}/(?:cleanup|smtpd)\[\d{1,10}\]: "
    rb"([0-9A-Za-z]{6,20}): (?:(?:milter-)?reject: END-OF-MESSAGE"
    rb"|reject: (?:header|mime-header|nested-header|body)) "
)


def refused_messages(lines: Iterable[bytes]) -> list[str]:
    """Return the queue ids of messages that were refused after their end.

    Args:
        lines: Lines of a log file, without their ends.
    """
    # Most lines are passed over without being taken apart.
    heads = (line[:MAX_HEAD] for line in lines if b"reject: " in line)
    return [match[1].decode("ascii") for match in map(_REFUSED.match, heads) if match is not None]
