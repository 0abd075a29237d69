"""One process for each role."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.errors import StartError
from gatepost.runtime.lock import RoleLock, holder_of

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys
from pathlib import Path
from gatepost.runtime.lock import RoleLock
lock = RoleLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "milter.lock"
    lock = RoleLock(path)
    with pytest.raises(StartError, match=f"milter runs already, as process {os.getpid()}"):
        RoleLock(path)
    assert holder_of(path) == os.getpid()
    lock.release()
    assert holder_of(path) is None
    RoleLock(path).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "milter.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert holder_of(path) == holder.pid
        with pytest.raises(StartError, match="runs already"):
            RoleLock(path)
        holder.send_signal(signal.SIGKILL)
    assert holder_of(path) is None
    RoleLock(path).release()


def test_the_number_of_a_holder_before_does_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "milter.lock"
    path.write_text("12345678901\n")
    lock = RoleLock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_missing_directory_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="does not exist; create it for the user of Gatepost"):
        RoleLock(tmp_path / "run" / "milter.lock")
    assert holder_of(tmp_path / "run" / "milter.lock") is None


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "milter.lock"
    path.mkdir()
    with pytest.raises(StartError, match=r"milter\.lock: Is a directory"):
        RoleLock(path)


def test_a_lock_file_without_a_number_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "milter.lock"
    lock = RoleLock(path)
    path.write_text("what?")
    assert holder_of(path) is None
    with pytest.raises(StartError, match="as process unknown"):
        RoleLock(path)
    lock.release()
