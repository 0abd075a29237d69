"""What leaves with a message so that something can come back, and a bounce that does come back."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Callable, Iterator
from typing import Any

import dkim
import pytest

from gatepost.feedback.token import Purpose, open_token
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import tenant_number
from lab.dkim import signed_headers
from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, queue_id, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, HOSTNAME, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "bounce_domain": BOUNCE_DOMAIN,
        # The hardest case for a bounce: mail of nobody is refused.
        "unknown": "reject",
    },
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "feedback": {"campaign": "X-Campaign", "mail_type": "X-Mail-Type"},
        },
        "beta": {
            "logins": ["beta"],
            "senders": ["beta.example"],
            "profile": "private",
            "return_path": "token",
        },
    },
}
# The host's own mail server, from which a bounce comes.
REMOTE = "198.18.2.1"


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    # All mail of the bounce domain goes to the mailbox of one account, as it would to an intake.
    main = {
        "mydestination": f"$myhostname, localhost, {BOUNCE_DOMAIN}",
        "local_recipient_maps": "",
        "luser_relay": "nobody",
        "mynetworks": "127.0.0.0/8",
    }
    with world.postfix(main=main) as running:
        running.configure({"smtpd_milters": world.signer.start(running)})
        running.reload()
        yield running


@pytest.fixture(scope="module")
def snapshot(gatepost: Gatepost) -> Snapshot:
    return Loader(gatepost.config).load().snapshot


@pytest.fixture
def sent(world: World) -> Callable:
    """Return a function that sends a message and returns its queue id and how it arrived."""

    def send_and_wait(mail: Mail) -> tuple[str, Received]:
        identifier = queue_id(send(ADDRESS, mail))
        return identifier, world.fleet.wait_subject(mail.subject)

    return send_and_wait


def mailbox(postfix: PrivatePostfix, wanted: str) -> str:
    """Return the message that came back and contains a text."""
    came = [each.read_text() for each in (postfix.mail_dir / "nobody" / "new").iterdir()]
    (found,) = [text for text in came if wanted in text]
    return found


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], "tacme:examplesp"),
        (["X-Campaign: spring"], "cspring::tacme:examplesp"),
        (["X-Mail-Type: invoice"], "minvoice:tacme:examplesp"),
        (["X-Campaign: spring", "X-Mail-Type: news"], "cspring:mnews:tacme:examplesp"),
        (["x-campaign: a:b c\r\n d"], "ca%3Ab%20c%20d::tacme:examplesp"),
        (["X-Campaign: to u@good.example"], "tacme:examplesp"),
    ],
)
def test_feedback_id(sent: Callable, headers: list[str], value: str) -> None:
    _, arrived = sent(
        Mail("n@acme.example", "u@good.example", f"id {value}", "acme", headers=headers)
    )
    assert arrived.headers("Feedback-ID") == [value]
    assert len(re.findall("^feedback-id:", arrived.raw, re.IGNORECASE | re.MULTILINE)) == 1


def test_feedback_ids_that_were_there_are_replaced(sent: Callable) -> None:
    theirs = ["Feedback-ID: a:b:c:examplesp", "feedback-id:\r\n x:y:z:elsewhere", "FEEDBACK-ID: w"]
    _, arrived = sent(Mail("n@acme.example", "u@good.example", "replaced", "acme", headers=theirs))
    assert arrived.headers("Feedback-ID") == ["tacme:examplesp"]
    assert "elsewhere" not in arrived.raw


def test_the_signature_of_a_signer_behind_covers_feedback_id(sent: Callable) -> None:
    _, arrived = sent(
        Mail("n@acme.example", "u@good.example", "signed", "acme", headers=["X-Campaign: spring"])
    )
    assert arrived.headers("Feedback-ID") == ["cspring::tacme:examplesp"]
    good, covered = signed_headers(arrived.octets)
    assert good
    assert "feedback-id" in covered
    changed = arrived.octets.replace(b"cspring:", b"cautumn:")
    assert changed != arrived.octets
    assert not dkim.verify(changed)


def test_the_token_header_names_tenant_and_message(sent: Callable, snapshot: Snapshot) -> None:
    _, one = sent(Mail("n@acme.example", "u@good.example", "token one", "acme"))
    _, two = sent(Mail("n@acme.example", "u@good.example", "token two", "acme"))
    opened = []
    for arrived in (one, two):
        (text,) = arrived.headers("X-Gatepost-Token")
        opened.append(open_token(text, Purpose.COMPLAINT, snapshot.keyring, time.time()))
        assert "acme" not in text
    assert {token.tenant for token in opened} == {tenant_number("acme")}
    assert opened[0].message != opened[1].message
    # A tenant that keeps its return path keeps it.
    assert one.sender == "n@acme.example"


def test_the_return_path_is_a_token(
    sent: Callable, snapshot: Snapshot, postfix: PrivatePostfix
) -> None:
    identifier, arrived = sent(Mail("n@beta.example", "u@good.example", "return path", "beta"))
    local, _, domain = arrived.sender.partition("@")
    assert domain == BOUNCE_DOMAIN
    token = open_token(local, Purpose.BOUNCE, snapshot.keyring, time.time())
    assert token.tenant == tenant_number("beta")
    assert arrived.headers("From") == ["n@beta.example"]
    # The profile is found by the token: nothing else names the tenant any more.
    postfix.wait_log(rf"gp-normal-private/smtp.*: {identifier}: to=<u@good\.example>.*status=sent")


def test_the_profile_holds_for_a_token_return_path(world: World, postfix: PrivatePostfix) -> None:
    identifier = queue_id(send(ADDRESS, Mail("n@beta.example", "u@plain.example", "no", "beta")))
    postfix.wait_log(rf"gp-normal-private/smtp.*: {identifier}: to=.*status=bounced \(TLS is req")
    assert world.fleet.plaintext_data("plain.example") == 0


def test_a_null_sender_stays_null(sent: Callable) -> None:
    _, arrived = sent(Mail("", "u@good.example", "null", "beta"))
    assert arrived.sender == ""
    assert arrived.headers("X-Tenant-ID") == ["beta"]


def test_a_bounce_from_elsewhere_comes_back_through_the_token_address(
    sent: Callable, postfix: PrivatePostfix
) -> None:
    _, arrived = sent(Mail("n@beta.example", "u@good.example", "to come back", "beta"))
    postfix.clear_log()
    bounce = Mail(
        "", arrived.sender, "came back", client=REMOTE, headers=["Auto-Submitted: auto-replied"]
    )
    identifier = queue_id(send(ADDRESS, bounce))
    postfix.wait_log(rf"/local\[.*: {identifier}: to=<nobody@.*orig_to=<{arrived.sender}>.*=sent")
    delivered = mailbox(postfix, "Subject: came back")
    # As it came: not tagged as anybody's.
    assert "X-Tenant-ID" not in delivered
    assert "Feedback-ID" not in delivered
    # No other domain of this host is open to strangers here.
    with pytest.raises(smtplib.SMTPResponseException, match="mail of an unknown account"):
        send(ADDRESS, Mail("a@stranger.example", f"root@{HOSTNAME}", "x", client=REMOTE))


def test_a_bounce_of_our_own_comes_back_through_the_token_address(
    postfix: PrivatePostfix,
) -> None:
    postfix.clear_log()
    send(ADDRESS, Mail("n@beta.example", "u@refuses.example", "refused there", "beta"))
    made = postfix.wait_log(r": sender non-delivery notification: (?P<id>\w+)$")
    postfix.wait_log(rf"/local\[.*: {made['id']}: .*orig_to=<\w+@{BOUNCE_DOMAIN}>.*=sent")
    assert "X-Tenant-ID" not in mailbox(postfix, "550 5.1.1 no such user").partition("\n\n")[0]


def test_a_bounce_comes_back_also_in_capitals(sent: Callable, postfix: PrivatePostfix) -> None:
    """Some servers fold the case of local parts; the token survives it."""
    _, arrived = sent(Mail("n@beta.example", "u@good.example", "shouted", "beta"))
    shouted = arrived.sender.upper()
    identifier = queue_id(send(ADDRESS, Mail("", shouted, "Undelivered", client=REMOTE)))
    postfix.wait_log(rf"/local\[.*: {identifier}: to=<.*orig_to=<{shouted}>.*=sent")
