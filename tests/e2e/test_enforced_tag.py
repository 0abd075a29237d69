"""One tenant in enforce among others that are only observed: its tag is its own."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from typing import Any

import pytest

from lab.postfix import PrivatePostfix
from lab.send import Mail, send
from lab.world import ADDRESS, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp", "logins": {"mailer": {"may_act_as": ["beta"]}}},
    "modes": {"default": "observe"},
    "tenants": {
        "acme": {"logins": ["acme"], "senders": ["acme.example"], "modes": {"default": "enforce"}},
        "beta": {"logins": ["beta"], "senders": ["beta.example"]},
    },
}
BLANKS = "\r\n".join([" " * 900] * 19)


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(users=("acme", "ACME", "beta", "mailer")) as running:
        yield running


@pytest.mark.parametrize("login", ["beta", ""])
@pytest.mark.parametrize(
    "tag", ["acme", "ACME", "acme, beta", "\r\n acme", f"beta\r\n{BLANKS}\r\n acme"]
)
def test_it_is_taken_from_others_and_nothing_else(world: World, login: str, tag: str) -> None:
    subject = f"others {login or 0} {len(tag)} {tag[:4].strip()}"
    headers = ["X-Tenant-ID: beta", f"X-Tenant-ID: {tag}", "X-Other: acme"]
    send(ADDRESS, Mail("b@beta.example", "u@good.example", subject, login, headers=headers))
    arrived = world.fleet.wait_subject(subject)
    assert arrived.headers("X-Tenant-ID") == ["beta"]
    assert arrived.headers("X-Other") == ["acme"]
    assert arrived.headers("Feedback-ID") == []


def test_a_platform_login_is_refused() -> None:
    mail = Mail("b@beta.example", "u@good.example", "x", "mailer", headers=["X-Tenant-ID: acme"])
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(ADDRESS, mail)
    assert caught.value.smtp_code == 550


@pytest.mark.parametrize("login", ["acme", "ACME"])
def test_it_is_its_tenants_in_whatever_case_that_logs_in(world: World, login: str) -> None:
    padded = f"X-Tenant-ID: acme\r\n{BLANKS}\r\n evil"
    mail = Mail("a@acme.example", "u@good.example", f"own {login}", login, headers=[padded])
    send(ADDRESS, mail)
    arrived = world.fleet.wait_subject(f"own {login}")
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert "evil" not in arrived.raw
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(ADDRESS, Mail("b@beta.example", "u@good.example", "x", login))
    assert caught.value.smtp_code == 553
