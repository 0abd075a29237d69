"""Shaping and warm-up on a real Postfix: what is slowed, what is not, and how it comes back."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gatepost.store.open import open_lanes
from gatepost.traffic.warmup import day_of
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
    lasts: 3s
    step: 1s
"""
CAP = 4
TODAY = time.strftime("%Y-%m-%d", time.gmtime())
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "off", "lane": "enforce", "sender": "enforce", "tls": "enforce"},
    "shaping": {"rules": "rules.yaml"},
    # What a destination lacks bounces; what is held back must not.
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "lanes": {
        "bulk": {"concurrency": 10},
        "fast": {"concurrency": 10},
        "fresh": {"warmup": {"start": TODAY, "days": [CAP], "lane": "fast"}},
    },
    "tenants": {
        name: {"logins": [name], "senders": [f"{name}.example"], "lane": lane, **more}
        for name, lane, more in (
            ("acme", "bulk", {"profile": "private"}),
            ("globex", "fast", {}),
            ("initech", "fresh", {"profile": "private"}),
        )
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
    gatepost = world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)})
    (gatepost.directory / "rules.yaml").write_text(RULES, encoding="utf-8")
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


def mail(tenant: str, subject: str, recipient: str = f"u@{SLOW}") -> Mail:
    return Mail(f"news@{tenant}.example", recipient, subject, login=tenant)


def attempt(postfix: PrivatePostfix, message: Mail) -> tuple[str, str, str]:
    """Send a message, and return queue id, service and outcome of its first attempt."""
    identifier = queue_id(send(postfix.address, message))
    found = postfix.wait_log(rf" postfix/(\S+)/smtp\[\d+\]: {identifier}: to=<.* status=(.*)")
    return identifier, found[1], found[2]


def logged(gatepost: Gatepost, pattern: str) -> list[str]:
    return [line for line in gatepost.log_lines() if re.search(pattern, line)]


def test_replies_slow_one_lane_towards_one_provider_and_it_comes_back(
    postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    for number in range(3):
        send(postfix.address, mail("acme", f"limited {number}", f"limited{number}@{SLOW}"))
    wait_until(lambda: logged(gatepost, "shaping lane=bulk provider=limits"), 10, "the pair")
    run(["postsuper", "-c", postfix.config_dir, "-d", "ALL", "deferred"])
    held: list[str] = []

    def is_held() -> bool:
        identifier, service, outcome = attempt(postfix, mail("acme", f"held {time.time()}"))
        assert service == "gp-bulk-private"
        if outcome.startswith("deferred (held back: this lane is slowed down"):
            held.append(identifier)
        return bool(held)

    wait_until(is_held, 10, "a delivery to be held back")
    (slowed,) = gatepost.json("shaping", "list", status=1)["slowed"]
    assert (slowed["lane"], slowed["provider"], slowed["rate_per_minute"]) == ("bulk", SLOW, 0)
    # The lane goes on to others, and other lanes to the provider.
    assert attempt(postfix, mail("acme", "elsewhere", "u@good.example"))[2].startswith("sent")
    assert attempt(postfix, mail("globex", "by another lane"))[1:] == (
        "gp-fast-standard",
        "sent (250 2.0.0 taken)",
    )
    # Postfix itself says why, before it says that it waits.
    assert re.search(
        "temporary error: lane bulk to limits.example is suspended and free again at",
        "\n".join(postfix.log_lines()),
    )
    postfix.wait_log(rf"gp-bulk-private/smtp\[\d+\]: {held[0]}: to=<.* status=sent")
    wait_until(lambda: logged(gatepost, "shaping-over lane=bulk"), 10, "it to be over")
    gatepost.json("shaping", "list")


def test_what_an_operator_slows_goes_out_at_even_distances_until_it_is_lifted(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    pair, distance_s = ("fast", "limits.example"), 0.4
    rate = f"{60 / distance_s:g}/minute"
    gatepost.command("shaping", "slow", *pair, "--to", rate, "--for", "1h", "--reason", "test")

    def is_slowed() -> bool:
        # The second one has to wait for its turn, and none is left behind.
        send(postfix.address, mail("globex", "probe"))
        attempt(postfix, mail("globex", "probe"))
        return bool(logged(gatepost, "slowed lane=fast"))

    wait_until(is_slowed, 10, "a delivery to wait")
    subjects = [f"even {number}" for number in range(4)]
    for subject in subjects:
        send(postfix.address, mail("globex", subject))
    times = sorted(world.fleet.wait_subject(subject).at for subject in subjects)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    # Each waits in a process of its own, which the system may wake a little late.
    assert sum(gaps) > 0.8 * distance_s * len(gaps), gaps
    gatepost.command("shaping", "lift", *pair)


def test_what_is_above_a_warm_up_takes_the_other_lane(
    postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    services: list[str] = []
    state = f"sqlite:///{gatepost.directory}/state/gatepost.db"

    def sent() -> int:
        with contextlib.closing(open_lanes(state)) as store:
            return store.sent_on(day_of(time.time())).get("lane fresh", 0)

    for number in range(CAP + 1):
        _, service, outcome = attempt(
            postfix, mail("initech", f"warm {number}", f"w{number}@good.example")
        )
        assert outcome.startswith("sent")
        services.append(service)
        if service == "gp-fresh-private":
            wait_until(lambda: sent() == len(services), 10, "the log to be read")
    # First the one lane, then the other, and the profile is kept.
    by_fresh = services.count("gp-fresh-private")
    assert 0 < by_fresh <= CAP
    assert services == ["gp-fresh-private"] * by_fresh + ["gp-fast-private"] * (
        len(services) - by_fresh
    )
    assert logged(gatepost, f'warmup-over of="lane fresh" day=1 cap={CAP} ')
    assert sent() == by_fresh
    (warmup,) = gatepost.json("warmup", "show", status=1)["warmups"]
    assert (warmup["day"], warmup["cap"], warmup["sent"]) == (1, CAP, by_fresh)
