"""What nobody can claim: a tag, a token, another's sender; and what passes as it is."""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gatepost.feedback.token import TOKEN_CHARACTERS
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, send, transact
from lab.world import ADDRESS, HOSTNAME, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

LISTENER_PORT = 2525
CLIENT = "198.18.0.77"
CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "logins": {"mailer": {"may_act_as": ["acme"]}},
        "inbound": [HOSTNAME],
    },
    "modes": {"default": "enforce"},
    "tenants": {
        "acme": {"logins": ["acme"], "senders": ["acme.example", ".acme-mail.example"]},
        "beta": {"logins": ["beta"], "senders": ["beta.example"]},
        "gamma": {"logins": ["gamma"], "senders": ["gamma.example"], "check_from": True},
        "addressed": {"clients": [f"{CLIENT}/32"], "senders": ["addressed.example"]},
        "listener": {"listeners": ["own-door"], "senders": ["listener.example"]},
    },
}
# The tag in the shapes that mail systems take for the same field.
FORGED = (
    "X-Tenant-ID: beta",
    "x-tenant-id: beta",
    "X-TENANT-ID:beta",
    "X-Tenant-Id:\r\n beta",
    "x-TENANT-id: beta\r\n\tand more",
)
TOKEN = "a" * TOKEN_CHARACTERS


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    door = f"{LISTENER_PORT} inet n - n - - smtpd\n  -o milter_macro_daemon_name=own-door"
    with world.postfix(services=(door,)) as running:
        yield running


@pytest.fixture
def sent(world: World) -> Callable:
    """Return a function that sends a message and returns it as it arrived."""

    def send_and_wait(*arguments: Any, **options: Any) -> Any:
        mail = Mail(*arguments, **options)
        send(ADDRESS, mail)
        return world.fleet.wait_subject(mail.subject)

    return send_and_wait


def refused(mail: Mail) -> tuple[int, str]:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(ADDRESS, mail)
    text = caught.value.smtp_error
    return caught.value.smtp_code, text.decode() if isinstance(text, bytes) else text


def test_five_forged_tags_become_the_tenants_own(sent: Callable) -> None:
    arrived = sent("a@acme.example", "u@good.example", "five", "acme", headers=FORGED)
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert "beta" not in arrived.raw


def test_five_forged_tags_of_a_stranger_are_gone(sent: Callable) -> None:
    arrived = sent("a@stranger.example", "u@good.example", "five strange", headers=FORGED)
    assert arrived.headers("X-Tenant-ID") == []
    assert "tenant" not in arrived.raw.lower()
    assert "beta" not in arrived.raw


@pytest.mark.parametrize("form", FORGED)
@pytest.mark.parametrize("login", ["acme", ""])
def test_each_forged_tag_alone(sent: Callable, login: str, form: str) -> None:
    number = FORGED.index(form)
    arrived = sent(
        "a@acme.example", "u@good.example", f"one {login}{number}", login, headers=[form]
    )
    assert arrived.headers("X-Tenant-ID") == ([login] if login else [])
    assert "beta" not in arrived.raw


@pytest.mark.parametrize("login", ["acme", ""])
def test_a_blank_before_the_colon_hides_no_tag(sent: Callable, login: str) -> None:
    """RFC 5322 §4.5.3: obsolete, and read by Postfix and many others as the same field."""
    arrived = sent(
        "a@acme.example",
        "u@good.example",
        f"blank {login or 0}",
        login,
        headers=["X-Tenant-ID : beta"],
    )
    assert "beta" not in arrived.raw


def test_the_right_tag_is_left_where_it_is(sent: Callable) -> None:
    arrived = sent(
        "a@acme.example", "u@good.example", "right", "acme", headers=["X-Tenant-ID: acme"]
    )
    # In front, where the client put it; one that is added goes to the end.
    assert "X-Tenant-ID: acme\r\nFrom: a@acme.example\r\n" in arrived.raw
    assert arrived.raw.count("X-Tenant-ID") == 1


def test_a_forged_token_is_replaced(sent: Callable) -> None:
    forged = [f"X-Gatepost-Token: {TOKEN}", f"x-gatepost-token: {TOKEN}"]
    arrived = sent("a@acme.example", "u@good.example", "token", "acme", headers=forged)
    (token,) = arrived.headers("X-Gatepost-Token")
    assert len(token) == TOKEN_CHARACTERS
    assert TOKEN not in arrived.raw


