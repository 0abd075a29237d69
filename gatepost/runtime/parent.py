"""Notice when the supervisor dies, and go on.

Purpose: a role whose supervisor was killed goes on serving, since stopping would hold up mail until
somebody looks. It must not go unnoticed either: one log line, and ``gatepost status`` shows it. The
next ``gatepost serve`` ends such a role and starts its own. Under systemd there is nothing to
notice, as systemd ends the roles with their supervisor.
Source: pidfd_open(2): the descriptor becomes readable when the process ends.
Errors: none.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading

from gatepost.runtime.log import log_event

SUPERVISOR_VARIABLE = "GATEPOST_SUPERVISOR"

_log = logging.getLogger(__name__)


class ParentWatch:
    """Watches the supervisor that started us, if one did."""

    def __init__(self) -> None:
        """Start watching, on a thread of its own."""
        named = os.environ.pop(SUPERVISOR_VARIABLE, "")
        self._supervised = named.isdecimal()
        self._pid = int(named) if self._supervised else 0
        self._gone = False
        if self._supervised:
            threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def state(self) -> str:
        """Return ``none``, ``running`` or ``gone``."""
        if not self._supervised:
            return "none"
        return "gone" if self._gone else "running"

    def _watch(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self._pid)
            # Opened first: a process that is still our parent is not another one of that number.
            if os.getppid() == self._pid:
                select.select([descriptor], [], [])
            os.close(descriptor)
        self._gone = True
        log_event(
            _log,
            logging.WARNING,
            "supervisor-gone",
            pid=self._pid,
            text="serving on without a supervisor; run gatepost serve to have one again",
        )
