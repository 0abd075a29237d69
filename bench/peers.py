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
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from bench.load import LoadError, wait_for
from bench.processes import running

AddressT = TypeVar("AddressT", str, tuple[str, int])

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
def postfwd(port: int) -> Iterator[tuple[int, tuple[str, int]] | None]:
    """Run postfwd with one rate rule; yields process id and address, or None."""
    program = shutil.which("postfwd1") or shutil.which("postfwd")
    if program is None:
        yield None
        return
    rule = "id=R1; sasl_username=~/./; action=rate(sasl_username/100000000/3600/450 4.7.1 too many)"
    command = [
        program, "--interface", "127.0.0.1", "--port", str(port), "--rule", rule, "--shortlog",
        "--nodnslog", "--noidlestats", "--user", "root", "--group", "root", "--nodaemon",
    ]  # fmt: skip
    with _quiet(command) as process:
        yield _answering(process, ("127.0.0.1", port))


@contextlib.contextmanager
def _quiet(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process


def _answering(process: subprocess.Popen[bytes], address: AddressT) -> tuple[int, AddressT] | None:
    try:
        wait_for(address, 10)
    except LoadError:
        return None
    return process.pid, address