def test_the_token_of_another_message_is_replaced(sent: Callable) -> None:
    first = sent("b@beta.example", "u@good.example", "genuine", "beta")
    (copied,) = first.headers("X-Gatepost-Token")
    forged = [f"X-Gatepost-Token: {copied}", "X-Tenant-ID: beta"]
    arrived = sent("a@acme.example", "u@good.example", "copied", "acme", headers=forged)
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert copied not in arrived.raw
    # From a stranger it is no pass to beta's tag.
    arrived = sent("a@stranger.example", "u@good.example", "strange copy", headers=forged)
    assert arrived.headers("X-Tenant-ID") == []


def test_a_forged_token_of_a_stranger_is_gone(sent: Callable) -> None:
    forged = [f"X-Gatepost-Token: {TOKEN}", f"X-Gatepost-Session: {TOKEN}"]
    arrived = sent("a@stranger.example", "u@good.example", "token strange", headers=forged)
    assert "gatepost" not in arrived.raw.lower()


def test_a_platform_login_names_a_tenant_that_it_may(sent: Callable) -> None:
    tags = ["X-Tenant-ID: acme", "x-tenant-id: acme"]
    arrived = sent("a@acme.example", "u@good.example", "platform", "mailer", headers=tags)
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert arrived.headers("Feedback-ID") == ["tacme:examplesp"]


def test_a_platform_login_names_a_tenant_that_it_may_not(
    world: World, postfix: PrivatePostfix
) -> None:
    def answer(*tags: str) -> tuple[int, str]:
        headers = [f"X-Tenant-ID: {tag}" for tag in tags]
        sender = "b@beta.example"
        return refused(Mail(sender, "u@good.example", "forbidden", "mailer", headers=headers))

    code, text = answer("beta")
    assert code == 550
    assert text == "5.7.1 this login may not send for the tenant named in X-Tenant-ID"
    # Whether a tenant exists is no business of a login's.
    assert answer("nobody-has-this-id") == (code, text)
    assert answer("acme", "beta") == (550, "5.7.1 X-Tenant-ID names more than one tenant")
    # A message that is taken lies in the queue before it arrives.
    postfix.wait_empty_queue()
    assert "forbidden" not in {each.message["subject"] for each in world.fleet.messages()}


def test_a_platform_login_that_names_nobody_sends_mail_of_nobody(sent: Callable) -> None:
    arrived = sent("a@acme.example", "u@good.example", "nameless", "mailer")
    assert arrived.headers("X-Tenant-ID") == []


def test_a_platform_login_is_held_to_the_senders_of_the_tenant() -> None:
    mail = Mail("b@beta.example", "u@good.example", "x", "mailer", headers=["X-Tenant-ID: acme"])
    assert refused(mail) == (
        553,
        "5.7.1 beta.example is not among the 2 sender domains of this account",
    )


def test_another_tenants_sender_is_refused_and_no_domain_told() -> None:
    code, text = refused(Mail("b@beta.example", "u@good.example", "x", "acme"))
    assert code == 553
    assert text == (
        "5.7.1 <u@good.example>: Recipient address rejected: "
        "beta.example is not among the 2 sender domains of this account"
    )
    code, text = refused(Mail("a@acme.example", "u@good.example", "x", "beta"))
    assert code == 553
    assert text.endswith("acme.example is not among the 1 sender domain of this account")
    assert "beta" not in text


@pytest.mark.parametrize(
    ("sender", "tags"),
    [("A@ACME.Example", ["acme"]), ("a@deep.down.acme-mail.example", ["acme"]), ("", ["acme"])],
)
def test_own_senders_pass_in_any_case_below_a_parent_and_empty(
    sent: Callable, sender: str, tags: list[str]
) -> None:
    arrived = sent(sender, "u@good.example", f"own {sender or 0}", "acme")
    assert arrived.headers("X-Tenant-ID") == tags
    assert arrived.sender.lower() == sender.lower()


def test_the_domain_itself_is_not_below_its_parent() -> None:
    assert refused(Mail("a@acme-mail.example", "u@good.example", "x", "acme"))[0] == 553


