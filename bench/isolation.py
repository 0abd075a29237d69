"""Twenty quiet tenants beside one that floods: their delay, by what stands between them.

Purpose: the event for which Gatepost is there. Quiet tenants send one message a second each, one
tenant 250 a second, more than its destination takes and less than two processors do with source and
destination beside; in one run, with plain Postfix, with a burst lane, and with a burst lane that is
an instance of its own; once to the same destination, once to another one.
Source: the destination takes 20 connections at a time and 0.1 s for a message (`bench.slow_sink`).
Format: a delay goes from before the client connects to the destination's last reply. What counts
is sent from 5 s after the flood's beginning on. A message that has not arrived at the end counts
with the time until then, so that a delay which has no end yet is told too short, not left out.
    Of the flood is told how much arrived a second, as a share of what the destination takes of a
flood when nobody else sends, less what the quiet ones send.
Limits: a run ends when the flood's messages are taken, or after its time; both are told.
    ``GATEPOST_BENCH_SCALE=0.4`` makes the flood, its time, Postfix's active queue and the cap
smaller by the same factor. Queues are in memory: on a shared disk a flood delays others by its
fsync(2) alone, which no lane can mend. Connections are not kept
(smtp_connection_cache_on_demand): idle ones would take the places that such a destination has.
    Beside a lane, where the cap bounds the queue, cleanup(8) does not wait while more arrives than
leaves (in_flow_delay); with plain Postfix it does, as that is all that bounds it.
Errors: `LabError` or `LoadError` if something does not start.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import running
from bench.report import Row
from gatepost.postfix.instances.place import config_dir_of
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import Daemon, add_address, wait_until
from lab.process import run as run_command
from lab.queue_lister import listed

SCALE = float(os.environ.get("GATEPOST_BENCH_SCALE", "1"))
MESSAGES = int(60_000 * SCALE)
SECONDS = 240 * SCALE
# Half of Postfix's default, so that the flood passes it.
ACTIVE_LIMIT = int(10_000 * SCALE)
RATE = MESSAGES / SECONDS
QUIET_S = 20.0
RECOGNISED_S = 5.0
SESSIONS = 20
CONNECTIONS = 20
TAKES_S = 0.1
GOAL_RATIO = 1.5
GOAL_S = 1.0
GOAL_SHARE = 0.9
POSTFIX = "198.18.2.10"
SINK = "198.18.2.1"
OTHER_SINK = "198.18.2.2"
FLOOD_ADDRESS = "198.18.3.100"

_MAIN = {
    "disable_dns_lookups": "yes",
    "smtpd_peername_lookup": "no",
    "enable_long_queue_ids": "yes",
    "smtp_tls_loglevel": "1",
    "smtp_tls_security_level": "may",
    "smtpd_client_connection_count_limit": "0",
    "smtp_connection_cache_on_demand": "no",
    "qmgr_message_active_limit": str(ACTIVE_LIMIT),
    "mynetworks": "198.18.3.0/24",
    "resolve_numeric_domain": "yes",
}


@dataclass(frozen=True, slots=True)
class Crowd:
    """The quiet tenants.

    Attributes:
        size: How many they are.
        period_s: Each sends a message in so many seconds.
    """

    size: int
    period_s: float

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the address of each."""
        return tuple(f"198.18.3.{number}" for number in range(1, self.size + 1))

    @property
    def rate(self) -> float:
        """Return how many messages all of them send a second."""
        return self.size / self.period_s


@dataclass(frozen=True, slots=True)
class Lanes:
    """What Gatepost is told of the one that floods.

    Attributes:
        flood: Its settings beside client and sender.
        lanes: The lanes.
        main: Parameters of Postfix beside those of plain Postfix.
    """

    flood: Mapping[str, Any]
    lanes: Mapping[str, Any]
    main: Mapping[str, str] = field(default_factory=dict)


