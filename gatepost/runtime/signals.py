"""Signals as an operator means them: SIGHUP reloads, SIGTERM and SIGINT stop.

Purpose: one behaviour for all roles. `Signals.wait` serves a role whose main thread has nothing
else to do, and leaves the work to other threads; `install_in_loop` serves a role that runs an
asyncio loop. A reload runs on a thread of its own, so neither mail nor a stop waits for it.
Source: signal(7); libmilter ``mi_spawn_signal_thread``, which blocks the three signals in the
thread that calls smfi_main() and in those that it starts, and waits for them on one more.
Limits: reloads asked for while one runs become one more reload.
Errors: none.
Not handled: libmilter takes SIGHUP for a stop. The kernel gives a signal to the main thread as long
as that does not block it, unless another signal is just pending there; so `Signals` never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from gatepost.runtime import watchdog

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


class Reloader:
    """Runs reloads one at a time on a thread of its own."""

    def __init__(self, reload: Callable[[], object]) -> None:
        """Start the thread.

        Args:
            reload: What a reload is.
        """
        self._reload = reload
        self._wanted = threading.Event()
        threading.Thread(target=self._run, name="reload", daemon=True).start()

    def request(self) -> None:
        """Ask for a reload and return at once."""
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait():
            # Cleared first: what is asked for during the reload is not covered by it.
            self._wanted.clear()
            try:
                self._reload()
            except Exception:
                # Without this thread there would be no more reloads.
                _log.exception("reload-failed")


class Signals:
    """Delivers signals to the main thread while it waits; make it there, before other threads."""

    def __init__(self, *signals: signal.Signals) -> None:
        """Begin to catch signals.

        Args:
            signals: Which; in place of what was set for them before.
        """
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_descriptor = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _ignore) for number in signals}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def fileno(self) -> int:
        """Return a descriptor that is readable when a signal has come."""
        return self._reading

    def pending(self) -> list[signal.Signals]:
        """Return the signals that have come, oldest first."""
        try:
            return [signal.Signals(number) for number in os.read(self._reading, 256)]
        except BlockingIOError:
            return []

    def wait(self, timeout_s: float | None = None) -> list[signal.Signals]:
        """Wait for at least one signal, or until the time is up, and return those that came."""
        select.select([self._reading], [], [], timeout_s)
        return self.pending()

    def close(self) -> None:
        """Put back what was before."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        os.close(self._reading)
        os.close(self._writing)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor has the signal, and without a handler it would kill."""
    del number, frame


@contextlib.contextmanager
def catching(*signals: signal.Signals) -> Iterator[Signals]:
    """Catch signals for the length of a block."""
    caught = Signals(*signals)
    try:
        yield caught
    finally:
        caught.close()


@contextlib.contextmanager
def blocked(number: signal.Signals) -> Iterator[None]:
    """Have a signal wait for the length of a block, also in processes that the block starts."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def wait_for_stop(reload: Callable[[], object], signals: Signals) -> signal.Signals:
    """Stay in the main thread until told to stop; run `reload` on each SIGHUP.

    Shows signs of life meanwhile, if somebody wants them.

    Args:
        reload: Called in the main thread; must return at once, as `Reloader.request` does.
        signals: Catches SIGHUP, SIGTERM and SIGINT at least.

    Returns:
        The signal that said stop.
    """
    interval = watchdog.interval_s()
    while True:
        if interval is not None:
            watchdog.beat()
        for number in signals.wait(interval):
            if number == signal.SIGHUP:
                reload()
            elif number in STOP_SIGNALS:
                return number


def install_in_loop(
    loop: asyncio.AbstractEventLoop,
    reload: Callable[[], object],
    stop: Callable[[], object],
) -> None:
    """Have a running asyncio or uvloop loop, in the main thread, take the signals.

    Args:
        loop: The loop.
        reload: Called in the loop on SIGHUP; must return at once, as `Reloader.request` does.
        stop: Called in the loop on SIGTERM and SIGINT.
    """
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    # Only now: a SIGHUP that came during the start has waited, and finds its handler.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP, *STOP_SIGNALS))
