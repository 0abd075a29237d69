"""The survey: processor time and memory a probe, with 1,500 and more in flight.

Purpose: tell how long many servers take, and what bounds that.
Format: servers with a key and certificate of their own each, in another process, which answer after
a delay, so that probes overlap as they do on the Internet. The surveying process is measured alone:
whole (pacer, intents and results in SQLite, certificates judged), the prober alone, the prober on
asyncio's loop, and what one would write with asyncio's ``start_tls``, whose TLS keeps a buffer of
256 KiB for each connection. Pacing is measured without servers.
Limits: the servers take about as much processor time as the survey, so two processors are needed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Row
from gatepost.runtime.tls.survey import MAX_WAITING
from gatepost.tls.survey.model import Target
from gatepost.tls.survey.pacing import Pace, Pacer
from lab.ca import Authority
from lab.swarm import Temper
from lab.swarm_fleet import SwarmFleet

SERVERS = 4_000
IN_FLIGHT = 1_800
# Five answers make up a probe: some 3 s in all.
DELAY_S = 0.6
GOAL_MS = 1.5
GOAL_RATE = 400
GOAL_MIB = 1024
GOAL_AT_ONCE = 1_500
PACED = 600_000
ALL = 1_800_000


def run() -> list[Row]:
    """Measure, and return the rows."""
    parent = os.environ.get("GATEPOST_LAB_DIR")
    with tempfile.TemporaryDirectory(dir=parent) as name:
        directory = Path(name)
        authority = Authority(directory / "ca")
        fleet = SwarmFleet(
            directory / "swarm", authority, {Temper.GOOD: SERVERS}, delay_s=DELAY_S,
            own_certificates=True,
        )  # fmt: skip
        with fleet:
            order = {
                "ca_file": str(authority.ca_file),
                "store": f"sqlite:///{directory}/survey.db",
                "in_flight": IN_FLIGHT,
                "targets": [(each.address, each.host) for each in fleet.strangers],
            }
            found = {how: _measure(how, order) for how in ("survey", "probe", "probe-asyncio")}
            found["start-tls"] = _measure("start-tls", order)
    return [*_rows(found), *_pacing()]


def _measure(how: str, order: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.survey_client"],
        input=json.dumps(order | {"how": how}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{how}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if found["verdicts"] != {"tls": SERVERS}:
        raise RuntimeError(f"{how}: {found['verdicts']}")
    return found


def _rows(found: dict[str, dict[str, Any]]) -> list[Row]:
    ms = {how: each["cpu_seconds"] / SERVERS * 1e3 for how, each in found.items()}
    ours, whole = ms["survey"], found["survey"]
    a_second = 1e3 / ours
    return [
        Row(
            f"survey of {SERVERS:,} servers, without DNS",
            f"{ours:.2f} ms of CPU a probe",
            f"{ours / ms['start-tls']:.2f} × start_tls of asyncio, which keeps nothing",
            f"≤ {GOAL_MS:g} ms",
            ours <= GOAL_MS,
        ),
        Row(
            "probes a second of one processor's time",
            f"{a_second:.0f}",
            f"{SERVERS / whole['seconds']:.0f} a second in this run, with its delays",
            f"≥ {GOAL_RATE}",
            a_second >= GOAL_RATE,
        ),
        Row(
            "probes in flight",
            str(whole["at_once"]),
            "",
            f"≥ {GOAL_AT_ONCE}",
            whole["at_once"] >= GOAL_AT_ONCE,
        ),
        Row(
            "memory, all included",
            f"{whole['resident_mib']:.0f} MiB",
            f"{found['start-tls']['resident_mib']:.0f} MiB with start_tls of asyncio",
            f"< {GOAL_MIB} MiB",
            whole["resident_mib"] < GOAL_MIB,
        ),
        Row(
            "of it the probe alone",
            f"{ms['probe']:.2f} ms",
            f"{ms['probe-asyncio']:.2f} ms on asyncio's loop, {ms['start-tls']:.2f} ms start_tls",
        ),
        Row(
            "memory of the probes alone",
            f"{found['probe']['resident_mib']:.0f} MiB",
            f"{found['probe-asyncio']['resident_mib']:.0f} MiB on asyncio's loop",
        ),
        Row("1.8 million servers, if only this processor were the bound",
            f"{ALL * ours / 3.6e6:.1f} h", "pacing below"),
    ]  # fmt: skip


def _pacing() -> list[Row]:
    """Measure the pacer alone, on a clock of its own."""
    code = "from bench.survey import paced; paced()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(done)
    return [
        Row(
            f"pacing {PACED:,} targets, 1 in 20 of one provider",
            f"{found['us']:.1f} µs of CPU a target",
            f"{found['mib']:.0f} MiB, {MAX_WAITING:,} of them waiting",
        ),
        Row(
            f"as long as that takes at {GOAL_RATE} a second",
            f"{found['most_h']:.1f} h for all but that provider's",
            f"{found['left_h'] / 24:.0f} days more for all of that provider's",
        ),
    ]


def paced() -> None:
    """Pace made-up targets as the scheduler does, and print what it took.

    1 in 20 is one provider's, as some providers have thousands of servers; the others are all
    different. Targets come and go at the rate that the survey reaches on one processor.
    """
    draw = random.Random(7)  # noqa: S311 - no secret
    pacer = Pacer(Pace(), lambda host: host.partition(".")[2])
    cpu, now, taken, most_mib = time.process_time(), 0.0, 0, 0.0
    numbers = iter(range(PACED))
    others = PACED - PACED // 20
    while taken < others:
        while len(pacer) < MAX_WAITING and (number := next(numbers, None)) is not None:
            pacer.add(_made_up(draw, number))
        now += 1 / GOAL_RATE
        target = pacer.take(now)
        if target is not None:
            pacer.ended(target.address)
            taken += 1
        if taken % 10_000 == 0:
            most_mib = max(most_mib, _resident_mib())
    left_s = len(pacer) * Pace().provider_s
    json.dump(
        {"us": (time.process_time() - cpu) / taken * 1e6, "mib": most_mib,
         "most_h": now / 3600, "left_h": left_s / 3600}, sys.stdout,
    )  # fmt: skip


def _made_up(draw: random.Random, number: int) -> Target:
    host = f"mx{draw.randrange(50)}.big" if number % 20 == 0 else f"mx.d{number}.x"
    return Target(".".join(str(draw.randrange(1, 224)) for _ in range(4)), host)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
