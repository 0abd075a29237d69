"""The other side of `reader_child`: a process that is started, asked, bounded and started again.

Limits: 30 s for a mail, most of which would be DNS; after 1,000 mails the process is replaced, as
memory that was once taken is seldom given back. A start takes some 0.5 s.
Errors: `ReaderGone` if it ended, or was ended because it took too long; `Unavailable` if it cannot
be started, which is no mail's fault.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

from gatepost.errors import GatepostError, Unavailable
from gatepost.runtime.command import role_environment
from gatepost.runtime.feedback.spool import Held, Spooled

MAIL_S = 30.0
START_S = 30.0
MAX_MAILS = 1000
MAX_ANSWER_OCTETS = 16 * 1024 * 1024

_MODULE = "gatepost.runtime.feedback.reader_child"


class ReaderGone(GatepostError):
    """The process ended in the middle of a mail.

    Attributes:
        reason: Why the mail is to be held if this happens again.
    """

    def __init__(self, reason: Held, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class ReaderProcess:
    """Reads mails, one after the other, for one thread."""

    def __init__(self, *, mail_s: float = MAIL_S, max_mails: int = MAX_MAILS) -> None:
        """Describe it; the process is started for the first mail.

        Args:
            mail_s: Seconds that a mail may take.
            max_mails: After how many mails the process is replaced.
        """
        self._mail_s = mail_s
        self._max_mails = max_mails
        self._process: subprocess.Popen[bytes] | None = None
        self._setup: dict[str, Any] = {}
        self._mails = 0

    @property
    def pid(self) -> int | None:
        """Which process it is, or None if there is none."""
        return None if self._process is None else self._process.pid

    def read(self, mail: Spooled, setup: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of `reader_child` for a mail.

        Args:
            mail: The mail.
            setup: The configuration; the process is replaced when it changes.

        Raises:
            ReaderGone: If there is no answer.
            Unavailable: If the process cannot be started.
        """
        if self._process is None or setup != self._setup or self._mails >= self._max_mails:
            self.stop()
            self._start(setup)
        self._mails += 1
        envelope = mail.envelope
        return self._ask(
            {
                "path": str(mail.path),
                "offset": mail.offset,
                "sender": envelope.sender,
                "recipients": envelope.recipients,
                "now": envelope.at,
            },
            self._mail_s,
        )

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _start(self, setup: dict[str, Any]) -> None:
        self._setup, self._mails = setup, 0
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=role_environment(),
                bufsize=0,
            )
            self._ask(setup, START_S)
        except (OSError, ReaderGone) as error:
            raise Unavailable(f"the process that reads mail does not start: {error}") from error

    def _ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question).encode("ascii") + b"\n")
            line = self._line(process.stdout.fileno(), time.monotonic() + seconds)
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as error:
            raise self._gone(error) from error
        return answer

    def _line(self, descriptor: int, deadline: float) -> bytes:
        pieces = b""
        while not pieces.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([descriptor], [], [], max(left, 0.0))
            if not ready:
                raise TimeoutError(f"it took more than {self._mail_s:g} s")
            piece = os.read(descriptor, 1 << 20)
            if not piece or len(pieces) > MAX_ANSWER_OCTETS:
                raise ValueError("it ended, or said too much")
            pieces += piece
        return pieces

    def _gone(self, error: Exception) -> ReaderGone:
        process = self._process
        assert process is not None
        if isinstance(error, TimeoutError):
            self.stop()
            return ReaderGone(Held.TIME, str(error))
        process.kill()
        status = process.wait()
        self.stop()
        if status == -signal.SIGXCPU:
            return ReaderGone(Held.TIME, "it took too much processor time")
        return ReaderGone(Held.CRASHED, f"the process that read it ended with status {status}")
