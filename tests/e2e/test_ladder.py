"""The ladder on a real Postfix: slowed down, paused and resumed, while the back role is killed."""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_statuses
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import Mail, queue_id, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, World
from tests.e2e.conftest import wait_delivery

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIGURATION: dict[str, Any] = {
    "platform": {"bounce_domain": BOUNCE_DOMAIN, "logins": {"app": {"may_act_as": ["*"]}}},
    "modes": {"default": "enforce"},
    "lanes": {"bulk": {"concurrency": 5}},
    "ladder": {"lane": "bulk"},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "return_path": "token",
            "feedback": {
                "campaign": "X-Campaign",
                "mail_type": "X-Mail-Type",
                "marketing": ["newsletter"],
            },
        },
        "beta": {"logins": ["beta"], "senders": ["beta.example"]},
    },
}
USERS = ("acme", "beta", "app")


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(main={"enable_long_queue_ids": "yes"}, users=USERS) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    wait_until(postfix.maillog.exists, 10, "Postfix's log")
    postfix.maillog.chmod(0o644)
    with world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)}) as running:
        running.attach()
        yield running


@pytest.fixture(scope="module")
def events(gatepost: Gatepost) -> Iterator[EventStore]:
    url = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    with contextlib.closing(open_events(url)) as opened:
        yield opened


def mail(subject: str, kind: str = "receipt", to: Kind = Kind.GOOD, **changes: Any) -> Mail:
    fields = {"sender": "news@acme.example", "login": "acme", **changes}
    headers = [f"X-Mail-Type: {kind}", "X-Campaign: spring"]
    if fields["login"] == "app":
        headers.append("X-Tenant-ID: acme")
    return Mail(recipient=f"u@{to}.example", subject=subject, headers=headers, **fields)


def reply(message: Mail) -> str:
    try:
        return send(ADDRESS, message)
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error.decode()}"


def wait_reply(message: Mail, start: str) -> str:
    seen = [""]

    def is_answered() -> bool:
        seen[0] = reply(message)
        return seen[0].startswith(start)

    # A change is in force a second after it was stored; a busy machine may take longer.
    wait_until(is_answered, 10, f"a reply {start}")
    return seen[0]


def complain(events: EventStore, first: int, last: int, name: str = "acme") -> None:
    """Let so many of 1,000 recipients at a provider that reports complain."""
    kinds = [EventKind.DELIVERED] * 1000 if first == 0 else []
    kinds += [EventKind.COMPLAINED] * (last - first)
    events.add(
        [
            Event(f"{name}-{first}-{n}", kind, time.time(), name, provider="yahoodns.net")
            for n, kind in enumerate(kinds)
        ]
    )


def step_of(gatepost: Gatepost, name: str = "acme") -> str:
    url = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    with contextlib.closing(open_statuses(url)) as store:
        return store.find(name).step.keyword


def wait_step(gatepost: Gatepost, step: str, name: str = "acme") -> None:
    wait_until(lambda: step_of(gatepost, name) == step, 30, f"step {step}")


def of_kind(events: EventStore, kind: EventKind, name: str = "acme") -> list[Event]:
    return [each.event for each in events.after(0, 10_000, tenant=name, kinds=[kind])]


