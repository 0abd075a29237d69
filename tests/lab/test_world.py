"""Worlds: side by side in labs of their own, one at a time in one, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import LabError, wait_until
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

ROOT = Path(__file__).resolve().parents[2]
ENTER = [sys.executable, "-m", "lab.enter", "--"]

# Delivers one message, says so, and stays until its input ends.
SCRIPT = """
import sys
from lab.mx import Kind
from lab.send import Mail, send
from lab.world import World

with World([Kind.GOOD]) as world, world.postfix() as postfix:
    send(postfix.address, Mail("a@acme.example", "u@good.example", sys.argv[1], login="acme"))
    world.fleet.wait_subject(sys.argv[1])
    print(len(world.fleet.messages()), flush=True)
    sys.stdin.read()
print("gone:", not world.directory.exists(), flush=True)
"""


@contextlib.contextmanager
def started(subject: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*ENTER, sys.executable, "-c", SCRIPT, subject],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MARK": subject},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def programs(mark: str) -> set[str]:
    """Return the names of all processes of a lab, seen from outside."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"MARK={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.add((path / "comm").read_text(encoding="ascii").strip())
    return found


def test_two_run_side_by_side_and_see_nothing_of_each_other() -> None:
    marks = [str(uuid.uuid4()), str(uuid.uuid4())]
    with started(marks[0]) as one, started(marks[1]) as two:
        assert [line(one), line(two)] == ["1", "1"]
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.close()
            assert line(process) == "gone: True"
        assert [one.wait(), two.wait()] == [0, 0]
    assert programs(marks[0]) | programs(marks[1]) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_all_of_it(number: signal.Signals) -> None:
    mark = str(uuid.uuid4())
    with started(mark) as process:
        assert line(process) == "1"
        # Postfix's daemons clean their environment, so they do not show here.
        assert {"knotd", "unbound"} <= programs(mark)
        process.send_signal(number)
        # The pipe closes when the last process that could write to it is gone.
        assert process.stdout is not None
        process.stdout.read()
        process.wait()
        # It closes a moment before the process is gone from the list.
        wait_until(lambda: not programs(mark), 10, "every process to end")


def test_a_second_one_in_the_same_lab_is_refused_and_the_first_goes_on(world: World) -> None:
    with pytest.raises(LabError, match="another world runs in this lab"), World():
        pytest.fail("it has started")
    assert world.directory.exists()


def test_outside_of_a_lab_it_says_how_to_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEPOST_LAB")
    monkeypatch.setenv("GATEPOST_LAB_DIR", str(tmp_path))
    with pytest.raises(LabError, match=r"needs root .* lab\.enter"):
        World()
    assert list(tmp_path.iterdir()) == []


def test_names_can_be_added_before_it_starts() -> None:
    script = (
        "import socket\n"
        "from lab.world import World\n"
        "world = World([])\n"
        "world.names.address('late.example', '198.18.3.3')\n"
        "with world: print(socket.gethostbyname('late.example'))\n"
    )
    done = subprocess.run(
        [*ENTER, sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "198.18.3.3\n"
