"""Pause, hold, release and purge on a real Postfix: exactly what is meant, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import smtplib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.cli.tenant.queue_work import wait_in_force
from gatepost.decisions.status import is_deferred_for_pause
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.status import Part, Pause, Queued, Scope
from gatepost.settings import Loader
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_statuses
from gatepost.store.tenant_status import TenantStatusStore
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.postfix import Queued as Entry
from lab.process import wait_until
from lab.send import Mail, queue_id, send
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TENANTS = ("acme", "shop", "other")
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "off", "sender": "enforce", "lane": "enforce"},
    # One message a second, so that mail waits in the active queue.
    "lanes": {"slow": {"rate_delay": "1s"}},
    "tenants": {
        name: {
            "logins": [name],
            "senders": [f"{name}.example"],
            "feedback": {"campaign": "X-Campaign"},
            # In the message book, or known by its header alone.
            "modes": {"feedback": "off" if name == "other" else "enforce"},
            **({"lane": "slow"} if name == "acme" else {}),
        }
        for name in TENANTS
    },
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World((Kind.GOOD, Kind.BUSY)) as world:
        yield world


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    main = {"enable_long_queue_ids": "yes", "smtpd_client_connection_count_limit": "0"}
    with world.postfix(main=main, users=TENANTS) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    gatepost = world.gatepost(postfix, CONFIGURATION)
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


@pytest.fixture
def events(gatepost: Gatepost) -> Iterator[EventStore]:
    with contextlib.closing(open_events(state(gatepost))) as opened:
        yield opened


@pytest.fixture
def statuses(gatepost: Gatepost) -> Iterator[TenantStatusStore]:
    with contextlib.closing(open_statuses(state(gatepost))) as opened:
        yield opened


@pytest.fixture(autouse=True)
def empty_queue(
    postfix: PrivatePostfix, gatepost: Gatepost, statuses: TenantStatusStore
) -> Iterator[None]:
    yield
    subprocess.run(["postsuper", "-c", postfix.config_dir, "-d", "ALL"], check=True)
    for name in TENANTS:
        statuses.resume(name, 3.0, "x", "")
    wait_in_force(Loader(gatepost.config).load(), statuses)


def run(gatepost: Gatepost, *words: str, status: int = 0) -> Any:
    """Run a command in this process, which spares the start of another; return its JSON."""
    words = (*words, "--json", "--config", str(gatepost.config))
    result = CliRunner().invoke(command_line(words), words)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout) if status < 2 else None


def state(gatepost: Gatepost) -> str:
    return f"sqlite:///{gatepost.directory}/state/gatepost.db"


def mail(tenant: str, number: int, domain: str = "good.example", campaign: str = "") -> Mail:
    headers = [f"X-Campaign: {campaign}"] if campaign else []
    # Another recipient for each: Postfix remembers the answer for the last pair.
    subject = f"{tenant} {campaign} {number}"
    return Mail(
        f"news@{tenant}.example", f"u{number}@{domain}", subject, login=tenant, headers=headers
    )


def told(events: EventStore, kind: EventKind, tenant: str) -> list[Event]:
    return [each.event for each in events.after(0, 10**6, tenant=tenant, kinds=[kind])]


def of(postfix: PrivatePostfix, tenant: str) -> list[Entry]:
    return [each for each in postfix.queue() if each.sender == f"news@{tenant}.example"]


def on_hold(postfix: PrivatePostfix, tenant: str) -> int:
    return sum(each.queue == "hold" for each in of(postfix, tenant))


def wait_queues(postfix: PrivatePostfix, **wanted: int) -> None:
    wait_until(
        lambda: Counter(each.queue for each in postfix.queue()) == Counter(wanted),
        20,
        f"queues {wanted}",
    )


def refusal(postfix: PrivatePostfix, message: Mail) -> str:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(postfix.address, message)
    return str(caught.value.smtp_error)


def fill(postfix: PrivatePostfix) -> None:
    """Put two messages of two campaigns of each tenant into the deferred queue."""
    number = 0
    for tenant in TENANTS:
        for campaign in ("spring", "autumn"):
            for _ in range(2):
                number += 1
                send(postfix.address, mail(tenant, number, "busy.example", campaign))
    wait_queues(postfix, deferred=12)


def campaigns(postfix: PrivatePostfix) -> Counter[str]:
    """Return how many messages wait, by tenant and campaign, as they stand in the queue files."""
    found: Counter[str] = Counter()
    for each in postfix.queue():
        show = ["postcat", "-c", str(postfix.config_dir), "-hq", each.queue_id]
        header = subprocess.run(show, capture_output=True, check=True, text=True).stdout
        label = next(
            (line[12:] for line in header.splitlines() if line.startswith("X-Campaign: ")), ""
        )
        found[f"{each.sender.partition('@')[2].partition('.')[0]} {label}"] += 1
    return found


def test_a_pause_stops_queued_mail_and_a_resume_delivers_all_of_it_once(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, events: EventStore
) -> None:
    world.fleet.forget()
    for number in range(6):
        send(postfix.address, mail("acme", number))
    world.fleet.wait_message(lambda each: each.sender == "news@acme.example")
    done = run(gatepost, "tenant", "pause", "acme", "--reason", "wrong prices")["queue"]
    assert done["moved"] >= 3
    assert done["active"] == done["not_stopped"] == 0
    # What smtp(8) had in hand is through; all the rest is out of the active queue.
    wait_until(lambda: {each.queue for each in of(postfix, "acme")} <= {"deferred"}, 10, "deferral")
    waiting = {each.queue_id for each in of(postfix, "acme")}
    assert len(waiting) >= 3
    gatepost.kill("policy")
    gatepost.start("policy")
    # Others go on, and whatever Postfix tries of the tenant is deferred.
    send(postfix.address, mail("shop", 1))
    world.fleet.wait_message(lambda each: each.sender == "news@shop.example")
    postfix.flush()
    wait_until(
        lambda: all(
            each.queue == "deferred" and is_deferred_for_pause(each.reason, "acme")
            for each in of(postfix, "acme")
        ),
        20,
        "the deferral of all of it",
    )
    assert {each.queue_id for each in of(postfix, "acme")} == waiting
    assert "sending of acme is paused: wrong prices" in refusal(postfix, mail("acme", 9))
    done = run(gatepost, "tenant", "resume", "acme")["queue"]
    assert (done["tried"], done["on_hold"]) == (len(waiting), 0)
    # They wait for their lane in qmgr's memory now, which must forget them before they are let go.
    held = run(gatepost, "tenant", "hold", "acme")["held"]
    assert held
    assert run(gatepost, "tenant", "release", "acme")["released"] == held
    # Not by the queue alone: a message may move from a directory not looked at yet to one that was.
    world.fleet.wait_count(7)
    postfix.wait_empty_queue()
    subjects = Counter(each.message["Subject"] for each in world.fleet.messages())
    assert subjects == Counter([*(f"acme  {number}" for number in range(6)), "shop  1"])
    assert [each.details["to"] for each in told(events, EventKind.STATUS_CHANGED, "acme")][:2] == [
        "paused-all",
        "active",
    ]


def test_a_purge_deletes_one_campaign_of_one_tenant(
    postfix: PrivatePostfix, gatepost: Gatepost, events: EventStore
) -> None:
    fill(postfix)
    every = Counter({f"{t} {c}": 2 for t in TENANTS for c in ("spring", "autumn")})
    counted = run(gatepost, "tenant", "purge", "shop", "--campaign", "spring", status=1)
    assert (counted["messages"], counted["deleted"]) == (2, None)
    assert counted["campaigns"] == [{"campaign": "spring", "messages": 2}]
    assert counted["domains"] == [{"domain": "busy.example", "messages": 2}]
    assert campaigns(postfix) == every
    words = ("--reason", "wrong prices", "--yes")
    done = run(gatepost, "tenant", "purge", "shop", "--campaign", "spring", *words)
    assert (done["deleted"], done["gone"]) == (2, 0)
    del every["shop spring"]
    assert campaigns(postfix) == every
    # The message book does not have this one's; its header tells.
    done = run(gatepost, "tenant", "purge", "other", "--campaign", "autumn", "--yes")
    assert done["deleted"] == 2
    del every["other autumn"]
    assert campaigns(postfix) == every
    begun, ended = told(events, EventKind.QUEUE_PURGED, "shop")
    assert (begun.details["state"], begun.details["count"]) == ("begun", 2)
    assert (ended.details["state"], ended.details["count"]) == ("done", 2)
    assert ended.details["campaign"] == "spring"
    assert ended.details["reason"] == "wrong prices"
    assert run(gatepost, "tenant", "purge", "shop", "--campaign", "nix")["messages"] == 0


def test_hold_and_release_leave_alone_what_others_hold(
    postfix: PrivatePostfix, gatepost: Gatepost, events: EventStore
) -> None:
    fill(postfix)
    by_operator = of(postfix, "shop")[0].queue_id
    postsuper = ["postsuper", "-c", str(postfix.config_dir)]
    subprocess.run([*postsuper, "-h", by_operator], check=True)
    assert run(gatepost, "tenant", "hold", "shop")["held"] == 3
    assert Counter(each.queue for each in of(postfix, "shop")) == {"hold": 4}
    assert {each.queue for each in of(postfix, "acme")} == {"deferred"}
    gone = next(each.queue_id for each in of(postfix, "shop") if each.queue_id != by_operator)
    subprocess.run([*postsuper, "-d", gone], check=True)
    done = run(gatepost, "tenant", "release", "shop", "--reason", "looked at it")
    assert (done["released"], done["gone"]) == (2, 1)
    assert [each.queue_id for each in of(postfix, "shop") if each.queue == "hold"] == [by_operator]
    (released,) = told(events, EventKind.QUEUE_RELEASED, "shop")
    assert (released.details["count"], released.details["reason"]) == (2, "looked at it")
    assert run(gatepost, "tenant", "release", "shop")["released"] == 0


def test_the_pause_of_a_domain_and_of_a_campaign(
    postfix: PrivatePostfix, gatepost: Gatepost, statuses: TenantStatusStore
) -> None:
    fill(postfix)
    reason = ("--reason", "they asked")
    done = run(gatepost, "tenant", "pause", "shop", "--domain", "Busy.Example", *reason)["queue"]
    assert done["held"] == 4
    assert "to busy.example is paused" in refusal(postfix, mail("shop", 1, "busy.example"))
    assert queue_id(send(postfix.address, mail("shop", 2)))
    done = run(gatepost, "tenant", "pause", "acme", "--campaign", "spring", *reason)["queue"]
    assert done["held"] == 2
    assert "campaign spring of acme" in refusal(postfix, mail("acme", 3, campaign="spring"))
    assert queue_id(send(postfix.address, mail("acme", 4, campaign="autumn")))
    run(gatepost, "tenant", "release", "shop", status=2)
    done = run(gatepost, "tenant", "resume", "shop", "--domain", "busy.example")["queue"]
    assert (done["released"], done["on_hold"]) == (4, 0)
    assert on_hold(postfix, "acme") == 2
    # As on another node: the store has the wish, and this does it.
    command = [sys.executable, "-m", "gatepost", "tenant", "apply", "--watch"]
    with subprocess.Popen([*command, "--config", str(gatepost.config)]) as watch:
        pause = Pause(Scope.CAMPAIGN, "x", 1.0, queued=Queued.HOLD, campaign="autumn")
        statuses.pause("other", pause)
        wait_until(lambda: on_hold(postfix, "other") == 2, 20, "the hold")
        statuses.resume("other", 2.0, "x", "", Part("autumn"))
        statuses.resume("acme", 2.0, "x", "", Part("spring"))
        wait_until(lambda: not any(map(partial(on_hold, postfix), TENANTS)), 20, "the release")
        watch.terminate()
        assert watch.wait(20) == 0
    assert run(gatepost, "tenant", "apply") == []
