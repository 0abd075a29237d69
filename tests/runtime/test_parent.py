"""A role notices that its supervisor is gone, says so, and goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatepost.runtime.parent import SUPERVISOR_VARIABLE, ParentWatch

ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import logging, sys, time
from gatepost.runtime.parent import ParentWatch
logging.basicConfig(stream=sys.stdout, format="%(message)s")
watch = ParentWatch()
print(watch.state(), flush=True)
while watch.state() == "running":
    time.sleep(0.01)
logging.shutdown()
print(watch.state(), flush=True)
"""

PARENT = """
import os, subprocess, sys
os.environ["GATEPOST_SUPERVISOR"] = str(os.getpid())
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
sys.stdin.read()
os._exit(0)
"""


def test_without_a_supervisor_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUPERVISOR_VARIABLE, raising=False)
    assert ParentWatch().state() == "none"


def test_a_supervisor_that_dies_is_missed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "running\n"
        parent.kill()
        # The pipe ends when the orphan does.
        rest = parent.stdout.read().splitlines()
    assert rest[0].startswith(f"supervisor-gone pid={parent.pid} ")
    assert rest[-1] == "gone"


def test_one_that_was_gone_before_we_looked_is_missed_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    monkeypatch.setenv(SUPERVISOR_VARIABLE, str(process.pid))
    watch = ParentWatch()
    for thread in threading.enumerate():
        if thread.name == "parent":
            thread.join(10)
    assert watch.state() == "gone"
    assert "supervisor-gone" in caplog.text
    assert SUPERVISOR_VARIABLE not in os.environ
