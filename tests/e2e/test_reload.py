"""Reload under load: whatever the files say, no message is lost, untagged or turned away."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, Outcome, send_many
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp"},
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt"}}},
    "tenants": {
        "acme": {"logins": ["acme"], "senders": ["acme.example"], "profile": "private"},
        "beta": {"logins": ["beta"], "senders": ["beta.example"]},
    },
}
RELOADS = 20
BATCH = 25


def changed(number: int) -> dict[str, Any]:
    """Return a valid configuration that differs from the others."""
    configuration = copy.deepcopy(CONFIGURATION)
    configuration["tenants"][f"new{number}"] = {"logins": [f"new{number}"]}
    return configuration


def broken(number: int) -> dict[str, Any]:
    """Return a configuration with two mistakes."""
    configuration = changed(number)
    configuration["tenants"]["acme"]["profile"] = "nowhere"
    configuration["tenants"]["beta"]["logins"] = ["acme"]
    return configuration


def test_twenty_reloads_under_load(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    ended = threading.Event()
    # A batch for each reload and no more, begun before it: mail is on its way during each.
    due, begun = threading.Semaphore(1), threading.Semaphore(0)
    mails: list[Mail] = []
    outcomes: list[Outcome] = []

    def send_until_ended() -> None:
        while due.acquire() and not ended.is_set():
            batch = [
                Mail(f"n@{tenant}.example", "u@good.example", f"{tenant} {number}", tenant)
                for tenant in ("acme", "beta")
                for number in range(len(mails), len(mails) + BATCH)
            ]
            mails.extend(batch)
            begun.release()
            outcomes.append(send_many(postfix.address, batch, sessions=10))
            # The mail servers are slower than the client, and the test ends with the last message.
            world.fleet.wait_count(len(mails) - BATCH)

    sender = threading.Thread(target=send_until_ended)
    sender.start()
    assert begun.acquire(timeout=60)
    world.fleet.wait_count(10)
    for number in range(RELOADS):
        due.release()
        assert begun.acquire(timeout=60), f"no mail was sent before reload {number}"
        if number % 2:
            gatepost.configure(broken(number))
            printed = gatepost.reload(status=1)
            # Every reason, from the first refusal on.
            assert "nowhere" in printed
            assert "acme" in printed
        else:
            gatepost.configure(changed(number))
            gatepost.reload()
    ended.set()
    due.release()
    sender.join()
    assert len(outcomes) == RELOADS + 1
    replies = sum((outcome.replies for outcome in outcomes), Counter[str]())
    assert replies == Counter({"250": len(mails)})
    postfix.wait_empty_queue(60)
    messages = world.fleet.messages()
    arrived = Counter(message.headers("subject")[0] for message in messages)
    assert arrived == Counter(mail.subject for mail in mails)
    for message in messages:
        tenant = message.headers("from")[0].partition("@")[2].removesuffix(".example")
        assert message.headers("x-tenant-id") == [tenant]
        assert tenant == "beta" or message.tls is not None


def test_a_service_that_master_cf_lacks_is_not_put_into_force(gatepost: Gatepost) -> None:
    configuration = copy.deepcopy(CONFIGURATION)
    configuration["tls"]["profiles"]["other"] = {"level": "verify"}
    configuration["tenants"]["beta"]["profile"] = "other"
    gatepost.configure(configuration)
    printed = gatepost.reload(status=1)
    assert "gp-normal-other" in printed
    assert "gatepost attach" in printed
    gatepost.configure(CONFIGURATION)
    gatepost.reload()
