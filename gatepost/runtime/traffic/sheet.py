"""A small file by which one role tells the others what it has measured.

Purpose: measurements go from the back role to the policy server (``traffic.json``), and from there
to commands (``burst.json``), without a store that could be locked or slow. What is in it is worth
nothing after a minute, so the run directory is the right place.
Format: JSON: ``{"at": SECONDS SINCE BOOT, "pid": N, "sections": {NAME: DATA}}``. It is written anew
and renamed into place, at most once a second, and at least every `BEAT_S` so that readers can tell
that its writer lives.
Limits: a reader takes a file of up to `MAX_OCTETS`, and believes it for `FRESH_S`.
Errors: neither raises. A writer that cannot write says so once and tries on; a reader of a file
that is not there, old or broken knows nothing.
Security: the run directory belongs to Gatepost's account; mode 0640.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gatepost.runtime.log import log_event
from gatepost.runtime.repeated import Repeated

EVERY_S: Final = 1.0
BEAT_S: Final = 5.0
FRESH_S: Final = 15.0
MAX_OCTETS: Final = 16 * 2**20
_MODE: Final = 0o640
_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_log = logging.getLogger("gatepost.traffic")


def since_boot() -> float:
    """Return the seconds since the boot, which every process of a host has in common."""
    return time.clock_gettime(_SINCE_BOOT)


class TrafficSheet:
    """Writes a sheet, on a thread of its own, until `stop`."""

    def __init__(
        self,
        path: Path,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        """Start the thread.

        Args:
            path: The file.
            every_s: Seconds between two writes at least.
            clock: Seconds since the boot.
        """
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._sections: dict[str, Any] = {}
        self._changed = True
        self._failed = False
        self._written_at = 0.0
        self._thread = Repeated("sheet", self.write, _tell_bug, every_s=every_s)
        self._thread.start()

    def put(self, section: str, data: Any) -> None:
        """Say something; it is written within a second.

        Args:
            section: Whose it is.
            data: What JSON can hold; must not be changed afterwards.
        """
        with self._lock:
            if section not in self._sections or self._sections[section] != data:
                self._sections[section] = data
                self._changed = True

    def remove(self, section: str) -> None:
        """Say nothing of a section any more: it is not known."""
        with self._lock:
            self._changed |= self._sections.pop(section, None) is not None

    def write(self) -> None:
        """Write it now if something has changed, or nothing was written for `BEAT_S`."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        now = self._clock()
        with self._lock:
            if not self._changed and now - self._written_at < BEAT_S:
                return
            text = json.dumps({"at": now, "pid": os.getpid(), "sections": self._sections})
            self._changed = False
        try:
            _replace(self._path, text)
        except OSError as error:
            self._fail(error)
            return
        self._written_at = now
        if self._failed:
            log_event(_log, logging.INFO, "sheet-written", file=str(self._path))
        self._failed = False

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write what is left, and end the thread."""
        self._thread.stop(timeout_s)
        self.write()

    def _fail(self, error: OSError) -> None:
        with self._lock:
            self._changed = True
        if not self._failed:
            reason = error.strerror or str(error)
            log_event(_log, logging.WARNING, "sheet-unwritten", file=str(self._path), reason=reason)
        self._failed = True


def _tell_bug(_error: Exception) -> None:
    _log.exception("sheet-failed")


class SheetWatch:
    """Reads a sheet; to be used on one thread at a time."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = since_boot) -> None:
        """Remember where it is.

        Args:
            path: The file.
            clock: Seconds since the boot.
        """
        self._path = path
        self._clock = clock
        self._identity: tuple[int, int, int] | None = None
        self._at = 0.0
        self._sections: dict[str, Any] = {}

    def look(self) -> bool:
        """Read the file if it is another than before; tell whether it was."""
        try:
            found = self._path.stat()
            identity = (found.st_ino, found.st_mtime_ns, found.st_size)
            if identity == self._identity:
                return False
            self._identity = identity
            self._at, self._sections = _read(self._path, found.st_size)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            known, self._sections, self._identity = bool(self._sections), {}, None
            return known
        return True

    def section(self, name: str) -> Any | None:
        """Return what was last said of a section, or None if that is not known or is too old."""
        return self._sections.get(name) if self.fresh else None

    def last(self, name: str) -> Any | None:
        """Return what was last said of a section, however long ago."""
        return self._sections.get(name)

    @property
    def fresh(self) -> bool:
        """Tell whether the writer was alive a moment ago."""
        # Not negative either: a file of before the last boot.
        return bool(self._sections) and 0.0 <= self._clock() - self._at <= FRESH_S


def _read(path: Path, octets: int) -> tuple[float, dict[str, Any]]:
    if octets > MAX_OCTETS:
        raise ValueError("too large")
    found = json.loads(path.read_bytes())
    at, sections = found["at"], found["sections"]
    if not isinstance(at, float) or not isinstance(sections, dict):
        raise TypeError("not a sheet")
    return at, sections


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
