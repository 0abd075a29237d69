"""What leaves with a message so that something can come back, and a bounce that does come back."""

from __future__ import annotations

import contextlib
import re
import smtplib
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gatepost.feedback.events import EventKind
from gatepost.feedback.token import Purpose, open_token
from gatepost.postfix.doctor import probe
from gatepost.postfix.doctor.scene import look
from gatepost.postfix.doctor.signers import MUST_COVER
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.store.open import open_events
from gatepost.tenants.model import tenant_number
from lab.dkim import signatures
from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.postfix_files import SUBMISSION_OPTIONS
from lab.process import wait_until
from lab.send import Mail, connect, queue_id, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, FEEDBACK_DOMAIN, HOSTNAME, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "bounce_domain": BOUNCE_DOMAIN,
        "feedback_domain": FEEDBACK_DOMAIN,
        "unsubscribe_url": "https://mail.sender.example/unsubscribe",
        # The hardest case for a bounce: mail of nobody is refused.
        "unknown": "reject",
    },
    "feedback": {"unsubscribe": "127.0.0.1:9465"},
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "feedback": {
                "campaign": "X-Campaign",
                "mail_type": "X-Mail-Type",
                "unsubscribe": ["newsletter"],
            },
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
    # It has no certificate to log in by TLS with, as doctor would.
    submission = [*SUBMISSION_OPTIONS, "smtpd_tls_security_level=none"]
    with world.postfix(main=main, submission=submission) as running:
        running.configure({"smtpd_milters": world.signer.start(running, platform=True)})
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


def test_the_signatures_of_a_signer_behind_cover_what_is_added(sent: Callable) -> None:
    """Of the From: domain and of the CFBL domain, as RFC 9477 wants it of a provider."""
    headers = ["X-Campaign: spring", "X-Mail-Type: Newsletter"]
    _, arrived = sent(Mail("n@acme.example", "u@good.example", "signed", "acme", headers=headers))
    (token,) = arrived.headers("X-Gatepost-Token")
    assert arrived.headers("Feedback-ID") == ["cspring:mNewsletter:tacme:examplesp"]
    assert arrived.headers("CFBL-Address") == [f"fbl@{FEEDBACK_DOMAIN}; report=arf"]
    assert arrived.headers("CFBL-Feedback-ID") == [token]
    found = signatures(arrived.octets)
    assert set(found) == {"acme.example", FEEDBACK_DOMAIN}
    for good, names in found.values():
        assert good
        # As they are written, since one who reads them compares letter by letter; and once more
        # than they are there, so that nobody adds another.
        for name in MUST_COVER:
            assert names.count(name) == 2, (name, names)
    for change in (b"cspring:", b"CFBL-Feedback-ID: " + token.encode(), b"fbl@fbl.sender.example"):
        changed = arrived.octets.replace(change, change[:-1] + b"!")
        assert changed != arrived.octets
        assert not any(good for good, _ in signatures(changed).values())


def test_doctor_proves_it_by_a_message(
    postfix: PrivatePostfix, world: World, snapshot: Snapshot
) -> None:
    """All is well with the lines that it prints; with fewer, it says which are missing."""
    sent = probe.Probe("u@good.example", "n@acme.example", f"{ADDRESS}:587", "acme", "secret")

    def found() -> list[str]:
        scene = look(postfix.config_dir, snapshot)
        return [finding.what for finding in probe.check(scene, sent)]

    assert found() == []
    try:
        world.signer.stop()
        world.signer.start(postfix)
        (what,) = found()
        assert what.startswith(f"No valid DKIM signature of {FEEDBACK_DOMAIN} covers CFBL-Address")
        world.signer.stop()
        world.signer.start(postfix, signed=())
        (what,) = found()
        assert "covers Feedback-ID, List-Unsubscribe-Post, CFBL-Address, CFBL-Feedback-ID" in what
    finally:
        world.signer.stop()
        world.signer.start(postfix, platform=True)


