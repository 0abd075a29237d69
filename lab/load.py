"""Load from Postfix's own test programs, where their speed matters more than what they see.

Purpose: smtp-source(1) as a client that never waits, smtp-sink(1) as a server that never keeps
anything; both take less processor time than anything in Python, so what is measured is Postfix.
Source: smtp-source(1), smtp-sink(1).
Limits: smtp-source has no login and comes from the lab's usual address, `lab.enter.CLIENT`.
Errors: `LabError`; smtp-source ends at the first refusal, see `lab.send.send_many` for a client
that tries again.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from lab.process import Daemon, run

_START_S = 10
_RUN_S = 300


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Attributes:
        messages: How many.
        sessions: Over how many connections at once.
        octets: Length of each message's body.
        sender: Envelope sender.
        recipient: Envelope recipient.
    """

    messages: int
    sender: str
    recipient: str
    sessions: int = 20
    octets: int = 4096


def smtp_source(host: str, load: Load, port: int = 25) -> float:
    """Send messages without a login, and return how many seconds it took.

    Raises:
        LabError: If the server refuses one.
    """
    counts = {"-s": load.sessions, "-m": load.messages, "-l": load.octets}
    options = [text for option, count in counts.items() for text in (option, str(count))]
    # Without -d, it connects anew for each message.
    options += ["-d", "-f", load.sender, "-t", load.recipient]
    before = time.monotonic()
    run(["smtp-source", *options, f"inet:{host}:{port}"], timeout_s=_RUN_S)
    return time.monotonic() - before


class SmtpSink:
    """A server that takes everything in plaintext; a context manager that starts and stops it."""

    def __init__(self, directory: Path, address: str, *options: str, port: int = 25) -> None:
        """Describe it.

        Args:
            directory: For its log; made if it is missing.
            address: Where to listen.
            options: Further options of smtp-sink(1), as ``-w 1``.
            port: TCP port.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / f"smtp-sink-{address}.log"
        self._place = (address, port)
        # -u: it refuses to run as root.
        self._command = ["smtp-sink", "-u", "nobody", *options, f"inet:{address}:{port}", "1000"]
        self._daemon: Daemon | None = None

    def __enter__(self) -> SmtpSink:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Start it and return when it listens.

        Raises:
            LabError: If it does not.
        """
        self._daemon = Daemon(self._command, self._log)
        self._daemon.wait_until(self._listens, _START_S, "smtp-sink to listen")

    def stop(self) -> None:
        """Stop it; idempotent."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(self._place) == 0