def test_what_the_log_tells_becomes_events(
    gatepost: Gatepost, postfix: PrivatePostfix, events: EventStore
) -> None:
    sent = queue_id(send(ADDRESS, mail("delivered", "newsletter")))
    refused = queue_id(send(ADDRESS, mail("refused", to=Kind.REFUSES)))
    wait_until(lambda: of_kind(events, EventKind.BOUNCED), 20, "the bounce")
    wait_until(lambda: of_kind(events, EventKind.DELIVERED), 20, "the delivery")
    (delivered,) = of_kind(events, EventKind.DELIVERED)
    assert (delivered.queue_id, delivered.recipient) == (sent, "u@good.example")
    assert (delivered.sender, delivered.campaign, delivered.mail_type) == (
        "news@acme.example",
        "spring",
        "newsletter",
    )
    assert delivered.details["relay"] == "mx.good.example[198.18.1.1]"
    assert delivered.details["tls"] == "encrypted"
    # The notice that Postfix sends to the return path tells of the same failure.
    notice = postfix.wait_log(rf"{refused}: sender non-delivery notification: (\w+)")[1]
    postfix.wait_log(rf"qmgr\[\d+\]: {notice}: removed")
    new = gatepost.directory / "intake" / "new"
    wait_until(lambda: not list(new.iterdir()), 20, "the notice to be dealt with")
    (bounced,) = of_kind(events, EventKind.BOUNCED)
    assert bounced.queue_id == refused
    assert bounced.details["class"]
    (rates,) = (
        each
        for each in gatepost.json("feedback", "rates", "--by", "mail-type")["rates"]
        if each["mail-type"] == "newsletter"
    )
    assert rates["delivered"] == 1


def test_slowed_down_paused_and_resumed(
    gatepost: Gatepost, postfix: PrivatePostfix, events: EventStore
) -> None:
    waiting = queue_id(send(ADDRESS, mail("waiting", to=Kind.DEAD)))
    assert wait_delivery(postfix, waiting).service == ""

    complain(events, 0, 6)
    wait_step(gatepost, "slow")
    wait_until(lambda: _lane(postfix, "slow") == "gp-bulk-standard", 10, "the slow lane")
    # Mail that is queued already takes it at its next attempt.
    postfix.flush()
    postfix.wait_log(rf" postfix/gp-bulk-standard/smtp\[\d+\]: {waiting}: to=<")

    gatepost.kill("back")
    complain(events, 6, 7)
    wait_step(gatepost, "pause-marketing")
    assert "marketing mail of acme is paused: complaints 0.70 % (7 of 1,00" in wait_reply(
        mail("marketing", "newsletter"), "450 4.7.1 "
    )
    assert reply(mail("platform", "newsletter", login="app")).startswith("450 4.7.1 ")
    assert reply(mail("receipt")).startswith("2.0.0 ")

    complain(events, 7, 14)
    gatepost.kill("back")
    wait_step(gatepost, "pause-all")
    paused = wait_reply(mail("paused"), "450 4.7.1 ")
    assert "sending of acme is paused: complaints 1." in paused
    assert reply(mail("platform", login="app")).startswith("450 4.7.1 ")
    # Nor does it go on with the null sender; everybody else passes.
    assert reply(mail("null", sender="")).startswith("450 4.7.1 ")
    assert reply(mail("other", sender="x@beta.example", login="beta")).startswith("2.0.0 ")
    words = ("--login", "acme", "--sender", "a@acme.example", "--recipient", "u@good.example")
    assert "refused: 450 4.7.1 sending of acme" in gatepost.command("explain", *words, status=1)

    gatepost.command("tenant", "resume", "acme", "--reason", "list cleaned")
    wait_reply(mail("resumed"), "2.0.0 ")
    gatepost.kill("back")
    complain(events, 0, 3, "beta")
    wait_step(gatepost, "warn", "beta")
    # Everybody was looked at anew, and nothing of before counts.
    assert step_of(gatepost) == "none"

    gatepost.command("tenant", "pause", "acme", "--reason", "ticket 4711")
    assert "sending of acme is paused: ticket 4711, since " in wait_reply(mail("again"), "450 ")
    gatepost.command("tenant", "resume", "acme")
    wait_reply(mail("resumed again"), "2.0.0 ")
    found = of_kind(events, EventKind.STATUS_CHANGED)
    assert [(each.details["from"], each.details["to"]) for each in found] == [
        ("none", "slow"),
        ("slow", "pause-marketing"),
        ("pause-marketing", "pause-all"),
        ("active", "active"),
        ("active", "paused-all"),
        ("paused-all", "active"),
    ]


def _lane(postfix: PrivatePostfix, subject: str) -> str:
    return wait_delivery(postfix, queue_id(send(ADDRESS, mail(subject)))).service