CROWD = Crowd(20, 1.0)
_BURST = {"above": "20/second", "lane": "burst"}
VARIANTS: dict[str, Lanes | None] = {
    "plain Postfix": None,
    # The cap is below the limit of the active queue, which all lanes of one instance share.
    "burst lane": Lanes(
        {"burst": _BURST, "backlog": ACTIVE_LIMIT * 3 // 4},
        {"burst": {"concurrency": 18}},
        {"in_flow_delay": "0"},
    ),
    "burst lane, own instance": Lanes(
        {"burst": _BURST}, {"burst": {"concurrency": 18, "instance": True}}
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What one run came to.

    Attributes:
        sent: Quiet messages that count: when they were sent, in Unix seconds, and their delay.
        began: When the flood began, in Unix seconds.
        delays: The delays alone, in order.
        waiting: How many of them had not arrived at the end.
        taken: Messages of the flood that Postfix took.
        refused: How often the flood was refused for now.
        rate: Messages of the flood that arrived a second.
        queued: The most messages of it that were in the queue.
        seconds: How long the flood went on.
    """

    sent: list[tuple[float, float]]
    began: float
    delays: Sequence[float]
    waiting: int
    taken: int
    refused: int
    rate: float
    queued: int
    seconds: float

    def quantile(self, share: float) -> float:
        """Return the delay that such a share of the messages does not exceed."""
        return self.delays[min(len(self.delays) - 1, int(len(self.delays) * share))]


@dataclass(frozen=True, slots=True)
class Flood:
    """How the one tenant sends.

    Attributes:
        sink: Where to.
        seconds: For how long at the most.
        messages: How many at the most.
        first: How many a second it begins with.
        last: How many a second it has grown to at its end.
        recognised_s: From how many seconds after its beginning on what the others send counts.
    """

    sink: str
    seconds: float
    messages: int
    first: float = RATE
    last: float = RATE
    recognised_s: float = RECOGNISED_S


def run() -> list[Row]:
    """Measure, and return the rows."""
    rows: list[Row] = []
    with in_memory() as directory:
        capacity = 0.0
        for number, (name, lanes) in enumerate(VARIANTS.items()):
            place = directory / f"v{number}"
            with platform(place / "alone", CROWD, lanes):
                alone = measure(place / "alone", CROWD, None)
            rows.append(quiet_row(f"{name}, no flood", alone))
            if not capacity:
                with platform(place / "capacity", CROWD, None):
                    flood = Flood(SINK, 20, MESSAGES)
                    capacity = measure(place / "capacity", None, flood).rate
                rows.append(Row("what the destination takes of a flood alone", f"{capacity:.0f}/s"))
            for sink, where in (
                (SINK, "the same destination"),
                (OTHER_SINK, "another destination"),
            ):
                there = place / where.split()[0]
                with platform(there, CROWD, lanes):
                    flooded = measure(there, CROWD, Flood(sink, SECONDS, MESSAGES))
                rows += flooded_rows(f"{name}, flood to {where}", alone, flooded, lanes)
                left = capacity - (CROWD.rate if sink == SINK else 0)
                rows.append(flood_row(flooded, left, lanes))
    return rows


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """Give a directory in the lab's memory that other accounts may enter."""
    with tempfile.TemporaryDirectory(prefix="b-", dir=os.environ["GATEPOST_LAB_DIR"]) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def platform(directory: Path, crowd: Crowd, lanes: Lanes | None) -> Iterator[None]:
    """Run Postfix, with Gatepost attached if there are lanes."""
    for address in (*crowd.addresses, FLOOD_ADDRESS):
        add_address(address)
    directory.mkdir(parents=True)
    for each in (directory, directory.parent):
        each.chmod(0o755)
    main = _MAIN if lanes is None else {**_MAIN, **lanes.main}
    postfix = PrivatePostfix(
        directory / "p", address=POSTFIX, hostname="mail.sender.example", main=main
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(postfix)
        if lanes is None:
            yield
            return
        wait_until(postfix.maillog.exists, 10, "Postfix's log")
        postfix.maillog.chmod(0o644)
        apart = (config_dir_of(lane, postfix.config_dir) for lane in lanes.lanes)
        stack.enter_context(listed(directory, postfix.config_dir, *apart))
        configuration = _configuration(crowd, lanes, postfix.maillog)
        gatepost = stack.enter_context(Gatepost(directory / "g", postfix, configuration))
        with postfix.settling():
            gatepost.command("attach")
        try:
            yield
        finally:
            _stop_instances(postfix)


def _configuration(crowd: Crowd, lanes: Lanes, maillog: Path) -> dict[str, Any]:
    quiet = {
        f"q{number}": {"clients": [f"{address}/32"], "senders": [f"q{number}.example"]}
        for number, address in enumerate(crowd.addresses)
    }
    flood = {"clients": [f"{FLOOD_ADDRESS}/32"], "senders": ["flood.example"], **lanes.flood}
    return {
        "modes": {"default": "enforce"},
        "maillog": str(maillog),
        "platform": {"sender_id": "examplesp"},
        "lanes": dict(lanes.lanes),
        "tenants": {**quiet, "flood": flood},
    }


def _stop_instances(postfix: PrivatePostfix) -> None:
    """Stop the instances that attach has made, with whatever is in their queues."""
    names = postfix.postconf("multi_instance_directories").replace(",", " ").split()
    for name in names:
        with contextlib.suppress(Exception):
            run_command(["postfix", "-c", name, "abort"])


def measure(directory: Path, crowd: Crowd | None, flood: Flood | None) -> Result:
    """Send, and return what came of it.

    Args:
        directory: For logs.
        crowd: Who sends little, or None for nobody.
        flood: How one tenant floods, or None for nobody.
    """
    logs = {sink: directory / f"sink-{sink}" for sink in (SINK, OTHER_SINK)}
    with contextlib.ExitStack() as stack:
        for sink, log in logs.items():
            stack.enter_context(_sink(sink, log))
        if crowd is not None:
            command = _senders("quiet", POSTFIX, f"[{SINK}]", str(crowd.period_s), *crowd.addresses)
            stack.enter_context(running(command))
            time.sleep(QUIET_S if flood is None else QUIET_S / 4)
        began = time.time()
        queued, sent = 0, (0, 0)
        if flood is not None:
            queued, sent = _send(directory, flood, logs[flood.sink])
        ended = time.time()
    since = began + (QUIET_S / -2 if flood is None else flood.recognised_s)
    messages, waiting = [(began, 0.0)], 0
    if crowd is not None:
        messages, waiting = _quiet(logs[SINK], crowd.period_s, since, ended)
    arrived = _arrivals(logs[flood.sink], since, ended) if flood is not None else 0
    return Result(
        messages,
        began,
        sorted(delay for _, delay in messages),
        waiting,
        *sent,
        arrived / max(1.0, ended - since),
        queued,
        ended - began,
    )


@contextlib.contextmanager
def _sink(address: str, log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.slow_sink", address, str(CONNECTIONS), str(TAKES_S)]
    add_address(address)
    daemon = Daemon([*command, str(log)], log.with_suffix(".err"))
    try:
        wait_until(log.exists, 10, "the destination to listen")
        yield
    finally:
        daemon.stop()


def _senders(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.senders", *arguments]


def _send(directory: Path, flood: Flood, sink_log: Path) -> tuple[int, tuple[int, int]]:
    """Flood; return the most that was queued, and how much was taken and refused."""
    log = directory / "flood.log"
    command = _senders(
        *("flood", POSTFIX, f"[{flood.sink}]", FLOOD_ADDRESS, str(SESSIONS)),
        *(str(flood.messages), str(flood.seconds), str(log), str(flood.first), str(flood.last)),
    )
    began = time.time()
    most = 0
    process = subprocess.Popen(command)
    try:
        while process.poll() is None and time.time() - began < flood.seconds + 5:
            time.sleep(0.5)
            taken, _ = _last(log)
            most = max(most, taken - _arrivals(sink_log, 0, time.time()))
    finally:
        process.kill()
        process.wait()
    return most, _last(log)


def _last(log: Path) -> tuple[int, int]:
    """Return how much of the flood was taken and refused so far."""
    lines = log.read_text(encoding="ascii").split("\n")[:-1] if log.exists() else []
    if not lines:
        return 0, 0
    _, taken, refused = lines[-1].split()
    return int(taken), int(refused)


def _quiet(
    log: Path, period: float, since: float, ended: float
) -> tuple[list[tuple[float, float]], int]:
    """Return quiet messages with their delays, and how many of them had not arrived."""
    arrived: set[tuple[str, int]] = set()
    found = []
    first: dict[str, float] = {}
    for line in log.read_text(encoding="ascii").splitlines():
        kind, *fields = line.split()
        if kind != "quiet":
            continue
        who, sent, at = fields[0], float(fields[1]), float(fields[2])
        first.setdefault(who, sent)
        arrived.add((who, round((sent - first[who]) / period)))
        if since <= sent <= ended:
            found.append((sent, at - sent))
    on_time = len(found)
    for who, start in first.items():
        for number in range(int((ended - start) / period)):
            sent = start + number * period
            if sent >= since and (who, number) not in arrived and ended - sent > TAKES_S:
                found.append((sent, ended - sent))
    return sorted(found), len(found) - on_time


def _arrivals(log: Path, since: float, until: float) -> int:
    """Return how many messages of the flood have arrived in a time."""
    count = 0
    for line in log.read_text(encoding="ascii").split("\n")[:-1]:
        kind, at, *number = line.split()
        if kind == "flood" and since <= float(at) <= until:
            count += int(number[0])
    return count


def quiet_row(what: str, result: Result) -> Row:
    """Return the row of quiet tenants by themselves."""
    return Row(what, _told(result))


def _told(result: Result) -> str:
    text = (
        f"median {result.quantile(0.5):.3f} s, p99 {result.quantile(0.99):.3f} s, "
        f"most {result.delays[-1]:.3f} s"
    )
    still = f"; {result.waiting} of {len(result.delays)} still queued" if result.waiting else ""
    return text + still


def flooded_rows(what: str, alone: Result, flooded: Result, lanes: Lanes | None) -> list[Row]:
    """Return the row of quiet tenants beside a flood."""
    ratio = flooded.quantile(0.99) / alone.quantile(0.99)
    beside = f"p99 {ratio:.2f} times that without a flood"
    if lanes is None:
        return [Row(what, _told(flooded), beside)]
    met = ratio <= GOAL_RATIO and flooded.quantile(0.99) < GOAL_S
    goal = f"p99 ≤ {GOAL_RATIO} times, < {GOAL_S:.0f} s"
    return [Row(what, _told(flooded), beside, goal, met)]


def flood_row(flooded: Result, left: float, lanes: Lanes | None) -> Row:
    """Return the row of the flood.

    Args:
        flooded: What came of it.
        left: Messages a second that the others leave.
        lanes: Without them there is no goal.
    """
    share = flooded.rate / left
    value = (
        f"{flooded.rate:.0f}/s arrive, {share:.0%} of what is left; {flooded.taken} taken in "
        f"{flooded.seconds:.0f} s, at most {flooded.queued} queued"
    )
    beside = f"{flooded.refused} deferred at RCPT TO" if flooded.refused else ""
    if lanes is None:
        return Row("  the flood", value, beside)
    return Row("  the flood", value, beside, f"≥ {GOAL_SHARE:.0%}", share >= GOAL_SHARE)
