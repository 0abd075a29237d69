"""From lines and Postfix's list to the sheet, and nothing known when both cannot be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import LogUnavailable, PostfixUnavailable
from gatepost.maillog.evidence import LogPosition
from gatepost.maillog.follow import Chunk, end_of
from gatepost.maillog.lines import Entry
from gatepost.postfix.queue import QueuedMessage, QueuedRecipient
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.paths import traffic_path
from gatepost.runtime.traffic.queue_watch import QueueWatch, follow_from_end
from gatepost.runtime.traffic.reading import SheetTraffic
from gatepost.runtime.traffic.sheet import TrafficSheet, since_boot
from gatepost.traffic.state import Backlog
from tests.world import ENFORCE, snapshot, tenant

ACME = tenant("acme", ENFORCE, senders=("acme.example",), logins=("acme",))
CONFIG = snapshot(ACME)
POSITION = LogPosition("x", 1, 1, "log")


def stamped(text: str) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime())
    return f"{stamp} mail postfix/{text}".encode()


def tried(queue_id: str, recipients: int = 1) -> bytes:
    said = f"from=<n@acme.example>, size=1, nrcpt={recipients} (queue active)"
    return stamped(f"qmgr[7]: {queue_id}: {said}")


def queued(queue_id: str, name: str = "deferred", recipients: int = 1) -> QueuedMessage:
    to = tuple(QueuedRecipient(f"u{n}@x.example", "") for n in range(recipients))
    return QueuedMessage(name, queue_id, 1_700_000_000, 1, "n@acme.example", to, Path("/p"))


class Log:
    """A log, and a queue, in the hands of a test."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.listed: list[QueuedMessage] = []
        self.lists = 0
        self.blind: Exception | None = None
        self.unlisted: Exception | None = None
        self.opened = 0
        self.go = threading.Event()
        self.go.set()

    def open(self, maillog: str) -> Log:
        assert maillog == "log"
        self.opened += 1
        if self.blind:
            raise self.blind
        return self

    def read(self) -> Chunk | None:
        if self.blind:
            raise self.blind
        return self.chunks.pop(0) if self.chunks else None

    def close(self) -> None:
        pass

    def list(self, config_dir: Path) -> Iterator[QueuedMessage]:
        del config_dir
        self.go.wait(10)
        self.lists += 1
        if self.unlisted:
            raise self.unlisted
        return iter(self.listed)

    def say(self, *lines: bytes, gap: bool = False) -> None:
        self.chunks.append(Chunk(lines, POSITION, None, gap))


