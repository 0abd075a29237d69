"""Quotas: processor time at RCPT TO and at the end of a message, in memory and in Valkey.

Purpose: each recipient and each message costs one look at the counters; with Valkey, a round trip.
Three windows for each of 1,000 tenants. Eight clients ask at once, and what waits for Valkey is
asked together.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.configurations import write_configuration
from bench.load import Target, measure, wait_for
from bench.policy import TENANTS, requests
from bench.processes import running
from bench.report import Row
from bench.roles import role, workplace

REQUESTS = 2_400
GOAL_RATIO = 4.0
_END = b"\n\n"
_QUOTA = "quota: [1000000/minute, 10000000/hour, 100000000/day]"
_NUMBER = itertools.count()
_AT_THE_END = b"protocol_state=END-OF-MESSAGE"


def recipients(seed: int) -> Iterator[bytes]:
    """Return an endless run of RCPT TO requests of one smtpd(8) process, a message each."""
    for request in requests(seed):
        # No message comes twice: one that was counted is known, and costs nothing.
        yield request.replace(b"instance=1a2b", b"instance=%x.%x" % (seed, next(_NUMBER)))


def ends(seed: int) -> Iterator[bytes]:
    """Return an endless run of END-OF-MESSAGE requests."""
    for request in recipients(seed):
        yield request.replace(b"protocol_state=RCPT", _AT_THE_END).replace(
            b"recipient_count=0", b"recipient_count=1"
        )


def run() -> list[Row]:
    """Measure, and return the rows."""
    with workplace() as directory, contextlib.ExitStack() as stack:
        valkey = _valkey(directory, stack)
        kinds = {"none": "", "memory": "counters: memory\n"}
        if valkey is not None:
            kinds["Valkey"] = f"counters: valkey+unix://{valkey[1]}\n"
        targets = []
        for kind, line in kinds.items():
            path = _configure(directory / kind, line, with_quotas=kind != "none")
            pid, address = _policy(path, stack)
            for stage, made in (("RCPT TO", recipients), ("end of a message", ends)):
                targets.append(Target(f"{kind} {stage}", pid, address, made, _END, REQUESTS))
                if kind == "Valkey" and valkey is not None:
                    name = f"server {stage}"
                    targets.append(Target(name, valkey[0], address, made, _END, REQUESTS))
        spent = measure(targets)
    return _rows(spent, found=valkey is not None)


def _configure(directory: Path, line: str, *, with_quotas: bool) -> Path:
    path = write_configuration(directory, TENANTS)
    text = path.read_text("ascii")
    if with_quotas:
        text = text.replace(", senders: [", f", {_QUOTA}, senders: [")
    path.write_text(line + text, "ascii")
    return path


def _policy(path: Path, stack: contextlib.ExitStack) -> tuple[int, str]:
    ours = stack.enter_context(role("policy", path))
    return ours.pid, ours.socket("policy")


def _valkey(directory: Path, stack: contextlib.ExitStack) -> tuple[int, str] | None:
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        return None
    path = directory / "valkey.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "777", "--save", ""]
    options += ["--logfile", str(directory / "valkey.log")]
    process = stack.enter_context(running([program, *options, "--dir", str(directory)]))
    wait_for(str(path))
    return process.pid, str(path)


def _rows(spent: dict[str, float], *, found: bool) -> list[Row]:
    rows = []
    for stage in ("RCPT TO", "end of a message"):
        none, memory = spent[f"none {stage}"], spent[f"memory {stage}"]
        rows += [
            Row(f"{stage}, no quota", f"{none:.0f} µs of CPU", ""),
            Row(
                f"{stage}, three windows in memory",
                f"{memory:.0f} µs of CPU",
                f"{memory - none:.0f} µs more than without",
            ),
        ]
        if not found:
            rows.append(Row(f"{stage}, in Valkey", "not measured", "no server is installed"))
            continue
        valkey, server = spent[f"Valkey {stage}"], spent[f"server {stage}"]
        ratio = valkey / memory
        rows += [
            Row(
                f"{stage}, three windows in Valkey",
                f"{valkey:.0f} µs of CPU",
                f"{ratio:.1f} × memory",
                f"≤ {GOAL_RATIO:g} × memory",
                ratio <= GOAL_RATIO,
            ),
            Row(f"{stage}, in Valkey itself", f"{server:.0f} µs of CPU", ""),
        ]
    return rows
