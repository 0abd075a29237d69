"""Work on a thread of its own: in its turn, until it is stopped, whatever fails."""

from __future__ import annotations

import threading

from gatepost.runtime.repeated import Repeated


def test_it_begins_works_and_ends_in_order() -> None:
    done: list[str] = []
    twice = threading.Event()

    def work() -> None:
        done.append("work")
        if done.count("work") == 2:
            twice.set()
            repeated.waited(10)

    repeated = Repeated(
        "test",
        work,
        lambda error: done.append(str(error)),
        every_s=0,
        at_start=lambda: done.append("start"),
        at_end=lambda: done.append("end"),
    )
    repeated.start()
    assert twice.wait(10)
    repeated.stop(10)
    assert not repeated.is_alive()
    assert done == ["start", "work", "work", "end"]


def test_no_failure_ends_it() -> None:
    told = threading.Semaphore(0)
    failures: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    def failed(error: Exception) -> None:
        failures.append(str(error))
        told.release()

    repeated = Repeated("test", fail, failed, every_s=0, at_start=fail)
    repeated.start()
    for _ in range(3):
        assert told.acquire(timeout=10)
    repeated.stop(10)
    assert set(failures) == {"a bug"}


def test_what_is_stopped_before_its_first_turn_does_nothing() -> None:
    done: list[str] = []
    repeated = Repeated("test", lambda: done.append("work"), lambda _: None, every_s=0, first_s=60)
    repeated.start()
    repeated.stop(10)
    assert not repeated.is_alive()
    assert done == []
