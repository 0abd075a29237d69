"""Every event stands in the file on a line of its own, whatever becomes of disk and process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.feedback.events import Event, EventKind, as_data
from gatepost.runtime.feedback import event_file
from gatepost.runtime.feedback.event_file import EVENTS_AT_ONCE, READER, EventFile
from gatepost.runtime.metrics import Metrics
from gatepost.store.event_readers import ReaderStore
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_readers

TIMEOUT_S = 30


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def events(url: str) -> Iterator[EventStore]:
    with contextlib.closing(open_events(url)) as opened:
        yield opened


@pytest.fixture
def readers(url: str) -> Iterator[ReaderStore]:
    with contextlib.closing(open_readers(url)) as opened:
        # As if it had begun before the first event.
        opened.read(READER, 0)
        yield opened


@contextlib.contextmanager
def writing(path: Path, url: str) -> Iterator[EventFile]:
    file = EventFile(
        path,
        lambda: open_events(url),
        lambda: open_readers(url),
        Metrics("back"),
        look_s=0.01,
    )
    try:
        yield file
    finally:
        file.stop()
        assert not file._thread.is_alive()


def some(count: int, first: int = 0) -> list[Event]:
    return [
        Event(f"e{number}", EventKind.DELIVERED, 1_800_000_000, "acme", recipient="né@x")
        for number in range(first, first + count)
    ]


def lines(path: Path) -> list[dict[str, Any]]:
    octets = path.read_bytes()
    assert octets.endswith(b"\n")
    return [json.loads(line) for line in octets.splitlines()]


def ids(path: Path) -> list[str]:
    return [line["id"] for line in lines(path)]


def names(count: int, first: int = 0) -> list[str]:
    return [f"e{number}" for number in range(first, first + count)]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "this never came to hold"
        time.sleep(0.005)


def written(readers: ReaderStore, events: EventStore) -> None:
    until(lambda: readers.position(READER, 0) == events.end())


def test_a_line_for_each_event(
    path: Path, url: str, events: EventStore, readers: ReaderStore
) -> None:
    events.add(some(EVENTS_AT_ONCE + 2))
    with writing(path, url):
        written(readers, events)
        events.add(some(1, 9000))
        written(readers, events)
    assert ids(path) == [*names(EVENTS_AT_ONCE + 2), "e9000"]
    first = lines(path)[0]
    assert first == {"position": 1, **as_data(some(1)[0])}
    assert path.stat().st_mode & 0o777 == event_file.FILE_MODE
    positions = [line["position"] for line in lines(path)]
    assert positions == sorted(set(positions))


def test_a_new_file_begins_at_the_end(path: Path, url: str, events: EventStore) -> None:
    events.add(some(3))
    with writing(path, url):
        until(path.exists)
        with contextlib.closing(open_readers(url)) as readers:
            until(lambda: readers.position(READER, 0) == 3)
            events.add(some(1, 7))
            written(readers, events)
    assert ids(path) == ["e7"]


@pytest.mark.parametrize("way", ["rename", "copytruncate"])
def test_rotation(path: Path, url: str, events: EventStore, readers: ReaderStore, way: str) -> None:
    old = path.with_suffix(".1")
    with writing(path, url):
        events.add(some(2))
        written(readers, events)
        if way == "rename":
            path.rename(old)
        else:
            old.write_bytes(path.read_bytes())
            os.truncate(path, 0)
        events.add(some(2, 2))
        written(readers, events)
    assert ids(old) == names(2)
    assert ids(path) == names(2, 2)


def test_another_database(
    path: Path, url: str, events: EventStore, readers: ReaderStore, tmp_path: Path
) -> None:
    events.add(some(5))
    with writing(path, url):
        written(readers, events)
        for each in tmp_path.glob("gatepost.db*"):
            each.unlink()
        with contextlib.closing(open_events(url)) as others:
            until(lambda: readers.position(READER, -1) == 0)
            others.add(some(2, 100))
            written(readers, others)
    assert ids(path) == [*names(5), "e100", "e101"]


def test_part_of_a_line_is_cut_off_and_written_whole(
    path: Path, url: str, events: EventStore, readers: ReaderStore
) -> None:
    events.add(some(2))
    with writing(path, url):
        written(readers, events)
    whole = path.read_bytes()
    # Killed in the middle of the second line, with the position not yet noted.
    path.write_bytes(whole[:-20])
    readers.read(READER, 0)
    events.add(some(1, 5))
    with writing(path, url):
        written(readers, events)
    assert ids(path) == ["e0", "e1", "e5"]


def test_what_the_file_ends_with_is_not_written_again(
    path: Path, url: str, events: EventStore, readers: ReaderStore
) -> None:
    events.add(some(3))
    with writing(path, url):
        written(readers, events)
    # Killed when the lines were written, and the position not.
    readers.read(READER, 1)
    events.add(some(1, 5))
    with writing(path, url):
        written(readers, events)
    assert ids(path) == ["e0", "e1", "e2", "e5"]


@pytest.mark.parametrize(
    "foreign",
    [
        b"not ours\n",
        b'{"position": 3, "id": "of-another-database"}\n',
        b'{"position": [], "id": 3}\n',
        b"[" * 100_000 + b"\n",
        b"[1]\n",
    ],
)
def test_a_last_line_that_proves_nothing_hides_nothing(
    path: Path, url: str, events: EventStore, readers: ReaderStore, foreign: bytes
) -> None:
    path.write_bytes(foreign)
    events.add(some(4))
    with writing(path, url):
        written(readers, events)
    assert path.read_bytes().startswith(foreign)
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()[1:]] == names(4)


def test_a_long_end_of_somebody_else_is_kept_and_not_glued_to(
    path: Path, url: str, events: EventStore, readers: ReaderStore
) -> None:
    path.write_bytes(b"x" * (1 << 18))
    events.add(some(1))
    with writing(path, url):
        written(readers, events)
    foreign, ours = path.read_bytes().splitlines()
    assert foreign == b"x" * (1 << 18)
    assert json.loads(ours)["id"] == "e0"


def test_a_full_disk_leaves_whole_lines_and_loses_none(
    path: Path,
    url: str,
    events: EventStore,
    readers: ReaderStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(event_file, "RETRY_FIRST_S", 0.02)
    full = threading.Event()
    write = os.write

    def limited(descriptor: int, octets: bytes) -> int:
        if not full.is_set():
            return write(descriptor, octets)
        if len(octets) > 40:
            return write(descriptor, octets[:40])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(event_file.os, "write", limited)
    events.add(some(2))
    with writing(path, url) as file:
        written(readers, events)
        full.set()
        events.add(some(2, 2))
        until(file.trouble)
        assert "No space left on device" in file.trouble()
        assert ids(path) == names(2)
        full.clear()
        written(readers, events)
        until(lambda: not file.trouble())
    assert ids(path) == names(4)
    assert caplog.text.count("events-file-unavailable") == 1


def test_no_directory_no_file_and_no_regular_file(
    path: Path,
    url: str,
    events: EventStore,
    readers: ReaderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_file, "RETRY_FIRST_S", 0.02)
    events.add(some(1))
    path.mkdir()
    with writing(path, url) as file:
        until(lambda: "Is a directory" in file.trouble())
        path.rmdir()
        os.mkfifo(path)
        until(lambda: "not a regular file" in file.trouble())
        path.unlink()
        written(readers, events)
    assert ids(path) == ["e0"]


CHILD = """
import sys, time
from pathlib import Path
from gatepost.runtime.feedback import event_file
from gatepost.runtime.metrics import Metrics
from gatepost.store.open import open_events, open_readers

path, url = sys.argv[1:]
event_file.EVENTS_AT_ONCE = 3
event_file.EventFile(
    Path(path), lambda: open_events(url), lambda: open_readers(url),
    Metrics("back"), look_s=0.001,
)
time.sleep(600)
"""


def test_what_the_file_ends_with_is_noted_where_the_store_did_not_know_it(
    path: Path, url: str, events: EventStore, readers: ReaderStore
) -> None:
    events.add(some(3))
    with writing(path, url):
        written(readers, events)
    # As a process leaves it that is killed between the two.
    readers.read(READER, 1)
    with writing(path, url):
        written(readers, events)
        events.add(some(1, 3))
        written(readers, events)
    assert ids(path) == names(4)


def test_killed_at_any_moment_every_event_stands_there_once(
    path: Path, url: str, events: EventStore, readers: ReaderStore
) -> None:
    total = 400
    events.add(some(total))
    path.touch()
    for share in (0.2, 0.5, 1):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), url])
        until(lambda: path.read_bytes().count(b"\n") >= share * total)  # noqa: B023
        child.send_signal(signal.SIGKILL)
        child.wait()
    with writing(path, url):
        written(readers, events)
    assert ids(path) == names(total)
