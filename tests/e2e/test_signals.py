"""Signals while a real Postfix is busy: SIGHUP costs nothing, SIGTERM costs no message."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_for_exit
from lab.send import Mail, Outcome, send_many
from lab.world import World
from tests.e2e.failures import drain, meanwhile

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp"},
    "modes": {"default": "enforce"},
    "tenants": {"acme": {"logins": ["acme"], "senders": ["acme.example"]}},
}
MESSAGES = 300


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix() as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, CONFIGURATION) as running:
        running.attach()
        yield running


def mails(prefix: str) -> list[Mail]:
    forged = ["X-Tenant-ID: beta"]
    return [
        Mail("n@acme.example", "u@good.example", f"{prefix}{n}", "acme", headers=forged)
        for n in range(MESSAGES)
    ]


def check_arrived(world: World, postfix: PrivatePostfix, count: int) -> None:
    drain(postfix)
    world.fleet.wait_count(count)
    received = world.fleet.messages()
    assert all(each.headers("X-Tenant-ID") == ["acme"] for each in received)


def test_sighup_under_load_costs_no_reply(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    world.fleet.forget()
    pids = [gatepost.pid(role) for role in ("milter", "policy")]

    def hang_up(ended: threading.Event) -> None:
        while not ended.wait(0.02):
            for pid in pids:
                assert pid is not None
                os.kill(pid, signal.SIGHUP)

    with meanwhile(hang_up):
        outcome = send_many(postfix.address, mails("h"), sessions=10)
    assert outcome.replies == Counter({"250": MESSAGES})
    assert [gatepost.pid(role) for role in ("milter", "policy")] == pids
    check_arrived(world, postfix, MESSAGES)
    assert len(world.fleet.messages()) == MESSAGES


def test_sigterm_under_load_loses_nothing(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    world.fleet.forget()
    stopped = set()
    enough = threading.Event()

    def stop_again_and_again(_: threading.Event) -> None:
        # Not more often: the supervisor waits longer each time.
        try:
            for _ in range(3):
                gatepost.wait_answering()
                for role in ("milter", "policy"):
                    pid = gatepost.pid(role)
                    assert pid is not None
                    os.kill(pid, signal.SIGTERM)
                    stopped.add(pid)
                    assert wait_for_exit(pid, 20)
        finally:
            enough.set()

    sent: list[Mail] = []
    outcomes: list[Outcome] = []
    with meanwhile(stop_again_and_again):
        while not enough.is_set():
            batch = mails(f"t{len(outcomes)}-")
            outcomes.append(send_many(postfix.address, batch, sessions=10))
            sent += batch
    gatepost.wait_answering()
    assert len(stopped) == 6
    # At worst Postfix asks to come again; nobody is turned away.
    assert all(outcome.refused == {} for outcome in outcomes)
    assert {code[0] for outcome in outcomes for code in outcome.replies} <= {"2", "4", "l"}
    assert sum(len(outcome.taken) for outcome in outcomes) == len(sent)
    check_arrived(world, postfix, len(sent))
    arrived = Counter(each.message.get("Subject") for each in world.fleet.messages())
    assert set(arrived) == {mail.subject for mail in sent}
    twice = {subject for subject, count in arrived.items() if count > 1}
    assert twice <= {subject for outcome in outcomes for subject in outcome.uncertain}
