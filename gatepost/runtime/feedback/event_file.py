"""Append events to a file, one JSON object a line.

Purpose: what happened, for grep, jq and whatever ships logs, without a consumer to run.
Format: each line is an event as webhooks carry it (`gatepost.feedback.events.as_data`), with its
``position`` in the stream of events before it. A file that is new to the store begins at the end of
the stream. Positions grow from line to line.
Limits: 500 events at a time; the stream is looked at once a second.
Errors: none. Whatever fails, the file or the store, is counted, told once and tried again, after
1 s at first, then at growing intervals up to 60 s. Mail never waits for it.
Security: the file has mode 0640, as it holds addresses. Every line is written, and on the disk,
before the store knows it: who dies or loses power in between writes it again, unless the file still
ends with it. Of a line that was written in part, by a process that was killed or on a disk that is
full, the part is cut off before anything else is written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import as_data
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.store.event_readers import ReaderStore
from gatepost.store.events import EventStore, StoredEvent

LOOK_S = 1.0
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
STOP_S = 5.0
EVENTS_AT_ONCE = 500
FILE_MODE = 0o640
READER = "events-file"

# More than any line of ours, whose texts are cut when they are stored.
_LONGEST_LINE = 1 << 17

_log = logging.getLogger("gatepost.events")


class EventFile:
    """Appends on a thread of its own, until `stop`."""

    def __init__(
        self,
        path: Path,
        open_events: Callable[[], EventStore],
        open_readers: Callable[[], ReaderStore],
        metrics: Metrics,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        """Start the thread.

        Args:
            path: The file; its directory must exist.
            open_events: Opens the stream, on the thread that uses it.
            open_readers: Opens where positions are kept, likewise.
            metrics: Where failures are counted.
            look_s: Seconds between two looks for new events.
        """
        self._path = path
        self._open_events = open_events
        self._open_readers = open_readers
        self._metrics = metrics
        self._look_s = look_s
        self._retry_s = 0.0
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events-file", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End the thread; what was not written is written next time."""
        self._stop.set()
        self._thread.join(timeout_s)

    def trouble(self) -> str:
        """Return why nothing is written, or an empty text."""
        return self._trouble

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.ExitStack() as stack:
                    events = stack.enter_context(contextlib.closing(self._open_events()))
                    readers = stack.enter_context(contextlib.closing(self._open_readers()))
                    file = stack.enter_context(contextlib.closing(_File(self._path)))
                    self._follow(events, readers, file)
            except StoreUnavailable as error:
                self._failed("store", str(error))
            except OSError as error:
                self._failed("events-file", f"{self._path}: {error.strerror or error}")
            except Exception as error:
                # The thread must live; the store knows where to begin again.
                _log.exception("events-file-failed")
                self._failed("events-file", str(error))

    def _follow(self, events: EventStore, readers: ReaderStore, file: _File) -> None:
        while not self._stop.is_set():
            # Asked for each time: the database may have been replaced by another one.
            position = known = readers.position(READER, events.end())
            if file.open_latest():
                # What it ends with may be more than the store knows of.
                position = max(position, _position_of(file.last_line(), events))
            page = events.page(position, EVENTS_AT_ONCE)
            if page.events:
                file.append(b"".join(map(_line_of, page.events)))
            # Also if nothing was written: the file may have told more than the store knew.
            if page.position != known:
                readers.read(READER, page.position)
            self._fine()
            if len(page.events) < EVENTS_AT_ONCE:
                self._stop.wait(self._look_s)

    def _failed(self, kind: str, reason: str) -> None:
        self._metrics.error(kind)
        if reason != self._trouble:
            log_event(_log, logging.WARNING, f"{kind}-unavailable", reason=reason)
        self._trouble = reason
        self._retry_s = min(self._retry_s * 2 or RETRY_FIRST_S, RETRY_MAX_S)
        self._stop.wait(self._retry_s)

    def _fine(self) -> None:
        if self._trouble:
            log_event(_log, logging.INFO, "events-file-back", file=str(self._path))
        self._trouble = ""
        self._retry_s = 0.0


class _File:
    """The file that the path names now; opened again after a rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def open_latest(self) -> bool:
        """Open the file, unless it is the one that is open; return whether it was opened.

        Raises:
            OSError: If it cannot be opened or is no regular file.
        """
        if self._descriptor is not None:
            opened = os.fstat(self._descriptor)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(opened, self._path.stat()):
                    return False
        self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        self._descriptor = os.open(self._path, flags, FILE_MODE)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise OSError(None, "is not a regular file")
        self._cut()
        return True

    def last_line(self) -> bytes:
        """Return the last line, without its end; empty if there is none."""
        tail = self._tail()
        return tail.rstrip(b"\n").rpartition(b"\n")[2]

    def append(self, octets: bytes) -> None:
        """Append lines, all of them or none, and see them on the disk.

        Raises:
            OSError: If the disk is full or fails.
        """
        assert self._descriptor is not None
        before = os.fstat(self._descriptor).st_size
        try:
            left = memoryview(octets)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _tail(self) -> bytes:
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        begin = max(0, size - 2 * _LONGEST_LINE)
        return os.pread(self._descriptor, size - begin, begin)

    def _cut(self) -> None:
        """Cut off a line that has no end."""
        assert self._descriptor is not None
        tail = self._tail()
        if not tail or tail.endswith(b"\n"):
            return
        part = tail.rpartition(b"\n")[2]
        if len(part) > _LONGEST_LINE:
            # None of ours; whoever wrote it may want to keep it.
            self.append(b"\n")
            return
        os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - len(part))


def _line_of(stored: StoredEvent) -> bytes:
    document = {"position": stored.position, **as_data(stored.event)}
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _position_of(line: bytes, events: EventStore) -> int:
    """Return the position that a line of ours has, or 0 for another line.

    A position alone proves nothing: the database may be another one than when it was written.
    """
    try:
        document = json.loads(line)
        position, key = int(document["position"]), document["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    found: Sequence[StoredEvent] = events.after(position - 1, 1)
    there = bool(found) and (found[0].position, found[0].event.id) == (position, key)
    return position if there else 0
