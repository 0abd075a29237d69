"""Logging for daemons: one event a line, fit for grep, safe against whatever mail contains.

Purpose: an administrator finds a message by its queue id and an event by its first word. Every line
passes through `clean`, so text from outside can neither start a second line nor stop the logging.
Format: ``event key=value key="value with spaces"``. On syslog (facility mail) the ident is
``gatepost/<role>[pid]``; on standard error the line starts with time and ident; under systemd,
which adds both, it starts with ``<priority>role:``. As in Postfix, ``warning:``, ``error:`` and
``fatal:`` stand before the event. An exception is told on the same line, as ``cause=`` and ``at=``.
Limits: 2,000 characters a line, below the 8 KiB that rsyslog and the 2,048 bytes that older syslog
daemons cut at.
Errors: logging never raises; a record that cannot be formatted is logged as it is.
Security: control characters, surrogates (undecodable octets of mail), line separators and
bidirectional overrides are escaped.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

MAX_LINE = 2000
RECENT = 20
SYSLOG_SOCKET = "/dev/log"

_BARE = re.compile(r"[!#-<>-\[\]-~]+")
_WORDS = {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "fatal: "}
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_FRAMES = 6
# surrogateescape maps an undecodable octet 0xNN to U+DCNN.
_ESCAPED_OCTETS = range(0xDC80, 0xDD00)

Value = str | int | float | bool | None


def clean(text: str, limit: int = MAX_LINE) -> str:
    """Return `text` with everything escaped that is not printable, cut to `limit` characters."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text[:limit])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _escape(char: str) -> str:
    code = ord(char)
    if code in _ESCAPED_OCTETS:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def format_event(event: str, **fields: Value) -> str:
    """Return ``event key=value …``.

    Args:
        event: What happened, one word with hyphens; the word to grep for.
        fields: Values in the order in which they are to be printed; None is left out, an empty
            text is printed as ``""``.
    """
    parts = [event]
    parts += [f"{key}={_value(value)}" for key, value in fields.items() if value is not None]
    return " ".join(parts)


def _value(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def log_event(logger: logging.Logger, level: int, event: str, **fields: Value) -> None:
    """Log one event; the cost of formatting is saved where the level is off."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", format_event(event, **fields))


@dataclass(frozen=True, slots=True)
class Trouble:
    """A warning or worse that was logged.

    Attributes:
        at: Unix time in seconds.
        level: ``warning``, ``error`` or ``fatal``.
        text: The line, cleaned.
    """

    at: float
    level: str
    text: str


class RecentTrouble(logging.Handler):
    """Keeps the last warnings and errors for ``gatepost status``."""

    def __init__(self, keep: int = RECENT) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[Trouble] = deque(maxlen=keep)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        word = _WORDS.get(record.levelno, "error: ").rstrip(": ")
        self._kept.append(Trouble(record.created, word, line_of(record)))

    def latest(self) -> list[Trouble]:
        """Return what was kept, newest first."""
        return list(self._kept)[::-1]


def line_of(record: logging.LogRecord) -> str:
    """Return the text of a record as one clean line without prefix."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        text = f"{record.msg!r} {record.args!r}"
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text} {format_cause(record.exc_info[1])}"
    return clean(text)


def format_cause(error: BaseException) -> str:
    """Return ``cause="Type: text" at="file:line:function …"``, innermost frame last."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    at = " ".join(
        f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}:{frame.name}"
        for frame in frames
    )
    fields = {"cause": f"{type(error).__name__}: {error}", "at": at or None}
    return format_event("", **fields).lstrip()


class LineFormatter(logging.Formatter):
    """One clean line for each record, with the prefix that its destination lacks."""

    def __init__(self, role: str, style: str) -> None:
        super().__init__()
        self._role = role
        self._form = style

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = _WORDS.get(record.levelno, "") + line_of(record)
        if self._form == "syslog":
            return text
        if self._form == "journal":
            return f"<{_PRIORITIES.get(record.levelno, 2)}>{self._role}: {text}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        offset = time.strftime("%z", time.localtime(record.created))
        return f"{stamp}.{int(record.msecs):03d}{offset} {_ident(self._role)} {text}"


def _ident(role: str) -> str:
    return f"gatepost/{role}[{os.getpid()}]:"


def on_journal(stream: TextIO) -> bool:
    """Tell whether a stream is the connection to journald that systemd gave us."""
    try:
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        stat = os.fstat(stream.fileno())
        return (stat.st_dev, stat.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


def set_up(
    role: str, log_to: str = "stderr", level: str = "info", *, stream: TextIO | None = None
) -> RecentTrouble:
    """Send all logging of this process to one place, and return what keeps the last errors.

    Args:
        role: ``milter``, ``policy``, ``back`` or ``supervisor``.
        log_to: ``stderr`` or ``syslog``; where there is no syslog socket, standard error is used
            and a warning says so.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        stream: Instead of standard error, for tests.
    """
    logging.raiseExceptions = False
    recent = RecentTrouble()
    stream = stream or sys.stderr
    missing: OSError | None = None
    handler: logging.Handler = logging.StreamHandler(stream)
    style = "journal" if on_journal(stream) else "plain"
    if log_to == "syslog":
        try:
            handler, style = _syslog(role), "syslog"
        except OSError as error:
            missing = error
    handler.setFormatter(LineFormatter(role, style))
    logging.basicConfig(level=level.upper(), handlers=[handler, recent], force=True)
    _log_uncaught()
    if missing is not None:
        log_event(
            logging.getLogger(__name__),
            logging.WARNING,
            "no-syslog",
            socket=SYSLOG_SOCKET,
            reason=str(missing),
            using="stderr",
        )
    return recent


def log_fatal(logger: logging.Logger, event: str, **fields: Value) -> None:
    """Log why a process cannot go on; on standard error too, where whoever started it looks."""
    line = format_event(event, **fields)
    logger.critical("%s", line)
    if any(isinstance(each, logging.handlers.SysLogHandler) for each in logging.root.handlers):
        sys.stderr.write(f"fatal: {clean(line)}\n")


def _syslog(role: str) -> logging.Handler:
    # SysLogHandler itself is content with a socket that does not exist, and loses every line.
    Path(SYSLOG_SOCKET).stat()
    facility = logging.handlers.SysLogHandler.LOG_MAIL
    handler = logging.handlers.SysLogHandler(SYSLOG_SOCKET, facility=facility)
    handler.ident = _ident(role) + " "
    handler.append_nul = False
    return handler


def _log_uncaught() -> None:
    def in_main(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        logging.getLogger("gatepost").critical("uncaught", exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if error is not None:
            logging.getLogger("gatepost").critical(
                "uncaught", exc_info=(type(error), error, args.exc_traceback)
            )

    sys.excepthook = in_main
    threading.excepthook = in_thread
