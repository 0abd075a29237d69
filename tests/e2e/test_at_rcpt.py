"""At RCPT TO: what the survey has seen is told while the client still holds the message."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.enter import RESOLVER
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.send import Mail, send
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

KINDS = (Kind.GOOD, Kind.PLAIN, Kind.EXPIRED, Kind.DEAD)
PROFILES: dict[str, Any] = {
    "private": {"level": "encrypt", "on_failure": "bounce", "at_rcpt": "enforce"},
    "bank": {"level": "verify", "at_rcpt": "enforce"},
    "watched": {"level": "encrypt", "on_failure": "bounce"},
    "blind": {"level": "encrypt", "on_failure": "bounce", "at_rcpt": "off"},
}
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "enforce"},
    "dns": {"servers": [RESOLVER]},
    "tls": {"profiles": PROFILES},
    "tenants": {
        name: {"logins": [name], "senders": [f"{name}.example"], "profile": name}
        for name in PROFILES
    },
}
DOMAINS = ("good.example", "plain.example", "expired.example", "dead.example", "both.example")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(KINDS)
    # One host that cannot be reached, beside one without STARTTLS.
    world.names.mail("both.example", "mx.plain.example", 10)
    world.names.mail("both.example", "mx.dead.example", 20)
    # Where bounces go.
    world.names.mail("watched.example", "mx.good.example")
    with world:
        yield world


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(users=tuple(PROFILES)) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    gatepost = world.gatepost(postfix, CONFIGURATION)
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        names = world.directory / "domains"
        names.write_text("".join(f"{domain}\n" for domain in DOMAINS))
        fast = ("--network-delay", "0", "--provider-delay", "0", "--timeout", "2", "--no-sts")
        gatepost.command(
            *("tls", "survey", str(names), "--also", "198.18.0.0/15", "--force-ehlo", *fast)
        )
        yield gatepost
    finally:
        gatepost.stop()


def mail(tenant: str, domain: str) -> Mail:
    return Mail(f"news@{tenant}.example", f"u@{domain}", f"{tenant} {domain}", tenant)


@pytest.mark.parametrize(
    ("tenant", "domain", "code", "status", "lack"),
    [
        ("private", "plain.example", 550, "5.7.10", "no mail server of it does STARTTLS"),
        ("bank", "plain.example", 550, "5.7.10", "no mail server of it does STARTTLS"),
        ("bank", "expired.example", 550, "5.7.10", "has a certificate that is valid for its name"),
        # One of two hosts was not reached: perhaps it does.
        ("private", "both.example", 450, "4.7.10", "no mail server of it does STARTTLS"),
    ],
)
def test_it_is_refused(
    world: World,
    postfix: PrivatePostfix,
    gatepost: Gatepost,
    tenant: str,
    domain: str,
    code: int,
    status: str,
    lack: str,
) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(postfix.address, mail(tenant, domain))
    text = caught.value.smtp_error
    text = text.decode() if isinstance(text, bytes) else text
    assert caught.value.smtp_code == code
    assert text.startswith(f"{status} <u@{domain}>: Recipient address rejected: {domain} does not")
    assert f"(profile {tenant}): " in text
    assert lack in text
    assert text.endswith("UTC by survey")
    assert world.fleet.plaintext_data("plain.example") == 0
    document = gatepost.json(
        *("explain", "--login", tenant, "--sender", f"news@{tenant}.example"),
        *("--recipient", f"u@{domain}"),
        status=1,
    )
    assert document["rcpt"]["reject"]["code"] == str(code)


@pytest.mark.parametrize(
    ("tenant", "domain"),
    [
        ("private", "good.example"),
        ("private", "expired.example"),
        ("bank", "good.example"),
    ],
)
def test_it_is_accepted_where_it_can_be_met(
    world: World, deliver: Callable, tenant: str, domain: str
) -> None:
    assert deliver(mail(tenant, domain)).status == "sent"
    assert world.fleet.wait_subject(f"{tenant} {domain}").tls


def test_what_was_never_reached_is_not_known(postfix: PrivatePostfix) -> None:
    assert send(postfix.address, mail("private", "dead.example"))


def test_in_observe_it_is_recorded_and_bounces_later(deliver: Callable, gatepost: Gatepost) -> None:
    assert deliver(mail("watched", "plain.example")).status == "bounced"
    assert deliver(mail("blind", "plain.example")).status == "bounced"
    log = [line for line in gatepost.log_lines() if "observe tenant=" in line]
    assert [line for line in log if "tenant=watched feature=tls action=reject" in line]
    assert not [line for line in log if "tenant=blind" in line]
