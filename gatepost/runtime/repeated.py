"""Work that is done again and again, on a thread of its own that outlives every failure.

Purpose: all that looks at something now and then shares how it begins, waits and ends.
Errors: none leaves the thread; what becomes of a failure is for its owner to say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Repeated(threading.Thread):
    """Does some work until `stop`; to be started when its owner is ready for it."""

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        failed: Callable[[Exception], None],
        *,
        every_s: float,
        first_s: float = 0.0,
        at_start: Callable[[], None] | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        """Remember what to do.

        Args:
            name: Of the thread.
            work: What is done.
            failed: Is told why it was not, while the exception is being handled; must not raise.
            every_s: Seconds between two runs.
            first_s: Seconds until the first run.
            at_start: What is done once, at once; may fail as `work` may.
            at_end: What is done last, on this thread.
        """
        super().__init__(name=name, daemon=True)
        self._work = work
        self._failed = failed
        self._every_s = every_s
        self._first_s = first_s
        self._at_start = at_start
        self._at_end = at_end
        self._ending = threading.Event()

    def run(self) -> None:
        """Do the work, on the thread."""
        if self._at_start is not None:
            self._attempt(self._at_start)
        wait_s = self._first_s
        while not self.waited(wait_s):
            wait_s = self._every_s
            self._attempt(self._work)
        if self._at_end is not None:
            self._at_end()

    def waited(self, seconds: float) -> bool:
        """Wait, and tell whether it is to end; work that takes long asks this, too."""
        return self._ending.wait(seconds)

    def stop(self, timeout_s: float | None = None) -> None:
        """End it.

        Args:
            timeout_s: How long to wait until it has ended; without it, do not wait.
        """
        self._ending.set()
        if timeout_s is not None:
            self.join(timeout_s)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # The thread must live.
            self._failed(error)
