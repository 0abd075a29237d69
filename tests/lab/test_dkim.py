"""The signer: what it signs verifies by the key in the lab's name service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.dkim import signed_headers
from lab.postfix import PrivatePostfix
from lab.send import Mail, send
from lab.world import World

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix() as running:
        entry = world.signer.start(running)
        running.configure({"smtpd_milters": entry, "milter_default_action": "tempfail"})
        running.reload()
        yield running


def signed(world: World, postfix: PrivatePostfix, subject: str) -> bytes:
    headers = ["Feedback-ID: c:acme:mail:examplesp"]
    mail = Mail("a@acme.example", "u@plain.example", subject, login="acme", headers=headers)
    send(postfix.address, mail)
    return world.fleet.wait_subject(subject).octets


def test_the_signature_verifies_and_covers_feedback_id(
    world: World, postfix: PrivatePostfix
) -> None:
    good, covered = signed_headers(signed(world, postfix, "signed"))
    assert good
    assert {"from", "subject", "feedback-id"} <= covered


def test_a_changed_header_is_found_out(world: World, postfix: PrivatePostfix) -> None:
    octets = signed(world, postfix, "changed")
    assert signed_headers(octets.replace(b":acme:", b":beta:"))[0] is False


def test_mail_of_other_domains_is_not_signed(world: World, postfix: PrivatePostfix) -> None:
    send(postfix.address, Mail("a@beta.example", "u@plain.example", "unsigned", login="beta"))
    arrived = world.fleet.wait_subject("unsigned")
    assert arrived.headers("DKIM-Signature") == []
    assert signed_headers(arrived.octets) == (False, set())
