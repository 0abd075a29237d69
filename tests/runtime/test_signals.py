"""Signals: SIGHUP reloads, SIGTERM stops, and none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatepost.runtime.signals import (
    STOP_SIGNALS,
    Reloader,
    blocked,
    catching,
    wait_for_stop,
)

ROOT = Path(__file__).resolve().parents[2]
# As a role does at its start: whatever comes before the loop can take it has to wait.
LOOP = """
import asyncio, importlib, os, signal, sys
from gatepost.runtime.signals import blocked, install_in_loop

async def work():
    stop = asyncio.Event()
    def reload():
        print("reload")
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    install_in_loop(asyncio.get_running_loop(), reload, stop.set)
    await asyncio.wait_for(stop.wait(), 10)
    print("stop")

with blocked(signal.SIGHUP):
    importlib.import_module(sys.argv[1]).run(work())
"""

ALL = (signal.SIGHUP, *STOP_SIGNALS)


def test_a_signal_wakes_the_main_thread() -> None:
    with catching(*ALL) as signals:
        assert signals.wait(0) == []
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.wait(10) == [signal.SIGHUP]
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait(10) == [signal.SIGTERM]
        assert signals.pending() == []


def test_afterwards_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in ALL]
    with catching(*ALL):
        assert signal.getsignal(signal.SIGHUP) not in before
    assert [signal.getsignal(number) for number in ALL] == before


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_reloads_until_the_stop(stop: signal.Signals) -> None:
    reloads = []

    def reload() -> None:
        reloads.append(None)
        os.kill(os.getpid(), signal.SIGHUP if len(reloads) < 3 else stop)

    with catching(*ALL) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert wait_for_stop(reload, signals) == stop
    assert len(reloads) == 3


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_in_a_loop_a_signal_that_waited_is_taken(runner: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOP, runner], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "reload\nstop\n", "")


def test_a_reload_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    ran = threading.Semaphore(0)

    def fail() -> None:
        ran.release()
        raise ZeroDivisionError("a bug")

    reloader = Reloader(fail)
    for _ in range(3):
        reloader.request()
        assert ran.acquire(timeout=10)
    assert "reload-failed" in caplog.text


def test_blocked_it_waits_in_children_too() -> None:
    code = "import signal; print(signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    command = [sys.executable, "-c", code]
    with blocked(signal.SIGHUP):
        inside = subprocess.run(command, capture_output=True, text=True, check=True)
    outside = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (inside.stdout, outside.stdout) == ("True\n", "False\n")


def test_reloads_asked_for_during_one_become_one_more() -> None:
    began = threading.Semaphore(0)
    go = threading.Semaphore(0)
    runs = []

    def reload() -> None:
        runs.append(None)
        began.release()
        assert go.acquire(timeout=10)

    reloader = Reloader(reload)
    reloader.request()
    assert began.acquire(timeout=10)
    for _ in range(5):
        reloader.request()
    go.release()
    assert began.acquire(timeout=10)
    go.release()
    reloader.request()
    assert began.acquire(timeout=10)
    go.release()
    assert len(runs) == 3
