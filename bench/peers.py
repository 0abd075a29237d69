"""Peers that are measured beside us where they are installed: policyd-rate-limit and postfwd.

Purpose: start each with its database in memory or in a directory of ours and one ordinary rate
limit that nobody reaches, under the account that measures.
Errors: none; a peer that is not installed or does not start is left out, with a row that says so.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.load import LoadError, wait_for
from bench.processes import running

_RATE_LIMIT = """\
debug: False
user: "{user}"
group: "{group}"
pidfile: "{directory}/pid"
sqlite_config:
    database: "{directory}/db.sqlite3"
backend: 0
SOCKET: "{directory}/policy"
socket_permission: 0666
limits:
    - [100000000, 60]
limits_by_id: {{}}
limit_by_sasl: True
limit_by_sender: False
limit_by_ip: False
limited_networks: []
success_action: "dunno"
fail_action: "defer_if_permit Rate limit reach, retry later"
db_error_action: "dunno"
report: False
"""


@contextlib.contextmanager
def policyd_rate_limit(directory: Path) -> Iterator[tuple[int, str] | None]:
    """Run policyd-rate-limit with SQLite; yields process id and socket, or None."""
    program = shutil.which("policyd-rate-limit")
    if program is None:
        yield None
        return
    directory.mkdir()
    configuration = directory / "configuration.yaml"
    configuration.write_text(
        _RATE_LIMIT.format(
            directory=directory,
            user=pwd.getpwuid(os.geteuid()).pw_name,
            group=grp.getgrgid(os.getegid()).gr_name,
        ),
        encoding="ascii",
    )
    command = [program, "--file", str(configuration)]
    with _quiet(command) as process:
        yield _answering(process, f"{directory}/policy")


@contextlib.contextmanager
def postfwd(directory: Path, port: int) -> Iterator[tuple[int, tuple[str, int]] | None]:
    """Run postfwd2 with one rate rule; yields process id and address, or None."""
    program = shutil.which("postfwd2")
    if program is None:
        yield None
        return
    directory.mkdir()
    pid_file = directory / "pid"
    rule = "id=R1; sasl_username=~/./; action=rate(sasl_username/100000000/3600/450 4.7.1 too many)"
    # It goes to the background by itself, whatever it is told.
    subprocess.run(
        [
            program, "--interface", "127.0.0.1", "--port", str(port), "--rule", rule,
            "--shortlog", "--nodnslog", "--noidlestats", "--user", "root", "--group", "root",
            "--pidfile", str(pid_file),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    address = ("127.0.0.1", port)
    try:
        wait_for(address, 10)
        pid = int(pid_file.read_text("ascii"))
    except (LoadError, OSError, ValueError):
        yield None
        return
    try:
        yield pid, address
    finally:
        os.kill(pid, signal.SIGTERM)


@contextlib.contextmanager
def _quiet(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process


def _answering(process: subprocess.Popen[bytes], address: str) -> tuple[int, str] | None:
    try:
        wait_for(address, 10)
    except LoadError:
        return None
    return process.pid, address
