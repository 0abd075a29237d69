"""Who sent it, as a real Postfix tells: networks, certificates, sendmail(1), a content filter."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import run
from lab.world import BOUNCE_DOMAIN, HOSTNAME, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90), pytest.mark.usefixtures("gatepost")]

CLIENT = "shop-client.example"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World((Kind.GOOD,)) as running:
        yield running


@pytest.fixture(scope="module")
def client_certificate(world: World) -> Any:
    return world.authority.issue(CLIENT)


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    settings = {
        "smtpd_authorized_xclient_hosts": "198.18.0.0/24",
        "smtpd_tls_ask_ccert": "yes",
        "smtpd_tls_fingerprint_digest": "sha256",
        "inet_protocols": "all",
        # Everybody may relay: what these tests are about is who it was.
        "mynetworks": "0.0.0.0/0, [::]/0",
    }
    with world.postfix(main=settings, certificate=world.authority.issue(HOSTNAME)) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix, client_certificate: Any) -> Iterator[Gatepost]:
    pairs = zip(client_certificate.sha256[::2], client_certificate.sha256[1::2], strict=True)
    configuration = {
        "platform": {"sender_id": "examplesp", "bounce_domain": BOUNCE_DOMAIN},
        "modes": {"default": "enforce"},
        "tenants": {
            "six": {"clients": ["2001:db8::/32"], "senders": ["six.example"]},
            "shop": {
                "certificates": [":".join(a + b for a, b in pairs)],
                "senders": ["shop.example"],
            },
            "net": {"clients": ["203.0.113.0/24"], "senders": ["net.example"]},
            "acme": {"logins": ["acme"], "senders": ["acme.example"], "return_path": "token"},
        },
    }
    with world.gatepost(postfix, configuration) as running:
        running.attach()
        yield running


@pytest.fixture(autouse=True)
def forgetful(world: World) -> None:
    world.fleet.forget()


def client_of(postfix: PrivatePostfix, address: str = "") -> smtplib.SMTP:
    client = smtplib.SMTP(
        postfix.address, 25, "client.example", source_address=("198.18.0.9", 0), timeout=30
    )
    if address:
        # The documented way for a trusted proxy to say for whom it speaks; XCLIENT_README.
        assert client.docmd("XCLIENT", f"ADDR={address} NAME=[UNAVAILABLE]")[0] == 220
        client.ehlo()
    return client


def message(subject: str, *fields: str) -> str:
    return "\r\n".join([f"Subject: {subject}", *fields, "", "text", ""])


@pytest.mark.parametrize(
    ("address", "tags"),
    [
        ("IPV6:2001:db8::25", ["six"]),
        ("IPV6:2001:db9::25", []),
        ("203.0.113.9", ["net"]),
        ("", []),
    ],
)
def test_client_networks(
    world: World, postfix: PrivatePostfix, address: str, tags: list[str]
) -> None:
    sender = f"a@{tags[0]}.example" if tags else "a@stranger.example"
    with client_of(postfix, address) as client:
        client.sendmail(sender, "u@good.example", message("net", "X-Tenant-ID: forged"))
    assert world.fleet.wait_subject("net").headers("X-Tenant-ID") == tags


def test_a_client_certificate_with_many_recipients(
    world: World, postfix: PrivatePostfix, client_certificate: Any
) -> None:
    """What the policy server prepends for the milter comes once, and is gone at the other end."""
    context = ssl.create_default_context(cafile=str(world.authority.ca_file))
    context.check_hostname = False
    context.load_cert_chain(client_certificate.chain_file)
    recipients = [f"u{number}@good.example" for number in range(250)]
    with client_of(postfix) as client:
        client.starttls(context=context)
        assert client.sendmail("a@shop.example", recipients, message("certified")) == {}
        # A second message on the connection, and one that may not be.
        assert client.sendmail("a@shop.example", recipients[:1], message("again")) == {}
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            client.sendmail("a@net.example", recipients[:1], message("refused"))
    ((code, text),) = caught.value.recipients.values()
    assert (code, text[:6]) == (553, b"5.7.1 ")
    for subject in ("certified", "again"):
        arrived = world.fleet.wait_subject(subject)
        assert arrived.headers("X-Tenant-ID") == ["shop"]
        assert b"X-Gatepost-Session" not in arrived.octets


def test_a_header_field_of_100_kib(world: World, postfix: PrivatePostfix) -> None:
    """libmilter would hang up; Postfix cuts the field for any milter's sake, and delivers."""
    folded = "\r\n ".join(["X-References: start", *["<reference@id.example>" * 4] * 1100])
    assert len(folded) > 96 * 1024
    with client_of(postfix, "203.0.113.9") as client:
        client.sendmail("a@net.example", "u@good.example", message("long", folded))
    arrived = world.fleet.wait_subject("long")
    assert arrived.headers("X-Tenant-ID") == ["net"]
    assert 59_000 < len(arrived.headers("X-References")[0]) < 61_000


def test_mail_of_this_host_that_nobody_has_tagged(world: World, postfix: PrivatePostfix) -> None:
    text = message("local", "X-Tenant-ID: acme", "x-tenant-id: acme")
    run(
        ["sendmail", "-C", postfix.config_dir, "-f", "a@acme.example", "u@good.example"],
        stdin=text.encode(),
    )
    assert world.fleet.wait_subject("local").headers("X-Tenant-ID") == []


def test_a_content_filter_hands_a_message_back(world: World, postfix: PrivatePostfix) -> None:
    """By sendmail(1), as the simple filter of FILTER_README does: nothing more is changed."""
    with smtplib.SMTP(postfix.address, 587, source_address=("198.18.0.9", 0)) as client:
        client.login("acme", "secret")
        client.sendmail("n@acme.example", "u@good.example", message("filtered"))
    first = world.fleet.wait_subject("filtered")
    assert first.headers("X-Tenant-ID") == ["acme"]
    assert first.sender.endswith(f"@{BOUNCE_DOMAIN}")
    world.fleet.forget()
    run(
        ["sendmail", "-C", postfix.config_dir, "-f", first.sender, "u@good.example"],
        stdin=first.octets.replace(b"\r\n", b"\n"),
    )
    second = world.fleet.wait_subject("filtered")
    assert second.sender == first.sender
    for name in ("X-Tenant-ID", "Feedback-ID", "X-Gatepost-Token"):
        assert second.headers(name) == first.headers(name)
    world.fleet.forget()
    # The same from a stranger, who has copied it all.
    with client_of(postfix) as client:
        client.sendmail(first.sender, "u@good.example", first.octets)
    copied = world.fleet.wait_subject("filtered")
    assert copied.headers("X-Tenant-ID") == []
    assert copied.headers("Feedback-ID") == []
