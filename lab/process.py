"""Start, await and end the programs that a lab is made of.

Purpose: one place that knows how a lab's daemons are found, started in a process group of their
own, waited for by an event instead of a sleep, and killed without leaving a child behind.
Limits: `POLL_S` 0.01 s between two looks at a condition that no event announces (a log file, a
socket that must accept): short beside a daemon's start, long enough to cost nothing.
Errors: `LabError`, whose text names the program and shows the end of what it printed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.enter import CLIENT

POLL_S = 0.01
_TAIL_OCTETS = 2000


class LabError(Exception):
    """Something in the lab cannot be started, or did not happen in time."""


def find(command: str) -> str:
    """Return the path of `command`, also looking where Debian keeps root's programs.

    Raises:
        LabError: If it is not installed.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(command, path=path)
    if found is None:
        raise LabError(f"the command {command} is not installed")
    return found


def run(
    arguments: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_s: float = 30,
) -> bytes:
    """Run a command to its end and return its standard output.

    Raises:
        LabError: If it is missing, fails, or takes longer than `timeout_s`.
    """
    command = [find(str(arguments[0])), *map(str, arguments[1:])]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, check=False, env=env, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{command[0]} did not end within {timeout_s:g} s") from None
    if done.returncode != 0:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise LabError(f"{' '.join(command)} failed with status {done.returncode}: {output}")
    return done.stdout


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Return as soon as `condition` holds.

    Args:
        what: Completes the sentence "waited N s for …".

    Raises:
        LabError: If it does not hold within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise LabError(f"waited {timeout_s:g} s for {what}")
        time.sleep(POLL_S)


class Daemon:
    """A program that stays in the foreground, in a process group of its own."""

    def __init__(self, arguments: Sequence[str | Path], output: Path) -> None:
        """Start the program; it writes what it prints to the file `output`.

        Raises:
            LabError: If it is not installed.
        """
        command = [find(str(arguments[0])), *map(str, arguments[1:])]
        self.name = Path(command[0]).name
        self.output = output
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the process id, which is also that of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether it has not ended yet."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children."""
        self._process.send_signal(number)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Return as soon as `condition` holds; give up at once if the program has ended.

        Raises:
            LabError: If it ended, or the condition does not hold within `timeout_s`.
        """

        def holds_or_ended() -> bool:
            return condition() or not self.running

        try:
            wait_until(holds_or_ended, timeout_s, what)
        except LabError as error:
            raise LabError(f"{error}; {self._last_words()}") from None
        if not self.running:
            raise LabError(f"{self.name} ended at once; {self._last_words()}")

    def stop(self, timeout_s: float = 5) -> None:
        """End the program and everything in its group; do nothing if it has ended."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        kill_group(self.pid)
        self._process.wait()

    def kill(self) -> None:
        """End the program as SIGKILL does, without giving it a chance to clean up."""
        kill_group(self.pid)
        self._process.wait()

    def _last_words(self) -> str:
        text = self.output.read_bytes()[-_TAIL_OCTETS:].decode(errors="replace").strip()
        return f"{self.name} printed: {text or 'nothing'}"


def kill_group(group: int) -> None:
    """Kill every process of a group; do nothing if there is none."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def wait_for_exit(pid: int, timeout_s: float) -> bool:
    """Wait until a process that need not be our child has ended; return whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
    finally:
        os.close(descriptor)
    return bool(ready)


def accepts(path: Path) -> bool:
    """Return whether somebody accepts connections on a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def add_address(address: str) -> None:
    """Put an IPv4 address on the loopback interface, unless it is there already.

    The lab's range is local without this; Postfix, however, refuses an address in
    ``inet_interfaces`` that it does not find on an interface. The kernel's own route for it would
    make clients that connect to it come from it, too, so the lab's preferred source is put back.

    Raises:
        LabError: If ip(8) refuses.
    """
    run(["ip", "address", "replace", f"{address}/32", "dev", "lo"])
    run(
        ["ip", "route", "replace", "local", address, "dev", "lo", "src", CLIENT, "table", "local"],
    )
