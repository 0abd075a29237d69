"""What becomes of a failure: the one place that gives it a kind, a log line and a reason to send.

Purpose: stop a database or break a handler, and Postfix sees a temporary failure, the log has one
line with the cause and the request, and a metric has counted it.
Source: Postfix SMTPD_POLICY_README, "In case of trouble the policy server must not send a reply.
Instead the server must log a warning and disconnect"; socketmap_table(5), TEMP.
Format of a log line: ``<kind> service=<name> <request> cause="<what>"``; a bug has ``at=`` too.
Errors: none.
Security: what clients sent reaches log and Postfix only through `clean`, so it cannot start a line
of its own, and no octets can stop the logging.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from gatepost.errors import RemoteProtocolError, Unavailable
from gatepost.runtime.log import clean, format_cause, log_event

# Postfix logs no more of a socketmap's reason.
REASON_CHARACTERS: Final = 200

_log = logging.getLogger("gatepost.policy")

Fields = Mapping[str, str]


class Failure(StrEnum):
    """Why a request got no ordinary answer: first word of the log line, label of the metric."""

    UNAVAILABLE = "unavailable"
    PROTOCOL = "protocol-error"
    BUG = "internal-error"
    CAPACITY = "too-many-connections"


class LineBudget:
    """How many lines of one kind may be written: a flood must not fill the log; metrics count all.

    Args:
        clock: Monotonic time in seconds.
        lines: So many within `period_s`.
        period_s: See there.
    """

    def __init__(self, clock: Callable[[], float], lines: int, period_s: float = 60.0) -> None:
        self._clock = clock
        self._lines = lines
        self._period_s = period_s
        self._began_at = float("-inf")
        self._written = 0
        self._left_out = 0

    def take(self) -> int | None:
        """Return how many lines were left out since the last one, or None to leave out this one."""
        now = self._clock()
        if now - self._began_at >= self._period_s:
            self._began_at = now
            self._written = 0
        if self._written >= self._lines:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def kind_of(error: BaseException) -> Failure:
    """Return which kind of failure an exception is."""
    if isinstance(error, Unavailable):
        return Failure.UNAVAILABLE
    if isinstance(error, RemoteProtocolError):
        return Failure.PROTOCOL
    return Failure.BUG


def reason_of(error: BaseException) -> str:
    """Return the cause in words that Postfix may log."""
    if kind_of(error) is Failure.BUG:
        return "internal error, see the log of Gatepost"
    return clean(str(error), REASON_CHARACTERS)


def log_exception(service: str, error: BaseException, request: Fields) -> None:
    """Write the one log line for an exception.

    Args:
        service: Name of the service.
        error: What happened.
        request: What the request was about, or empty if none could be read.
    """
    kind = kind_of(error)
    if kind is Failure.BUG:
        head = f"{kind} service={service}"
        log_event(_log, logging.ERROR, f"{head} {format_cause(error)}", **request)
    else:
        log_failure(service, kind, str(error), request)


def log_failure(service: str, kind: Failure, cause: str, request: Fields) -> None:
    """Write one log line for a failure without an exception; arguments as in `log_exception`."""
    log_event(_log, logging.WARNING, kind.value, service=service, **request, cause=cause)
