"""Everything at once, on one message: names, mail servers, Postfix, Gatepost, signer, sender.

If this fails, look here before at the other end-to-end tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.dkim import signed_headers
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, Outcome, send, send_many
from lab.world import BOUNCE_DOMAIN, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp", "bounce_domain": BOUNCE_DOMAIN},
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "profile": "private",
            "feedback": {"campaign": "X-Campaign"},
        },
        "beta": {"logins": ["beta"], "senders": ["beta.example"]},
    },
}


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix() as running:
        running.configure({"smtpd_milters": world.signer.start(running)})
        running.reload()
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, CONFIGURATION) as running:
        running.attach()
        yield running


@pytest.fixture(autouse=True)
def forgetful(world: World) -> None:
    world.fleet.forget()


@pytest.mark.usefixtures("gatepost")
def test_a_message_is_tagged_signed_and_encrypted(world: World, postfix: PrivatePostfix) -> None:
    send(
        postfix.address,
        Mail(
            "news@acme.example", "u@good.example", "first", "acme", headers=["X-Campaign: spring"]
        ),
    )
    arrived = world.fleet.wait_subject("first")
    assert arrived.tls is not None
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert len(arrived.headers("Feedback-ID")) == 1
    good, covered = signed_headers(arrived.octets)
    assert good
    assert "feedback-id" in covered


@pytest.mark.usefixtures("gatepost")
def test_where_there_is_no_tls_one_tenant_is_bounced_and_the_other_delivered(
    world: World, postfix: PrivatePostfix
) -> None:
    send(postfix.address, Mail("news@beta.example", "u@plain.example", "open", "beta"))
    assert world.fleet.wait_subject("open").tls is None
    assert world.fleet.plaintext_data("plain.example") == 1
    send(postfix.address, Mail("news@acme.example", "u@plain.example", "secret", "acme"))
    postfix.wait_log(r"to=<u@plain\.example>.*status=bounced .*TLS is required")
    assert world.fleet.plaintext_data("plain.example") == 1


@pytest.mark.usefixtures("gatepost")
def test_many_are_all_taken_and_tagged(world: World, postfix: PrivatePostfix) -> None:
    mails = [Mail("n@acme.example", "u@good.example", f"m{n}", "acme") for n in range(50)]
    outcome: Outcome = send_many(postfix.address, mails, sessions=5)
    assert len(outcome.taken) == 50
    world.fleet.wait_count(50)
    assert all(each.headers("X-Tenant-ID") == ["acme"] for each in world.fleet.messages())


def test_detached_it_is_as_if_nothing_had_been(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    gatepost.detach()
    send(postfix.address, Mail("news@acme.example", "u@plain.example", "after", "acme"))
    arrived = world.fleet.wait_subject("after")
    assert arrived.headers("X-Tenant-ID") == []
    assert arrived.tls is None
