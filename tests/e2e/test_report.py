"""What the commands tell about mail, beside what happened to it."""

from __future__ import annotations

import smtplib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.process import wait_until
from lab.send import Mail, queue_id, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "bounce_domain": BOUNCE_DOMAIN,
        "unknown": "reject",
        "logins": {"mailer": {"may_act_as": ["beta"]}},
    },
    "modes": {"default": "observe", "tag": "enforce"},
    "tls": {
        "profiles": {
            "private": {"level": "encrypt", "on_failure": "bounce"},
            "bank": {"level": "verify"},
        }
    },
    "lanes": {"bulk": {"concurrency": 5}},
    "tenants": {
        "gamma": {
            "logins": ["gamma"],
            "senders": ["gamma.example"],
            "profile": "private",
            "lane": "bulk",
            "return_path": "token",
            "modes": {"default": "observe"},
        },
        "beta": {
            "logins": ["beta"],
            "senders": ["beta.example"],
            "profile": "private",
            "feedback": {"campaign": "X-Campaign"},
            "modes": {"default": "enforce"},
        },
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "profile": "bank",
            "return_path": "token",
            "modes": {"default": "enforce"},
        },
    },
}

# What is sent for the report, and what each message would have met in mode enforce.
OWN = {
    ("gamma", "tag", "add-header"): 1,
    ("gamma", "feedback", "add-header"): 2,
    ("gamma", "feedback", "change-sender"): 1,
    ("gamma", "tls", "route"): 1,
    ("gamma", "lane", "route"): 1,
}
FORGED = ("X-Tenant-ID: a", "x-tenant-id: b")
SENT: list[tuple[Mail, dict[tuple[str, str, str], int]]] = [
    (Mail("n@gamma.example", "u@good.example", "first", "gamma"), OWN),
    (Mail("n@gamma.example", "u@plain.example", "second", "gamma"), OWN),
    (
        Mail("n@gamma.example", "u@good.example", "forged", "gamma", headers=FORGED),
        {**OWN, ("gamma", "tag", "remove-header"): 1},
    ),
    (
        Mail(
            "n@gamma.example",
            "u@good.example",
            "three",
            "gamma",
            more_recipients=("v@good.example", "w@plain.example"),
        ),
        {**OWN, ("gamma", "tls", "route"): 3, ("gamma", "lane", "route"): 3},
    ),
    (
        Mail("n@beta.example", "u@good.example", "of another", "gamma"),
        {**OWN, ("gamma", "sender", "reject"): 1},
    ),
    (Mail("a@stranger.example", "u@good.example", "stranger"), {("", "sender", "reject"): 1}),
    (Mail("", "u@good.example", "null"), {}),
    (Mail("n@beta.example", "u@good.example", "enforced", "beta"), {}),
]


@pytest.fixture(scope="module")
def sent(gatepost: Gatepost) -> dict[str, str]:
    """Send everything; return queue ids by subject."""
    del gatepost
    return {mail.subject: queue_id(send(ADDRESS, mail)) for mail, _ in SENT}


