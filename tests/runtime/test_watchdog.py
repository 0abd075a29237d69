"""Signs of life: when they are wanted, and that they come from where the work is done."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.runtime import watchdog
from gatepost.runtime.notify import NotifyListener
from gatepost.runtime.signals import STOP_SIGNALS, Signals, wait_for_stop


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifyListener]:
    opened = NotifyListener(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(opened.path))
    yield opened
    opened.close()


def heard(listener: NotifyListener) -> int:
    """Return how many signs of life have come."""
    count = 0
    while (found := listener.receive()) is not None:
        count += found[1] == {"WATCHDOG": "1"}
    return count


@pytest.mark.parametrize(
    ("allowed", "process", "interval"),
    [
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
        ("-1", "", None),
        ("٣", "", None),
        ("20000000", "", 5.0),
        ("20000000", "own", 5.0),
        ("20000000", "1", None),
        ("20000000", "none", None),
    ],
)
def test_how_often_somebody_wants_to_know(
    allowed: str, process: str, interval: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", allowed)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "own" else process)
    assert watchdog.interval_s() == interval


def test_what_is_asked_of_a_role_is_not_what_systemd_asks_of_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    for name, value in watchdog.environment(20).items():
        monkeypatch.setenv(name, value)
    assert watchdog.interval_s() == 5.0


def test_the_event_loop_shows_signs_of_life(
    listener: NotifyListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    async def three() -> None:
        alive = asyncio.create_task(watchdog.beat_in_loop())
        count = 0
        while count < 3:
            await asyncio.sleep(0.001)
            count += heard(listener)
        alive.cancel()

    asyncio.run(asyncio.wait_for(three(), 10))
    monkeypatch.delenv("WATCHDOG_USEC")
    asyncio.run(watchdog.beat_in_loop())
    assert heard(listener) == 0


def test_the_main_thread_shows_signs_of_life_while_it_waits(
    listener: NotifyListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    signals = Signals(*STOP_SIGNALS)

    def stop() -> None:
        count = 0
        while count < 3:
            count += heard(listener)
        os.kill(os.getpid(), STOP_SIGNALS[0])

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        assert wait_for_stop(lambda: None, signals) == STOP_SIGNALS[0]
    finally:
        thread.join()
        signals.close()