class World:
    """A watch over a log, and what it says on its sheet."""

    def __init__(self, directory: Path, log: Log) -> None:
        self.log = log
        self.metrics = Metrics("back")
        self.sheet = TrafficSheet(traffic_path(directory), every_s=0.02)
        self.watch = QueueWatch(
            "log",
            Path("/p"),
            lambda: CONFIG,
            self.sheet,
            self.metrics,
            open_log=log.open,
            list_queue=log.list,
        )
        self.seen = SheetTraffic(directory)

    def wait(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)
            self.seen.look()

    def backlog(self) -> Backlog | None:
        self.seen.look()
        return self.seen.backlog("acme")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look and tell often, so that tests need not wait."""
    module = "gatepost.runtime.traffic.queue_watch"
    for name in ("LOOK_S", "TELL_EVERY_S", "AT_ONCE_S", "RETRY_FIRST_S"):
        monkeypatch.setattr(f"{module}.{name}", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, Log())
    yield made
    made.watch.stop()
    made.sheet.stop()


def test_lines_become_a_backlog(world) -> None:
    world.log.say(tried("A00001", 3), tried("A00002"))
    world.wait(lambda: world.backlog() is not None and world.backlog().messages == 2)
    assert world.backlog().recipients == 4
    world.log.say(stamped("qmgr[7]: A00001: removed"))
    world.wait(lambda: world.backlog().messages == 1)
    value = world.metrics.registry.get_sample_value
    assert value("gatepost_backlog_messages", {"tenant": "acme"}) == 1
    assert value("gatepost_queue_messages") == 1
    assert world.watch.details()["queue"]["tenants"] == {"acme": 1}


def test_what_was_there_before_is_in_postfix_s_list(tmp_path) -> None:
    log = Log()
    log.listed = [queued("A00001", "active", 2), queued("A00002"), queued("A00003", "hold")]
    log.go.clear()
    world = World(tmp_path, log)
    time.sleep(0.1)
    # Half of the truth would be taken for all of it.
    assert world.backlog() is None
    log.go.set()
    world.wait(lambda: world.backlog() is not None)
    assert world.backlog() == Backlog(2, 3, 1_700_000_000.0)
    world.watch.stop()
    world.sheet.stop()


def test_of_a_very_long_list_no_more_is_kept_than_can_be_remembered(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("gatepost.runtime.traffic.queue_watch.MAX_MESSAGES", 2)
    log = Log()
    log.listed = [queued(f"A0000{number}") for number in range(9)]
    world = World(tmp_path, log)
    world.wait(lambda: world.backlog() is not None)
    assert world.backlog() == Backlog(2, 2, 1_700_000_000.0)
    # A list that was not read to its end does not tell that what it lacks is gone.
    world.log.listed = [queued(f"B0000{number}") for number in range(9)]
    world.log.say(b"", gap=True)
    world.wait(lambda: world.backlog().messages == 4)
    world.watch.stop()
    world.sheet.stop()


def test_a_lost_line_is_put_right_after_a_gap_and_after_postsuper(world) -> None:
    world.log.say(tried("A00001"), tried("A00002"), tried("A00003"))
    world.wait(lambda: world.backlog() is not None and world.backlog().messages == 3)
    world.log.listed = [queued("A00002"), queued("A00003")]
    world.log.say(b"", gap=True)
    world.wait(lambda: world.backlog().messages == 2)
    world.log.listed = []
    world.log.say(stamped("postsuper[9]: Deleted: 2 messages"))
    world.wait(lambda: world.backlog().messages == 0)
    assert world.watch.details()["queue"]["corrected"] == 3


def test_a_log_that_cannot_be_read_is_nothing_known_and_told_once(world, caplog) -> None:
    world.log.say(tried("A00001"))
    world.wait(lambda: world.backlog() is not None)
    world.log.blind = LogUnavailable("log: Permission denied")
    world.wait(lambda: world.backlog() is None)
    world.wait(lambda: world.log.opened >= 2, 15)
    assert caplog.text.count("backlog-unreadable") == 1
    assert "Permission denied" in world.watch.details()["queue"]["trouble"]
    world.log.listed = [queued("A00001")]
    world.log.blind = None
    world.wait(lambda: world.backlog() is not None, 15)
    assert world.backlog().messages == 1


def test_a_queue_that_cannot_be_listed_leaves_what_the_log_says(tmp_path, caplog) -> None:
    log = Log()
    log.unlisted = PostfixUnavailable("postqueue: not allowed")
    world = World(tmp_path, log)
    log.say(tried("A00001"))
    world.wait(lambda: world.backlog() is not None and world.backlog().messages == 1)
    assert caplog.text.count("queue-unlisted") == 1
    assert world.watch.details()["queue"]["trouble"] == "postqueue: not allowed"
    world.watch.stop()
    world.sheet.stop()


def test_a_failure_of_any_kind_leaves_the_thread_alive(world, caplog) -> None:
    world.log.blind = ZeroDivisionError("odd")
    world.wait(lambda: "queue-watch-failed" in caplog.text)
    world.log.blind = None
    world.log.say(tried("A00001"))
    world.wait(lambda: world.backlog() is not None, 15)


def test_lines_that_are_read_late_say_as_of_when(world) -> None:
    old = tried("A00001").replace(time.strftime("%Y", time.gmtime()).encode(), b"2020", 1)
    world.log.say(old)
    section: list[Any] = []

    def told() -> bool:
        world.sheet.write()
        world.seen.look()
        reading = world.seen._reading
        if reading is not None and "acme" in reading.tenants:
            section.append(reading)
        return bool(section)

    world.wait(told)
    assert section[0].as_of <= since_boot()


def test_the_journal_is_read_likewise(world) -> None:
    said = "A00001: from=<n@acme.example>, size=1, nrcpt=2 (queue active)"
    entry = Entry(time.time(), "mail", "postfix", "qmgr", 7, said)
    world.log.chunks.append(Chunk((), POSITION, None, entries=[entry]))
    world.wait(lambda: world.backlog() is not None and world.backlog().messages == 1)
    assert world.backlog().recipients == 2


def test_a_file_is_followed_from_its_end_and_over_a_rotation(tmp_path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(b"one\ntwo\n")
    follower = follow_from_end(str(log))
    assert follower.read() is None
    with log.open("ab") as file:
        file.write(b"three\n")
    chunk = follower.read()
    assert chunk is not None
    assert list(chunk.lines) == [b"three"]
    log.rename(tmp_path / "mail.log.1")
    log.write_bytes(b"four\n")
    lines: list[bytes] = []
    while (chunk := follower.read()) is not None:
        lines += chunk.lines
    assert lines == [b"four"]
    follower.close()


def test_an_empty_file_is_followed_from_its_beginning(tmp_path) -> None:
    log = tmp_path / "mail.log"
    log.touch()
    assert end_of(log) == []
    follower = follow_from_end(str(log))
    assert follower.read() is None
    log.write_bytes(b"one\n")
    chunk = follower.read()
    assert chunk is not None
    assert list(chunk.lines) == [b"one"]
    follower.close()


def test_no_file_is_no_log(tmp_path) -> None:
    with pytest.raises(LogUnavailable):
        follow_from_end(str(tmp_path / "mail.log"))
