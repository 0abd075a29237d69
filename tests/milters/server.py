"""The real milter over a configuration made by hand: what `process.Milter` starts.

libmilter can be run once in a process, so it gets one of its own. Commands come as JSON lines on
standard input, an answer goes as one JSON line to standard output.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gatepost.decisions.actions import Admission, DeleteRecipient, Reject
from gatepost.decisions.facts import MessageFacts
from gatepost.errors import PolicyUnavailable
from gatepost.modes import Observation
from gatepost.runtime.log import set_up
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import PlatformLogin, ReturnPath
from milters import listen
from milters.adapter import GatepostMilter
from milters.context import Shared, Views
from tests.world import ENFORCE, NOW, OBSERVE, OFF, snapshot, tenant

ACME = tenant(
    "acme",
    senders=("acme.example",),
    logins=("acme",),
    return_path=ReturnPath.TOKEN,
    campaign_header="x-campaign",
    check_from=True,
)
SHOP = tenant("shop", senders=("shop.example",), logins=("shop",), certificates=("aa:bb",))
NET = tenant("net", senders=("net.example",), clients=("2001:db8::/32", "203.0.113.0/24"))
DOOR = tenant("door", senders=("door.example",), listeners=("DOOR",))
TENANTS = (ACME, SHOP, NET, DOOR)
LOGINS = (PlatformLogin("mailer", frozenset({"acme"})),)


def world(modes: Any) -> Snapshot:
    return snapshot(*(replace(each, modes=modes) for each in TENANTS), logins=LOGINS, modes=modes)


WORLDS = {"enforce": world(ENFORCE), "observe": world(OBSERVE), "off": world(OFF)}


class State:
    """What tests can change and look at."""

    def __init__(self, log: io.StringIO) -> None:
        self.log = log
        self.counts: Counter[str] = Counter()
        self.observed: list[Observation] = []
        self.reset()

    def reset(self) -> None:
        self.world = WORLDS["enforce"]
        self.fault = ""
        self.policy = "admits"
        self.log.seek(0)
        self.log.truncate()
        self.counts.clear()
        self.observed.clear()

    def current(self) -> Snapshot:
        if self.fault == "configuration":
            raise RuntimeError("no configuration\nin two lines")
        return self.world

    def clock(self) -> float:
        if self.fault == "clock":
            raise RuntimeError("the clock\nhas stopped")
        return NOW

    def record(self, observation: Observation) -> None:
        if self.fault == "recorder":
            raise RuntimeError("recorder")
        self.observed.append(observation)

    def count(self, verdict: str) -> None:
        self.counts[verdict] += 1

    def admit(self, tenant_id: str, facts: MessageFacts, _campaign: str) -> Admission:
        if self.policy == "away":
            raise PolicyUnavailable("policy server: no such file")
        if self.policy == "refuses":
            text = f"100% no: {tenant_id} {facts.queue_id} {facts.recipients[0]}"
            return Admission(Reject("553", "5.7.1", text))
        if self.policy == "deletes":
            return Admission(edits=(DeleteRecipient(facts.recipients[0]),))
        if self.policy == "defers":
            return Admission(Reject("450", "4.7.1", "later"))
        return Admission()


def answer(state: State, shared: Shared, command: dict[str, str]) -> dict[str, Any]:
    match command:
        case {"do": "reset"}:
            state.reset()
        case {"do": "world", "name": name}:
            state.world = WORLDS[name]
        case {"do": "fault", "name": name}:
            state.fault = name
        case {"do": "policy", "name": name}:
            state.policy = name
        case {"do": "report"}:
            # Not wait_idle, which is for a stop: it counts no further messages.
            changed = shared.in_flight._changed
            with changed:
                idle = changed.wait_for(lambda: not shared.in_flight.count, 10)
            return {
                "idle": idle,
                "in_flight": shared.in_flight.count,
                "log": state.log.getvalue().splitlines(),
                "counts": dict(state.counts),
                "observed": [asdict(each) for each in state.observed],
                "threads": threading.active_count(),
                "resident_kib": _resident_kib(),
            }
        case _:
            raise ValueError(command)
    return {}


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main(path: Path) -> None:
    log = io.StringIO()
    set_up("milter", stream=log)
    state = State(log)
    shared = Shared(Views(state.current), state, state.admit, state.count, state.clock)
    GatepostMilter.shared = shared
    listen.register(GatepostMilter)
    listen.open_socket(path, None)
    threading.Thread(target=listen.serve, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(state, shared, json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
