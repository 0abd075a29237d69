"""The supervisor, over roles that are small programs: starts, restarts, signals, the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StartError
from gatepost.runtime import supervisor as module
from gatepost.runtime.control import ControlServer
from gatepost.runtime.lock import RoleLock
from gatepost.runtime.paths import lock_path
from gatepost.runtime.signals import Signals
from gatepost.runtime.supervisor import Supervisor, describe_exit, next_delay
from lab.process import wait_until

ROOT = Path(__file__).resolve().parents[2]

# Says what happens to it on a socket of the test's.
ROLE = """
import os, signal, socket, sys, time
role, address, ends = sys.argv[1:]
def say(*words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(" ".join([role, *words]).encode(), address)
signal.signal(signal.SIGHUP, lambda *_: say("hup"))
def stop(*_):
    say("term")
    if ends != "no":
        os._exit(0)
signal.signal(signal.SIGTERM, stop)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
def tell(what):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(what, os.environ["NOTIFY_SOCKET"])
tell(b"READY=1")
say("ready", str(os.getpid()), os.environ["GATEPOST_SUPERVISOR"])
while ends == "beats":
    tell(b"WATCHDOG=1")
    time.sleep(int(os.environ["WATCHDOG_USEC"]) / 4e6)
if ends == "leaves":
    tell(b"STOPPING=1")
while True:
    signal.pause()
"""

HOLDER = """
import sys, time
from pathlib import Path
from gatepost.runtime.control import ControlServer
from gatepost.runtime.lock import RoleLock
lock = RoleLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


class Wires(Signals):
    """Signals that a test sends without sending any, so that it can run in a thread."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def send(self, number: signal.Signals) -> None:
        os.write(self._writing, bytes([number]))

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class Site:
    """A supervisor in a thread, and what its roles say."""

    def __init__(self, directory: Path) -> None:
        self.run_dir = directory
        self.wires = Wires()
        self.ends = dict.fromkeys(("policy", "milter", "back"), "yes")
        self.heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard.bind(str(directory / "heard"))
        self.heard.settimeout(20)
        self.supervisor = Supervisor(directory, directory / "gatepost.yaml", 0.1, 600)
        self.thread = threading.Thread(target=self.supervisor.run, args=(self.wires,))

    def command(self, role: str, config: Path) -> list[str]:
        assert config == self.run_dir / "gatepost.yaml"
        program = [sys.executable, "-S", "-c", ROLE]
        return [*program, role, str(self.run_dir / "heard"), self.ends[role]]

    def hear(self, *wanted: str) -> dict[str, list[str]]:
        """Wait until each of `wanted`, such as ``policy ready``, was said; return what follows."""
        found: dict[str, list[str]] = {}
        while set(wanted) - set(found):
            role, what, *rest = self.heard.recv(1000).decode().split()
            found[f"{role} {what}"] = rest
        return found

    def start(self) -> dict[str, int]:
        """Start, and return the process ids of the roles."""
        self.thread.start()
        found = self.hear("policy ready", "milter ready", "back ready")
        assert {rest[1] for rest in found.values()} == {str(os.getpid())}
        return {key.split()[0]: int(rest[0]) for key, rest in found.items()}

    def stop(self) -> None:
        if self.thread.is_alive():
            self.wires.send(signal.SIGTERM)
            self.thread.join(20)
        assert not self.thread.is_alive()

    def state(self) -> dict[str, dict[str, object]]:
        roles: dict[str, dict[str, object]] = json.loads(
            (self.run_dir / "supervisor.json").read_text()
        )["roles"]
        return roles


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "EXTRA_GRACE_S", 0.1)
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.01)
    made = Site(tmp_path)
    monkeypatch.setattr(module, "role_command", made.command)
    yield made
    made.stop()
    made.wires.close()
    made.heard.close()


def test_a_role_that_dies_is_started_again(site: Site) -> None:
    before = site.start()
    os.kill(before["milter"], signal.SIGKILL)
    after = site.hear("milter ready")["milter ready"]
    assert int(after[0]) != before["milter"]
    state = site.state()
    assert state["milter"]["restarts"] == 1
    assert state["milter"]["last_exit"] == "killed by SIGKILL"
    assert state["policy"]["restarts"] == 0
    assert state["policy"]["pid"] == before["policy"]


def test_one_that_goes_on_dying_is_started_again_ever_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    real = site.command

    def command(role: str, config: Path) -> list[str]:
        if role != "back":
            return real(role, config)
        starts.append(time.monotonic())
        if len(starts) < 5:
            return [sys.executable, "-S", "-c", "raise SystemExit(2)"]
        return real(role, config)

    monkeypatch.setattr(module, "role_command", command)
    site.start()
    state = site.state()
    assert state["back"]["restarts"] == 4
    assert state["back"]["last_exit"] == "exit status 2"
    assert starts[-1] - starts[-2] >= 0.08


def test_a_role_that_cannot_be_started_does_not_stop_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []
    real = site.command

    def command(role: str, config: Path) -> list[str]:
        tries.append(role)
        if role == "back" and tries.count("back") < 3:
            return ["/nonexistent/python"]
        return real(role, config)

    monkeypatch.setattr(module, "role_command", command)
    site.start()
    assert "cannot start: No such file or directory" in caplog.text


def test_an_api_that_does_not_start_keeps_nobody_from_being_ready(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    real = site.command

    def command(role: str, config: Path) -> list[str]:
        if role == "api":
            return [sys.executable, "-S", "-c", "raise SystemExit(1)"]
        return real(role, config)

    told = threading.Event()
    monkeypatch.setattr(module, "notify_ready", told.set)
    monkeypatch.setattr(module, "role_command", command)
    site.supervisor.roles = ("policy", "milter", "back", "api")
    site.start()
    assert told.wait(20)
    assert "ready roles=policy,milter,back\n" in caplog.text
    wait_until(lambda: "died role=api" in caplog.text, 20, "the API to be tried again")


def test_a_role_that_falls_silent_is_killed_and_started_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.supervisor.watchdog_s = 0.3
    site.ends["milter"] = "beats"
    before = site.start()
    after = site.hear("policy ready", "back ready")
    assert int(after["policy ready"][0]) != before["policy"]
    assert f"hangs role=policy pid={before['policy']} silent_s=0.3" in caplog.text
    state = site.state()
    assert state["policy"]["last_exit"] == "hung, killed by SIGKILL"
    assert (state["milter"]["pid"], state["milter"]["restarts"]) == (before["milter"], 0)


def test_a_sign_of_life_is_no_reason_to_write_the_state_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time", iter(range(10**9)).__next__)
    beats, turns, writes = threading.Event(), [], []
    real_hear, real_text = Supervisor._hear, Path.write_text

    def hear(supervisor: Supervisor) -> None:
        real_hear(supervisor)
        turns.append(1)
        if len(turns) > 50:
            beats.set()

    def write_text(path: Path, text: str, **options: Any) -> int:
        if path.name == "supervisor.tmp":
            writes.append(text)
        return real_text(path, text, **options)

    monkeypatch.setattr(Supervisor, "_hear", hear)
    monkeypatch.setattr(Path, "write_text", write_text)
    site.supervisor.watchdog_s = 0.4
    site.ends |= {"policy": "beats", "milter": "beats", "back": "beats"}
    site.start()
    assert beats.wait(20)
    assert len(writes) == len(set(writes)) < len(turns)


def test_a_role_that_leaves_may_be_silent(site: Site) -> None:
    site.supervisor.watchdog_s = 0.3
    site.ends |= {"milter": "beats", "back": "leaves"}
    before = site.start()
    # The silent one goes three times, and so the other had its time.
    for _ in range(3):
        site.hear("policy ready")
    assert site.state()["back"]["pid"] == before["back"]


def test_a_role_that_starts_may_be_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = site.command

    def command(role: str, config: Path) -> list[str]:
        if role == "back":
            return [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
        return real(role, config)

    monkeypatch.setattr(module, "role_command", command)
    site.supervisor.watchdog_s = 0.3
    site.ends["milter"] = "beats"
    site.thread.start()
    for _ in range(3):
        site.hear("policy ready")
    assert site.state()["back"]["restarts"] == 0


def test_a_supervisor_that_slept_itself_blames_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.supervisor.watchdog_s = 60
    before = site.start()
    real = time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: real() + 3600)
    site.wires.send(signal.SIGHUP)
    site.hear("policy hup", "milter hup", "back hup")
    assert {role: state["pid"] for role, state in site.state().items()} == before


def test_sighup_is_handed_on(site: Site) -> None:
    site.start()
    site.wires.send(signal.SIGHUP)
    site.hear("policy hup", "milter hup", "back hup")


def test_a_stop_stops_everybody_and_takes_the_files_away(site: Site) -> None:
    pids = site.start()
    site.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    assert not (site.run_dir / "supervisor.json").exists()
    assert not (site.run_dir / "notify.sock").exists()
    RoleLock(lock_path(site.run_dir, "supervisor")).release()


def test_a_role_that_does_not_stop_is_killed(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site.ends["policy"] = "no"
    pids = site.start()
    site.stop()
    assert not Path(f"/proc/{pids['policy']}").exists()
    assert 'stopped role=policy how="killed by SIGKILL"' in caplog.text
    assert 'stopped role=milter how="exit status 0"' in caplog.text


def test_ready_is_told_when_all_are(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(module, "notify_ready", told.set)
    site.start()
    assert told.wait(10)


def test_a_second_supervisor_is_refused(site: Site) -> None:
    site.start()
    with pytest.raises(StartError, match="supervisor runs already"):
        Supervisor(site.run_dir, site.run_dir / "gatepost.yaml", 0.1, 600).run(site.wires)


@contextlib.contextmanager
def left_over(site: Site, code: str = HOLDER) -> Iterator[subprocess.Popen[str]]:
    path = lock_path(site.run_dir, "milter")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + HOLDER


@pytest.mark.parametrize(("code", "end"), [(HOLDER, signal.SIGTERM), (STUBBORN, signal.SIGKILL)])
def test_what_a_killed_supervisor_left_behind_is_ended_first(
    site: Site, code: str, end: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    with left_over(site, code) as process:
        site.start()
        assert process.wait(10) == -end
    assert f"left-over role=milter pid={process.pid}" in caplog.text


def test_a_role_that_runs_by_itself_is_left_alone(site: Site) -> None:
    server = ControlServer(site.run_dir / "milter.ctl", {"status": lambda: {"supervisor": "none"}})
    with left_over(site) as process:
        with pytest.raises(StartError, match=f"by itself, as process {process.pid}; stop it first"):
            site.supervisor.run(site.wires)
        assert process.poll() is None
    server.close()


def test_what_is_not_ours_to_stop_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with left_over(site) as process:
        with pytest.raises(StartError, match=f"process {process.pid}, and is not ours to stop"):
            site.supervisor.run(site.wires)
        assert process.poll() is None


def test_delays_grow_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.2)
    delays = [0.0]
    for _ in range(10):
        delays.append(next_delay(delays[-1]))
    assert delays[1:5] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == 30.0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (2, "exit status 2"),
        (-9, "killed by SIGKILL"),
        (-99, "killed by signal 99"),
    ],
)
def test_how_a_process_ended(status: int, words: str) -> None:
    assert describe_exit(status) == words


def test_a_file_that_cannot_be_written_stops_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., int] = Path.write_text

    def full(path: Path, *args: object, **options: object) -> int:
        if path.name == "supervisor.tmp":
            raise OSError(28, "No space left on device")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    pids = site.start()
    os.kill(pids["back"], signal.SIGKILL)
    site.hear("back ready")
