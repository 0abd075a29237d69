"""The lab's namespace: exit status, signals, isolation, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = shlex.quote(sys.executable)
ENTER = [sys.executable, "-m", "lab.enter", "--"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
pytestmark = [pytest.mark.e2e, needs_root, pytest.mark.timeout(60)]


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTER, "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )


@contextlib.contextmanager
def started(script: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*ENTER, "sh", "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def processes_with(marker: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marker.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_exit_status_is_that_of_the_command() -> None:
    assert run("exit 7").returncode == 7


def test_death_by_signal_is_told_as_128_plus_its_number() -> None:
    assert run("kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_missing_command_is_one_sentence() -> None:
    done = subprocess.run(
        [*ENTER, "no-such-command"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 127
    assert done.stderr == "lab: cannot run no-such-command: No such file or directory\n"


def test_no_command_is_a_usage_error() -> None:
    done = subprocess.run(ENTER, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_without_root_is_one_sentence() -> None:
    # Root is given up after the import: nobody may not read a checkout that lies in /root.
    program = "import os; from lab import enter; os.setuid(65534); exit(enter.main(['true']))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("lab: ")
    assert "root" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_reach_the_command(name: str) -> None:
    with started(f"trap 'echo got; exit 9' {name}; sleep 600 & echo ready; wait") as process:
        assert first_line(process) == "ready"
        process.send_signal(signal.Signals[f"SIG{name}"])
        output, _ = process.communicate()
        assert output.strip() == "got"
        assert process.returncode == 9


def test_command_keeps_the_default_signal_state() -> None:
    done = run("grep -E '^Sig(Blk|Ign)' /proc/self/status")
    expected = subprocess.run(
        ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == expected.stdout


def test_all_addresses_of_the_range_are_local() -> None:
    script = f"""{PYTHON} -c '
import socket
for address in ("198.18.0.53", "198.18.200.7", "198.19.255.254"):
    with socket.create_server((address, 25)) as server:
        with socket.create_connection((address, 25)) as client:
            print(client.getsockname()[0])
with socket.create_server(("fd00:198:18::25", 25), family=socket.AF_INET6):
    print("six")
'"""
    assert run(script).stdout.split() == ["198.18.0.1"] * 3 + ["six"]


def test_there_is_no_way_out() -> None:
    assert run("ip route show default; ip -6 route show default").stdout == ""


def test_resolver_is_the_labs_and_the_host_keeps_its_own() -> None:
    before = Path("/etc/resolv.conf").read_bytes()
    assert "nameserver 198.18.0.53\n" in run("cat /etc/resolv.conf").stdout
    assert run("echo changed >/etc/resolv.conf; cat /etc/resolv.conf").stdout == "changed\n"
    assert Path("/etc/resolv.conf").read_bytes() == before


def test_run_is_private() -> None:
    name = f"/run/{uuid.uuid4()}"
    assert run(f"touch {name}; ls /run | wc -l").stdout.strip() == "3"
    assert not Path(name).exists()


def test_environment_says_where_we_are() -> None:
    done = run("echo $GATEPOST_LAB; cd $GATEPOST_LAB_DIR && pwd")
    assert done.stdout.split() == ["1", "/run/gatepost-lab"]


def test_two_run_side_by_side_on_the_same_address() -> None:
    server = (
        f"exec {PYTHON} -c '"
        'import socket; s = socket.create_server(("198.18.0.53", 53)); print("up", flush=True); '
        "input()'"
    )
    with started(server) as one, started(server) as two:
        assert [first_line(one), first_line(two)] == ["up", "up"]
        one.communicate("\n")
        two.communicate("\n")
        assert [one.returncode, two.returncode] == [0, 0]


def test_what_the_command_leaves_running_dies_with_it() -> None:
    marker = str(uuid.uuid4())
    done = run(f"export MARK={marker}; setsid sleep 600 >/dev/null 2>&1 & sleep 600 & exit 0")
    assert done.returncode == 0
    assert processes_with(marker) == []


def test_killing_the_caller_kills_the_lab() -> None:
    marker = str(uuid.uuid4())
    # Said by the process that is looked for: its parent would be faster than its start.
    script = f"export MARK={marker}; setsid sh -c 'echo up; exec sleep 600' & wait"
    with started(script) as process:
        assert first_line(process) == "up"
        assert processes_with(marker)
        process.kill()
        process.wait()
        # The pipe closes when the last process of the lab is gone.
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert processes_with(marker) == []


def test_no_mount_is_left_behind() -> None:
    before = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    run("mount -t tmpfs none /media")
    assert Path("/proc/self/mountinfo").read_text(encoding="utf-8") == before


def test_a_checkout_in_a_private_home_can_be_read_by_all_and_nothing_else_there() -> None:
    # Not below pytest's own directory, which is private itself.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as private:
        home = Path(private)
        checkout = home / "deep" / "gatepost"
        shutil.copytree(ROOT / "lab", checkout / "lab")
        (home / "secret").write_text("x")
        script = "cat lab/enter.py && pwd && ls .. ../.. && touch mark"
        as_nobody = ["setpriv", "--reuid", "65534", "--clear-groups"]
        checkout.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-m", "lab.enter", "--", *as_nobody, "sh", "-c", script],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        expected = (checkout / "lab" / "enter.py").read_text(encoding="utf-8")
        assert done.stdout.startswith(expected)
        rest = done.stdout.removeprefix(expected).split()
        assert rest == [str(checkout), "..:", "gatepost", "../..:", "deep"]
        assert (checkout / "mark").exists()
        assert home.stat().st_mode & 0o077 == 0
