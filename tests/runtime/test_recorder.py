"""The recorder: off the path of mail, and patient with the store."""

from __future__ import annotations

import contextlib
import logging
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.modes import Feature, Observation
from gatepost.runtime import batches as module
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.recorder import QueueRecorder, format_observation
from gatepost.store import open_store, sqlite_file
from lab.process import wait_until

ROOT = Path(__file__).resolve().parents[2]

KILLED = """
import sys, time
from gatepost.modes import Feature, Observation
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.recorder import QueueRecorder
from gatepost.store import open_store, sqlite_file
from lab.process import wait_until
metrics = Metrics("policy")
recorder = QueueRecorder(metrics, lambda: open_store(sys.argv[1]))
for n in range(2500):
    recorder.record(Observation(1.0 + n, "acme", Feature.TAG, "route", "d"))
while recorder.waiting() > 499:
    time.sleep(0.01)
print(metrics.counts()["recorder_stored"]["all"], flush=True)
sys.stdin.read()
"""


def seen(n: int = 0) -> Observation:
    return Observation(1.0 + n, "acme", Feature.TLS, "route", "d", "4X", "s@a.example")


class Store:
    """Keeps what it is given, fails while told to, and says when it was called."""

    def __init__(self) -> None:
        self.kept: list[Observation] = []
        self.failing = False
        self.error: Exception = StoreUnavailable("db: no room")
        self.called = threading.Semaphore(0)
        self.closed = threading.Event()

    def add(self, observations: Sequence[Observation]) -> None:
        try:
            if self.failing:
                raise self.error
            self.kept += observations
        finally:
            self.called.release()

    def close(self) -> None:
        self.closed.set()


Start = Callable[..., tuple[QueueRecorder, Metrics]]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    """Start recorders, and end them with the test."""
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> tuple[QueueRecorder, Metrics]:
            metrics = Metrics("policy")
            options.setdefault("open_store", lambda: store)
            recorder = QueueRecorder(metrics, **options)  # type: ignore[arg-type]
            stack.callback(recorder.stop)
            return recorder, metrics

        yield start


def test_an_observation_is_logged_counted_and_stored(
    start: Start, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recorder, metrics = start()
    recorder.record(seen())
    assert store.called.acquire(timeout=10)
    assert recorder.stop()
    assert store.kept == [seen()]
    assert metrics.counts() == {
        "observations": {"tls route": 1},
        "recorder_stored": {"all": 1},
    }
    assert [record.message for record in caplog.records] == [
        "observe tenant=acme feature=tls action=route queue_id=4X from=<s@a.example> detail=d"
    ]
    assert store.closed.is_set()


def test_the_log_line_leaves_out_what_is_not_known() -> None:
    bare = Observation(1.0, "", Feature.SENDER, "reject", "")
    assert format_observation(bare) == "observe tenant=- feature=sender action=reject from=<>"
    assert "to=<u@b.example>" in format_observation(
        Observation(1.0, "", Feature.SENDER, "reject", "", "", "", "u@b.example")
    )


def test_a_stop_writes_what_waits(start: Start, store: Store) -> None:
    recorder, _ = start()
    for n in range(1200):
        recorder.record(seen(n))
    assert recorder.stop()
    assert [each.at for each in store.kept] == [1.0 + n for n in range(1200)]
    assert recorder.waiting() == 0


def test_without_a_store_lines_and_counts_go_on(start: Start) -> None:
    recorder, metrics = start(open_store=None)
    recorder.record(seen())
    assert recorder.stop()
    assert metrics.counts() == {"observations": {"tls route": 1}}


def test_a_store_that_comes_back_gets_everything_once(
    start: Start, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.0)
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.01)
    caplog.set_level(logging.INFO)
    store.failing = True
    recorder, metrics = start()
    recorder.record(seen(1))
    for _ in range(2):
        assert store.called.acquire(timeout=10)
    recorder.record(seen(2))
    assert recorder.waiting() >= 1
    store.failing = False
    assert recorder.stop()
    assert [each.at for each in store.kept] == [2.0, 3.0]
    assert metrics.counts()["errors"]["store"] >= 2
    messages = [record.message for record in caplog.records]
    # One line when it goes and one when it is back, however often it was tried.
    assert sum(message.startswith("store-unavailable") for message in messages) == 1
    assert messages.count("store-back") == 1


def test_beyond_the_limit_rows_are_dropped_and_counted(
    start: Start, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.0)
    store.failing = True
    recorder, metrics = start(capacity=3)
    recorder.record(seen())
    assert store.called.acquire(timeout=10)
    for n in range(20):
        recorder.record(seen(n))
    assert not_stored(recorder)
    counts = metrics.counts()
    assert sum(counts["recorder_dropped"].values()) == 21
    assert store.kept == []


def not_stored(recorder: QueueRecorder) -> bool:
    return recorder.stop() and recorder.waiting() == 0


def test_what_it_chokes_on_is_thrown_away_and_the_rest_goes_on(
    start: Start, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.0)
    store.failing = True
    store.error = ZeroDivisionError("a bug")
    recorder, metrics = start()
    recorder.record(seen(1))
    assert store.called.acquire(timeout=10)
    store.failing = False
    recorder.record(seen(2))
    assert recorder.stop()
    assert [each.at for each in store.kept] == [3.0]
    assert metrics.counts()["recorder_dropped"] == {"store": 1}
    assert "recorder-failed" in caplog.text


def test_a_store_that_cannot_be_opened_holds_nobody_up(start: Start) -> None:
    def closed() -> Store:
        raise StoreUnavailable("db: locked")

    recorder, metrics = start(open_store=closed)
    for n in range(100):
        recorder.record(seen(n))
    assert recorder.stop()
    assert metrics.counts()["recorder_dropped"] == {"store": 100}


def errors(metrics: Metrics) -> float:
    return metrics.counts().get("errors", {}).get("store", 0)


def test_a_database_that_is_locked_gets_everything_afterwards(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(module, "FLUSH_S", 0.0)
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.01)
    url = f"sqlite:///{tmp_path}/gatepost.db"
    with contextlib.closing(open_store(url)) as opened:
        locker = sqlite3.connect(tmp_path / "gatepost.db", isolation_level=None)
        locker.execute("begin exclusive")
        recorder, metrics = start(open_store=lambda: open_store(url))
        for n in range(100):
            recorder.record(seen(n))
        wait_until(lambda: errors(metrics) >= 2, 30, "two attempts")
        assert recorder.waiting() > 0
        locker.close()
        wait_until(lambda: not recorder.waiting(), 30, "everything to be stored")
        assert [each.count for each in opened.what_if(0)] == [100]
    assert "recorder_dropped" not in metrics.counts()


def test_a_stop_does_not_wait_for_ever(start: Start, store: Store) -> None:
    go = threading.Event()
    entered = threading.Event()

    def slow(_: Sequence[Observation]) -> None:
        entered.set()
        assert go.wait(10)

    store.add = slow  # type: ignore[method-assign]
    recorder, _ = start()
    recorder.record(seen())
    assert entered.wait(10)
    assert not recorder.stop(0.01)
    go.set()


def test_killed_it_has_stored_what_it_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = float(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    assert said >= 2000
    with contextlib.closing(open_store(url)) as opened:
        assert sum(each.count for each in opened.what_if(0)) >= said
