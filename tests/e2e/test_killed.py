"""kill -9 in the middle of mail: every message arrives once, tagged, and none weaker than asked."""

from __future__ import annotations

import smtplib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, Outcome, queue_id, send, send_many
from lab.world import World
from tests.e2e.conftest import Delivery

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp"},
    "modes": {"default": "observe"},
    "tls": {"profiles": {"private": {"level": "encrypt"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "profile": "private",
            "modes": {"default": "enforce"},
        },
        "beta": {
            "logins": ["beta"],
            "senders": ["beta.example"],
            "modes": {"default": "enforce"},
        },
        "gamma": {"logins": ["gamma"], "senders": ["gamma.example"]},
    },
}
MAIN = {
    # What a killed policy server leaves deferred is tried again while the test waits.
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "2s",
    "queue_run_delay": "2s",
}
MESSAGES = 2_000
DOWN_S = 3.0
TENANTS = ("acme", "beta", "gamma")


def mails(count: int, prefix: str) -> list[Mail]:
    """Return mail of all tenants in turn, each with a tag that it has no right to."""
    return [
        Mail(
            f"news@{tenant}.example",
            "reader@good.example",
            f"{prefix} {number}",
            tenant,
            headers=["X-Tenant-ID: somebody"],
        )
        for number in range(count)
        for tenant in [TENANTS[number % len(TENANTS)]]
    ]


def sent_while(mails: list[Mail], postfix: PrivatePostfix, action: Callable[[], None]) -> Outcome:
    """Send mail over 20 connections, and do something meanwhile."""
    outcome: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: outcome.append(send_many(postfix.address, mails, timeout_s=150))
    )
    thread.start()
    action()
    thread.join()
    return outcome[0]


def test_killed_and_started_again_after_three_seconds(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    gatepost.stop()
    gatepost.start("policy", "milter", "back")
    wanted = mails(MESSAGES, "killed")
    killed = []

    def kill() -> None:
        for role, arrived in (("milter", MESSAGES // 10), ("policy", MESSAGES // 2)):
            world.fleet.wait_count(arrived)
            gatepost.kill(role)
            killed.append(role)
            threading.Event().wait(DOWN_S)
            gatepost.start(role)

    outcome = sent_while(wanted, postfix, kill)
    assert killed == ["milter", "policy"]
    assert not outcome.refused
    assert not any(code.startswith("5") for code in outcome.replies), outcome.replies
    # It was noticed at all: somebody had to try again.
    assert sum(outcome.replies.values()) > outcome.replies["250"]
    postfix.wait_empty_queue(90)

    messages = world.fleet.messages("good.example")
    arrived = Counter(message.headers("subject")[0] for message in messages)
    assert set(arrived) == {mail.subject for mail in wanted}
    twice = {subject for subject, count in arrived.items() if count > 1}
    # A client that lost its connection after the last dot cannot know that it was heard.
    assert twice <= outcome.uncertain
    for message in messages:
        tenant = message.headers("from")[0].partition("@")[2].removesuffix(".example")
        if tenant in ("acme", "beta"):
            assert message.headers("x-tenant-id") == [tenant]
            assert len(message.headers("feedback-id")) == 1
        if tenant == "acme":
            assert message.tls is not None
    assert not [line for line in postfix.log_lines() if "status=bounced" in line]


def test_milter_down(postfix: PrivatePostfix, gatepost: Gatepost) -> None:
    gatepost.stop()
    gatepost.start("policy")
    # 454 answers AUTH, 451 MAIL FROM; the client keeps the message either way.
    assert set(_refused_for_now(postfix)) <= {"451", "454"}
    gatepost.start("milter", "back")


def test_policy_server_down_at_rcpt(postfix: PrivatePostfix, gatepost: Gatepost) -> None:
    gatepost.stop()
    gatepost.start("milter", "back")
    # 450 is the check's own default action, 451 that the transport map cannot be asked.
    assert set(_refused_for_now(postfix)) <= {"450", "451"}
    gatepost.start("policy")


def test_policy_server_down_at_delivery(
    world: World,
    postfix: PrivatePostfix,
    gatepost: Gatepost,
    attempted: Callable[[str], Delivery],
) -> None:
    gatepost.wait_answering()
    postfix.configure({"defer_transports": "smtp, gp-normal-private"})
    postfix.reload()
    identifier = queue_id(
        send(postfix.address, Mail("news@acme.example", "r@plain.example", "later", "acme"))
    )
    gatepost.stop()
    gatepost.start("milter", "back")
    postfix.clear_log()
    postfix.configure({"defer_transports": ""})
    postfix.reload()
    postfix.flush()
    waiting = attempted(identifier)
    assert (waiting.status, waiting.dsn) == ("deferred", "4.3.0")
    assert any(entry.queue_id == identifier for entry in postfix.queue())
    assert not world.fleet.plaintext_data("plain.example")
    gatepost.start("policy")
    postfix.clear_log()
    postfix.flush()
    delivery = attempted(identifier)
    assert (delivery.status, delivery.dsn) == ("deferred", "4.7.4")
    assert not world.fleet.plaintext_data("plain.example")


def _refused_for_now(postfix: PrivatePostfix) -> Counter[str]:
    replies: Counter[str] = Counter()
    for tenant in TENANTS:
        try:
            send(postfix.address, Mail(f"n@{tenant}.example", "r@good.example", "down", tenant))
        except smtplib.SMTPResponseException as error:
            replies[str(error.smtp_code)] += 1
        else:
            replies["250"] += 1
    return replies
