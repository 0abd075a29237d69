"""The store is made at the start, kept small, and allowed to be away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.modes import Feature, Observation
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.upkeep import Upkeep, tidy
from gatepost.store import ObservationStore, WhatIf, open_store
from lab.process import wait_until

HOUR = 3600.0


def test_rows_become_counts_and_old_counts_go(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/gatepost.db")
    now = time.time()
    for at in (now, now - 4 * HOUR, now - 500 * 24 * HOUR):
        store.add([Observation(at, "acme", Feature.TAG, "route", "d")])
    assert tidy(store, now) == (2, 1)
    assert [each.count for each in store.what_if(0)] == [2]
    store.close()


class Calls:
    """A store that says when it is tidied, and fails when told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.opened = threading.Semaphore(0)
        self.tidied = threading.Semaphore(0)

    def open(self) -> ObservationStore:
        self.opened.release()
        if self.error is not None:
            raise self.error
        return self

    def roll_up(self, before: float) -> int:
        assert before < time.time() - HOUR
        return 1

    def prune(self, before: float) -> int:
        assert before < time.time() - 300 * 24 * HOUR
        self.tidied.release()
        return 2

    def add(self, observations: Sequence[Observation]) -> None: ...

    def what_if(self, *_: object) -> list[WhatIf]:
        return []

    def close(self) -> None: ...


def test_it_runs_again_and_again_until_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    calls = Calls()
    upkeep = Upkeep(calls.open, Metrics("back"), first_s=0, every_s=0)  # type: ignore[arg-type]
    for _ in range(3):
        assert calls.tidied.acquire(timeout=10)
    upkeep.stop()
    upkeep._thread.join(10)
    assert not upkeep._thread.is_alive()
    assert "upkeep folded=1 deleted=2" in caplog.text


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (StoreUnavailable("db: locked"), "store", "store-unavailable"),
        (ZeroDivisionError("a bug"), "upkeep", "upkeep-failed"),
    ],
)
def test_trouble_is_counted_and_tried_again(
    error: Exception, kind: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    calls.error = error
    metrics = Metrics("back")
    upkeep = Upkeep(calls.open, metrics, first_s=0, every_s=0)  # type: ignore[arg-type]
    for _ in range(3):
        assert calls.opened.acquire(timeout=10)
    calls.error = None
    assert calls.tidied.acquire(timeout=10)
    upkeep.stop()
    upkeep._thread.join(10)
    assert metrics.counts()["errors"][kind] >= 2
    assert line in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StoreUnavailable("db: locked"), "store-unavailable"),
        (ZeroDivisionError("a bug"), "upkeep-failed"),
    ],
)
def test_the_same_trouble_in_a_row_is_told_once(
    error: Exception, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    calls.error = error
    metrics = Metrics("back")
    upkeep = Upkeep(calls.open, metrics, first_s=0, every_s=0.01)

    def told() -> int:
        return sum(each.startswith(line) for each in caplog.messages)

    wait_until(lambda: sum(metrics.counts()["errors"].values()) >= 5, 10, "five failures")
    assert told() == 1
    calls.error = None
    assert calls.tidied.acquire(timeout=10)
    calls.error = error
    wait_until(lambda: told() == 2, 10, "what is new again")
    upkeep.stop()
    upkeep._thread.join(10)


def test_the_store_is_made_at_the_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    made = threading.Event()

    def open_it() -> ObservationStore:
        store = open_store(url)
        made.set()
        return store

    upkeep = Upkeep(open_it, Metrics("back"), first_s=3600)
    assert made.wait(10)
    upkeep.stop()
    upkeep._thread.join(10)
    assert (tmp_path / "gatepost.db").exists()