def sums(gatepost: Gatepost, *options: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = gatepost.json("report", "what-if", *options)["what_if"]
    return {(each["tenant"], each["feature"], each["action"]): each for each in found}


def test_what_if_adds_up_by_tenant_and_feature(gatepost: Gatepost, sent: dict[str, str]) -> None:
    expected: Counter[tuple[str, str, str]] = Counter()
    for _, observed in SENT:
        expected.update(observed)
    latest: dict[tuple[str, str, str], dict[str, Any]] = {}

    def stored() -> bool:
        # What is observed is written a moment later, not on the path of a message.
        latest.update(sums(gatepost))
        return sum(each["count"] for each in latest.values()) >= expected.total()

    wait_until(stored, 20, "observations in the database")
    assert {key: each["count"] for key, each in latest.items()} == dict(expected)
    (example,) = latest["gamma", "sender", "reject"]["examples"]
    assert example["sender"] == "n@beta.example"
    assert example["detail"] == "beta.example is not among the 1 sender domain of this account"
    (example,) = latest["gamma", "tag", "remove-header"]["examples"]
    assert example["queue_id"] == sent["forged"]
    assert example["detail"] == "X-Tenant-ID x2"
    details = {each["detail"] for each in latest["gamma", "tls", "route"]["examples"]}
    assert details <= {
        "profile private: encrypt for good.example",
        "profile private: encrypt for plain.example",
    }


def test_what_if_of_one_tenant_or_feature(gatepost: Gatepost, sent: dict[str, str]) -> None:
    del sent
    assert set(sums(gatepost, "--tenant", "-")) == {("", "sender", "reject")}
    printed = gatepost.command("report", "what-if", "--feature", "sender")
    assert "gamma: sender would reject: once, last " in printed
    assert "-: sender would reject: once, last " in printed
    assert "from=<a@stranger.example> to=<u@good.example>: mail of an unknown account" in printed
    assert "tls" not in printed


def test_status(gatepost: Gatepost, sent: dict[str, str]) -> None:
    status = gatepost.json("status")
    assert status["ok"]
    assert not status["down"]
    assert {role: each["running"] for role, each in status["roles"].items()} == {
        "policy": True,
        "milter": True,
        "back": True,
    }
    assert len(status["sockets"]) == 4
    assert not [each for each in status["sockets"] if each["problem"]]
    assert {each["digest"] for each in status["roles"].values()} == {status["config"]["digest"]}
    assert status["roles"]["milter"]["counts"]["milter_messages"]["accept"] >= len(sent)
    modes = status["roles"]["milter"]["modes"]
    assert modes["tls"]["enforce"] == 2
    assert modes["tls"]["observe"] == 1


def test_status_tells_of_a_file_that_would_be_refused(gatepost: Gatepost) -> None:
    good = gatepost.config.read_text()
    gatepost.write(good.replace("profile: bank", "profile: bnak"))
    try:
        status = gatepost.json("status")
        assert status["ok"]
        assert "bnak" in " ".join(status["config"]["errors"])
        assert "has errors" in " ".join(status["attention"])
    finally:
        gatepost.write(good)


# explain


@dataclass(frozen=True)
class Told:
    """What explain says of a message, in the words of what can be seen of it.

    Attributes:
        reply: The refusal as it ends, or None.
        service: The service that delivers, empty for Postfix's own.
        headers: The header fields of ours that the message then has.
        sender: Envelope sender at delivery, a token cut off.
        level: The TLS level that is demanded, or None.
    """

    reply: str | None
    service: str = ""
    headers: tuple[str, ...] = ()
    sender: str = ""
    level: str | None = None


def explained(gatepost: Gatepost, mail: Mail) -> Told:
    options = ["--sender", mail.sender, "--recipient", mail.recipient]
    if mail.login:
        options += ["--login", mail.login]
    for header in mail.headers:
        options += ["--header", str(header)]
    refused = mail.subject == "refused"
    found = gatepost.json("explain", *options, status=int(refused))
    assert found["refused"] is refused
    for check in ("rcpt", "plan", "admission"):
        reject = (found[check] or {}).get("reject")
        if reject:
            return Told(f"{reject['code']} {reject['status']} {reject['text']}")
    actions = found["plan"]["actions"]
    headers = [action.removeprefix("add ") for action in actions if action.startswith("add ")]
    if not any(action.startswith("remove X-Tenant-ID") for action in actions):
        headers += [str(header) for header in mail.headers]
    return Told(
        None,
        found["route"]["service"] or "",
        tuple(sorted(each for each in headers if each.startswith(OURS))),
        found["delivery_sender"].rpartition("@")[2],
        found["policy"].split()[0] if found["policy"] else None,
    )


OURS = ("X-Tenant-ID: ", "Feedback-ID: ")
CASES = [
    # How it went is one of: sent, bounced, deferred, refused.
    ("sent", Mail("n@beta.example", "u@good.example", "sent", "beta")),
    ("sent", Mail("n@beta.example", "u@good.example", "c", "beta", headers=["X-Campaign: may"])),
    ("bounced", Mail("n@beta.example", "u@plain.example", "plain", "beta")),
    ("sent", Mail("n@acme.example", "u@good.example", "token", "acme")),
    ("deferred", Mail("n@acme.example", "u@wrongname.example", "wrong", "acme")),
    ("sent", Mail("n@gamma.example", "u@plain.example", "observed", "gamma")),
    ("sent", Mail("a@stranger.example", "u@plain.example", "strange", headers=[FORGED[0]])),
    (
        "sent",
        Mail("n@beta.example", "u@good.example", "p", "mailer", headers=["X-Tenant-ID: beta"]),
    ),
    ("refused", Mail("n@acme.example", "u@good.example", "refused", "beta")),
    (
        "refused",
        Mail(
            "n@acme.example", "u@good.example", "refused", "mailer", headers=["X-Tenant-ID: acme"]
        ),
    ),
    (
        "refused",
        Mail(
            "n@acme.example", "u@good.example", "refused", "mailer", headers=["X-Tenant-ID: beta"]
        ),
    ),
]


@pytest.mark.parametrize(("status", "mail"), CASES)
def test_explain_tells_what_happens(
    world: World,
    gatepost: Gatepost,
    attempted: Callable,
    status: str,
    mail: Mail,
) -> None:
    world.fleet.forget()
    told = explained(gatepost, mail)
    if status == "refused":
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            send(ADDRESS, mail)
        text = caught.value.smtp_error
        reply = text.decode() if isinstance(text, bytes) else text
        # RCPT TO answers with the recipient between the enhanced code and the text.
        reply = reply.replace(f" <{mail.recipient}>: Recipient address rejected:", "")
        assert f"{caught.value.smtp_code} {reply}" == told.reply
        return
    identifier = queue_id(send(ADDRESS, mail))
    assert told.reply is None
    done = attempted(identifier)
    assert done.status == status
    assert done.service == told.service
    if status != "sent":
        assert told.level in {"encrypt", "verify"}
        return
    arrived = world.fleet.wait_subject(mail.subject)
    assert arrived.sender.rpartition("@")[2] == told.sender
    has = [line for line in arrived.raw.split("\r\n") if line.startswith(OURS)]
    assert tuple(sorted(has)) == told.headers
    if told.level == "encrypt":
        assert arrived.tls is not None


def test_status_tells_what_is_down(gatepost: Gatepost) -> None:
    gatepost.stop()
    status = gatepost.json("status", status=1)
    assert not status["ok"]
    for role in ("policy", "milter", "back"):
        assert not status["roles"][role]["running"]
        assert any(each.startswith(f"{role}: ") for each in status["down"])
    assert {each["problem"] for each in status["sockets"]} == {"does not exist"}
