"""The process of the milter: ``python -m milters --config FILE``.

Purpose: give libmilter its socket and our callbacks, run it in a second thread, and keep the main
thread for signals.
Format of the end: take away the socket file, so that Postfix opens no new connection; wait until
no message is in hand, or the grace period is over; write what the recorder holds; leave with the
connections open. Postfix gives a message that is cut off a temporary failure.
Source: libmilter smfi_main, smfi_opensocket, smfi_settimeout; Postfix smtpd(8), cleanup(8).
Limits: 7,210 s for one read from Postfix, libmilter's default: Postfix says nothing while a client
takes its time over a message, 300 s for each line of it. Connections: one for each smtpd(8)
process and message; libmilter serves them with a pool of threads.
Errors: see `gatepost.runtime.role`.
Security: the socket appears in its place complete, with mode 0660 and Postfix's group.
Not handled: libmilter takes a SIGHUP for a stop if it gets it, see `gatepost.runtime.signals`.
Should that ever happen, this process ends with an error and is started again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from pathlib import Path

from gatepost.postfix.spec import MILTER_SOCKET, POLICY_SOCKET
from gatepost.runtime.feedback.message_book import MessageBook, open_book
from gatepost.runtime.feedback.status_book import StatusBook
from gatepost.runtime.log import log_event
from gatepost.runtime.role import FAILED, OK, Role, run
from gatepost.runtime.signals import STOP_SIGNALS, catching, wait_for_stop
from gatepost.store.open import open_statuses
from milters.adapter import GatepostMilter
from milters.admission import AdmissionClient
from milters.context import Shared, Views
from milters.listen import open_socket, register, serve

log = logging.getLogger("gatepost.milter")

SETTLED_S = 1.0
# Numbers of rt_sigtimedwait(2): x86-64; arm64 and riscv64; ppc64le and s390x.
SIGTIMEDWAIT = frozenset({"128", "137", "176"})


def main() -> None:
    """Run the role."""
    run("milter", _serve)


def _serve(role: Role) -> int:
    with catching(signal.SIGHUP, *STOP_SIGNALS) as signals:
        book = MessageBook(role.metrics, lambda: open_book(role.settings.state))
        shared = _share(role, book)
        register(GatepostMilter)
        socket = open_socket(role.place.socket_dir / MILTER_SOCKET, role.settings.postfix_group)
        loop = LibmilterLoop()
        loop.wait_settled()
        role.ready()
        wait_for_stop(role.reloader.request, signals)
        role.stopping()
        socket.remove()
        if not shared.in_flight.wait_idle(role.settings.grace_s):
            log_event(
                log,
                logging.WARNING,
                "cut-off",
                messages=shared.in_flight.count,
                after_s=role.settings.grace_s,
            )
        book.stop()
    return FAILED if loop.ended else OK


class LibmilterLoop:
    """libmilter on a thread of its own.

    Attributes:
        ended: Whether it has ended, which it should not before the process does.
    """

    def __init__(self) -> None:
        """Start the thread."""
        self.ended = False
        threading.Thread(target=self._run, name="libmilter", daemon=True).start()

    def wait_settled(self) -> None:
        """Wait until libmilter's own thread waits for signals.

        On its way there, it would take one that is meant for us and is just pending: a SIGHUP right
        after the start would end the process. Where the kernel does not tell, the time limit does.
        """
        deadline = time.monotonic() + SETTLED_S
        while not (self.ended or _somebody_waits_for_signals() or time.monotonic() >= deadline):
            time.sleep(0.002)

    def _run(self) -> None:
        try:
            serve()
        except Exception:
            log.critical("libmilter-failed", exc_info=True)
        else:
            log.critical("libmilter-stopped")
        self.ended = True
        # Without libmilter this process is of no use; the main thread waits for a signal.
        os.kill(os.getpid(), signal.SIGTERM)


def _somebody_waits_for_signals() -> bool:
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            if "sigtimedwait" in (task / "wchan").read_text(encoding="ascii"):
                return True
            if (task / "syscall").read_text(encoding="ascii").split()[0] in SIGTIMEDWAIT:
                return True
    return False


def _share(role: Role, book: MessageBook) -> Shared:
    assert role.recorder is not None
    admission = AdmissionClient(
        role.place.socket_dir / POLICY_SOCKET, role.settings.policy_timeout_s
    )
    statuses = StatusBook(lambda: open_statuses(role.settings.state), role.metrics)
    shared = Shared(
        Views(role.current),
        role.recorder,
        admission.admit,
        role.metrics.message,
        time.time,
        statuses=statuses.current,
        accepted=book.accepted,
    )
    role.metrics.watch_messages(lambda: shared.in_flight.count)
    role.metrics.milter_messages.expect("accept", "reject", "tempfail", "error")
    role.details = lambda: {"messages_in_hand": shared.in_flight.count}
    GatepostMilter.shared = shared
    return shared


if __name__ == "__main__":
    main()
