"""Shaping and warm-up on a real Postfix: what is slowed, what is not, and how it comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import run, wait_until
from lab.send import Mail, queue_id, send
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

SLOW = "limits.example"
RULES = """\
rules:
  too-many:
    classes: [rate-limited]
    count: 3
    within: 5m
    to: suspend
    lasts: 4s
    step: 1s
"""
CAP = 3
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "off", "lane": "enforce", "sender": "enforce"},
    "shaping": {"rules": "rules.yaml"},
    "lanes": {
        "bulk": {"concurrency": 10},
        "fast": {"concurrency": 10},
        "fresh": {"warmup": {"days": [CAP], "lane": "fast"}},
    },
    "tenants": {
        "acme": {"logins": ["acme"], "senders": ["acme.example"], "lane": "bulk"},
        "globex": {"logins": ["globex"], "senders": ["globex.example"], "lane": "fast"},
        "initech": {"logins": ["initech"], "senders": ["initech.example"], "lane": "fresh"},
    },
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World((Kind.GOOD, Kind.LIMITS)) as world:
        yield world


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    main = {"minimal_backoff_time": "2s", "maximal_backoff_time": "2s", "queue_run_delay": "1s"}
    with world.postfix(main=main, users=("acme", "globex", "initech")) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    wait_until(postfix.maillog.exists, 10, "Postfix's log")
    postfix.maillog.chmod(0o644)
    CONFIGURATION["lanes"]["fresh"]["warmup"]["start"] = time.strftime("%Y-%m-%d", time.gmtime())
    gatepost = world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)})
    (Path(gatepost.directory) / "rules.yaml").write_text(RULES, encoding="utf-8")
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


def logged(gatepost: Gatepost, pattern: str) -> list[str]:
    return [line for line in gatepost.log_lines() if re.search(pattern, line)]


def mail(tenant: str, subject: str, recipient: str = f"u@{SLOW}") -> Mail:
    return Mail(f"news@{tenant}.example", recipient, subject, login=tenant)


def test_replies_slow_one_lane_towards_one_provider_and_it_comes_back(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    for number in range(3):
        send(postfix.address, mail("acme", f"limited {number}", f"limited{number}@{SLOW}"))
    wait_until(lambda: logged(gatepost, "shaping lane=bulk"), 10, "the pair to be slowed")
    run(["postsuper", "-c", postfix.config_dir, "-d", "ALL", "deferred"])
    time.sleep(2)
    identifier = queue_id(send(postfix.address, mail("acme", "held")))
    print(postfix.wait_log(rf"{identifier}: to=.*status=deferred.*")[0])
    send(postfix.address, mail("acme", "elsewhere", "u@good.example"))
    send(postfix.address, mail("globex", "by another lane"))
    world.fleet.wait_subject("elsewhere")
    world.fleet.wait_subject("by another lane")
    print("\n".join(gatepost.log_lines()[-20:]))
    world.fleet.wait_subject("held")
    print("\n".join(postfix.log_lines()[-60:]))
