"""Signals while a real Postfix is busy: SIGHUP costs nothing, SIGTERM costs no message."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, send_many
from lab.world import World

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


@contextmanager
def meanwhile(action: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something on another thread while the block runs; it is told when the block has ended."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            action(ended)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failures == []


def check_arrived(world: World, postfix: PrivatePostfix, count: int) -> None:
    postfix.flush()
    postfix.wait_empty_queue(60)
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

    def stop_again_and_again(ended: threading.Event) -> None:
        # Not more often: the supervisor waits longer each time.
        for _ in range(3):
            for role in ("milter", "policy"):
                pid = gatepost.pid(role)
                if pid is not None:
                    os.kill(pid, signal.SIGTERM)
                    stopped.add(pid)
            gatepost.wait_answering()
            ended.wait(0.2)

    with meanwhile(stop_again_and_again):
        outcome = send_many(postfix.address, mails("t"), sessions=10)
    assert len(stopped) == 6
    # At worst Postfix asks to come again; nobody is turned away.
    assert outcome.refused == {}
    assert {code[0] for code in outcome.replies} <= {"2", "4", "l"}
    assert len(outcome.taken) == MESSAGES
    check_arrived(world, postfix, MESSAGES)
    arrived = Counter(each.message.get("Subject") for each in world.fleet.messages())
    assert set(arrived) == {mail.subject for mail in mails("t")}
    twice = {subject for subject, count in arrived.items() if count > 1}
    assert twice <= outcome.uncertain