def test_one_click_unsubscription_for_the_types_that_ask_for_it(
    sent: Callable, snapshot: Snapshot
) -> None:
    headers = ["X-Mail-Type: newsletter"]
    _, arrived = sent(
        Mail("n@acme.example", "u@good.example", "one-click", "acme", headers=headers)
    )
    (value,) = arrived.headers("List-Unsubscribe")
    found = re.fullmatch(
        rf"<https://mail\.sender\.example/unsubscribe/(\w{{48}})>, "
        rf"<mailto:\1@{FEEDBACK_DOMAIN}\?subject=unsubscribe>",
        value,
    )
    assert found is not None
    token = open_token(found[1], Purpose.UNSUBSCRIBE, snapshot.keyring, time.time())
    (other,) = arrived.headers("X-Gatepost-Token")
    assert token == open_token(other, Purpose.COMPLAINT, snapshot.keyring, time.time())
    assert arrived.headers("List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    # On one line, as added.
    assert f"\nList-Unsubscribe: {value}\r\n" in arrived.raw
    _, arrived = sent(Mail("n@acme.example", "u@good.example", "an invoice", "acme"))
    assert arrived.headers("List-Unsubscribe") == []


def test_who_clicks_gets_no_more_of_that_tenant(sent: Callable) -> None:
    recipient = "leaves@good.example"
    mail = Mail(
        "n@acme.example", recipient, "a letter", "acme", headers=["X-Mail-Type: newsletter"]
    )
    _, arrived = sent(mail)
    (value,) = arrived.headers("List-Unsubscribe")
    path = value.partition("https://mail.sender.example")[2].partition(">")[0]

    def ask(body: bytes | None) -> int:
        url = f"http://127.0.0.1:9465{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=body)) as answer:
            return int(answer.status)

    assert ask(None) == 200
    # To look does nothing.
    sent(replace(mail, subject="another letter"))
    # Twice is once.
    assert [ask(b"List-Unsubscribe=One-Click") for _ in range(2)] == [200, 200]
    with pytest.raises(smtplib.SMTPResponseException, match=r"550, b'5\.7\.1 .*unsubscribe"):
        send(ADDRESS, replace(mail, subject="a third letter"))
    # Of that tenant alone.
    sent(Mail("n@beta.example", recipient, "of another", "beta"))


def test_the_signature_of_a_tenant_holds_when_its_mail_leaves(
    sent: Callable, world: World, gatepost: Gatepost
) -> None:
    """It covers that there is no Feedback-ID; so there is none, and the tenant is told."""
    mail = Mail(
        "n@acme.example",
        "u@good.example",
        "signed by itself",
        "acme",
        headers=["X-Mail-Type: newsletter"],
    )
    names = [*("From", "Subject"), *("Feedback-ID", "CFBL-Address", "List-Unsubscribe")]
    signature = world.signer.sign(mail.octets(), names)
    mail = replace(mail, headers=[signature, *mail.headers])
    _, arrived = sent(mail)
    assert all(good for good, _ in signatures(arrived.octets).values())
    assert len(arrived.headers("DKIM-Signature")) == 3
    absent = [*names[2:], "CFBL-Feedback-ID", "List-Unsubscribe-Post"]
    assert [arrived.headers(name) for name in absent] == [[]] * 5
    # What no signature forbids is there all the same.
    assert len(arrived.headers("X-Gatepost-Token")) == 1
    with contextlib.closing(
        open_events(f"sqlite:///{gatepost.directory}/state/gatepost.db")
    ) as events:

        def told() -> set[object]:
            found = events.after(0, 100, "acme", [EventKind.WARNING])
            return {each.event.details["header"] for each in found}

        wait_until(lambda: told() == set(names[2:]), 10, "the warnings of the message")
    assert sum("tenant-warning tenant=acme" in line for line in gatepost.log_lines()) == 3


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
    assert "\nFeedback-ID:" not in delivered
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


def test_a_bounce_names_the_token_and_is_as_the_client_asked_for_it(
    postfix: PrivatePostfix, world: World, snapshot: Snapshot
) -> None:
    """ENVID is ours; RET, NOTIFY and ORCPT stay those of the client."""
    made = []
    with contextlib.closing(connect(ADDRESS, "beta")) as client:
        for subject, ret, notify in (
            ("dsn full", "RET=FULL", "NOTIFY=FAILURE"),
            ("dsn headers", "RET=HDRS ENVID=of-the-client", "NOTIFY=SUCCESS,FAILURE"),
            ("dsn default", "", "NOTIFY=FAILURE"),
            ("dsn never", "RET=FULL", "NOTIFY=NEVER"),
        ):
            mail = Mail("n@beta.example", "u@refuses.example", subject, body="the whole text")
            client.docmd("MAIL", f"FROM:<{mail.sender}> {ret}")
            client.docmd("RCPT", f"TO:<{mail.recipient}> {notify} ORCPT=rfc822;who+40x.example")
            made.append(queue_id(client.data(mail.octets())[1].decode()))
    for identifier in made:
        postfix.wait_log(rf"{identifier}: to=<u@refuses\.example>.*status=bounced")
        postfix.wait_log(rf"qmgr.*: {identifier}: removed")
    postfix.wait_empty_queue()
    came = [each.read_text() for each in (postfix.mail_dir / "nobody" / "new").iterdir()]
    for subject, part in (
        ("dsn full", "message/rfc822"),
        ("dsn headers", "text/rfc822-headers"),
        ("dsn default", "message/rfc822"),
    ):
        (bounce,) = [text for text in came if f"Subject: {subject}" in text]
        identifier = re.search(r"^Original-Envelope-Id: (\w+)$", bounce, re.MULTILINE)
        assert identifier is not None, bounce
        token = open_token(identifier[1], Purpose.BOUNCE, snapshot.keyring, time.time())
        assert token.tenant == tenant_number("beta")
        assert f"To: {identifier[1]}@{BOUNCE_DOMAIN}" in bounce
        assert f"Content-Type: {part}" in bounce
        assert ("the whole text" in bounce) == (part == "message/rfc822")
        assert "Original-Recipient: rfc822;who@x.example" in bounce
        assert "of-the-client" not in bounce
    assert not any("Subject: dsn never" in text for text in came)
    # The next server is told, too, and keeps what the client asked for.
    with contextlib.closing(connect(ADDRESS, "beta")) as client:
        mail = Mail("n@beta.example", "u@good.example", "envid onwards")
        client.docmd("MAIL", f"FROM:<{mail.sender}> RET=HDRS")
        client.docmd("RCPT", f"TO:<{mail.recipient}>")
        client.data(mail.octets())
    arrived = world.fleet.wait_subject("envid onwards")
    assert f"ENVID={arrived.sender.partition('@')[0]}" in arrived.parameters.split()
    assert "RET=HDRS" in arrived.parameters.split()


def test_a_bounce_comes_back_also_in_capitals(sent: Callable, postfix: PrivatePostfix) -> None:
    """Some servers fold the case of local parts; the token survives it."""
    _, arrived = sent(Mail("n@beta.example", "u@good.example", "shouted", "beta"))
    shouted = arrived.sender.upper()
    identifier = queue_id(send(ADDRESS, Mail("", shouted, "Undelivered", client=REMOTE)))
    postfix.wait_log(rf"/local\[.*: {identifier}: to=<.*orig_to=<{shouted}>.*=sent")