@pytest.mark.parametrize(
    "author",
    [
        "ceo@bank.example",
        "gamma@gamma.example, ceo@bank.example",
        "ceo@bank.example <g@gamma.example>",
        "g@gamma.example\r\nFrom: ceo@bank.example",
    ],
)
def test_the_author_must_be_the_tenants_too(author: str) -> None:
    mail = Mail("g@gamma.example", "u@good.example", "x", "gamma", sender_header=author)
    code, text = refused(mail)
    assert code == 550
    assert text.startswith("5.7.1 From: ")
    assert text.endswith(" is not among the 1 sender domain of this account")
    assert "gamma" not in text


def test_the_tenants_own_author_passes(sent: Callable) -> None:
    author = '"Bank, Inc. (ceo@bank.example)" <g@gamma.example>'
    arrived = sent("g@gamma.example", "u@good.example", "author", "gamma", sender_header=author)
    assert arrived.headers("X-Tenant-ID") == ["gamma"]


def test_a_client_by_its_address(sent: Callable) -> None:
    arrived = sent("a@addressed.example", "u@good.example", "address", client=CLIENT)
    assert arrived.headers("X-Tenant-ID") == ["addressed"]
    # The policy server knows it as well.
    code, text = refused(Mail("a@acme.example", "u@good.example", "x", client=CLIENT))
    assert code == 553
    assert text.endswith("acme.example is not among the 1 sender domain of this account")
    # A login says more than an address.
    arrived = sent("a@acme.example", "u@good.example", "both", "acme", client=CLIENT)
    assert arrived.headers("X-Tenant-ID") == ["acme"]


def test_a_client_by_its_listener(world: World) -> None:
    with contextlib.closing(smtplib.SMTP(ADDRESS, LISTENER_PORT, timeout=30)) as client:
        client.ehlo()
        transact(client, Mail("a@listener.example", "u@good.example", "door"))
        assert world.fleet.wait_subject("door").headers("X-Tenant-ID") == ["listener"]
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            transact(client, Mail("a@acme.example", "u@good.example", "x"))
    assert caught.value.smtp_code == 553


def test_mail_of_nobody_passes_octet_for_octet(sent: Callable) -> None:
    mail = {"headers": ["Feedback-ID: c:m:t:elsewhere", "List-Id: <list.example>"]}
    arrived = sent("a@stranger.example", "u@good.example", "untouched", **mail)
    original = Mail("a@stranger.example", "u@good.example", "untouched", **mail).octets()
    assert arrived.octets.endswith(b"\r\n" + original)
    received = arrived.octets.removesuffix(original)
    assert received.startswith(b"Received: ")
    # One field: each further line is folded.
    assert all(line.startswith(b"\t") for line in received.splitlines()[1:])
    assert arrived.sender == "a@stranger.example"


def test_nobody_may_be_refused_but_never_a_bounce_or_what_comes_in(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, sent: Callable
) -> None:
    platform = CONFIGURATION["platform"]
    gatepost.configure({**CONFIGURATION, "platform": {**platform, "unknown": "reject"}})
    gatepost.reload()
    try:
        stranger = Mail("a@stranger.example", "u@good.example", "x")
        refusal = "mail of an unknown account is not accepted here"
        code, text = refused(stranger)
        assert code == 550
        assert text == f"5.7.1 <u@good.example>: Recipient address rejected: {refusal}"
        # A platform login has to say for whom; RCPT TO cannot know.
        code, text = refused(Mail("a@acme.example", "u@good.example", "x", "mailer"))
        assert (code, text) == (550, "5.7.1 this login must name a tenant in X-Tenant-ID")
        assert sent("", "u@good.example", "a bounce").sender == ""
        assert sent("a@acme.example", "u@good.example", "known", "acme").sender
        postfix.clear_log()
        send(ADDRESS, Mail("a@stranger.example", f"root@{HOSTNAME}", "comes in"))
        postfix.wait_log(rf"/local\[.*to=<root@{HOSTNAME}>.*status=sent")
    finally:
        gatepost.configure(CONFIGURATION)
        gatepost.reload()
    sent("a@stranger.example", "u@good.example", "welcome again")
    assert not [each for each in world.fleet.messages() if each.headers("subject") == ["x"]]
