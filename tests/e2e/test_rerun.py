"""A message that meets Postfix twice: deferred, requeued, forwarded, or through a content filter.

The filter is one that changes nothing: Postfix delivers to the very listener where an after-queue
filter of FILTER_README gives its mail back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import LabError, run, wait_until
from lab.send import Mail, send
from lab.world import BOUNCE_DOMAIN, FEEDBACK_DOMAIN, HOSTNAME, World
from tests.e2e.failures import drain, status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

# Where a filter gives mail back from that attach takes for a client of the tenant's.
KNOWN_CLIENT = "198.18.2.9"
CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "bounce_domain": BOUNCE_DOMAIN,
        "feedback_domain": FEEDBACK_DOMAIN,
        "unsubscribe_url": "https://mail.sender.example/u",
    },
    "feedback": {"unsubscribe": "127.0.0.1:9465"},
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "clients": [f"{KNOWN_CLIENT}/32"],
            "senders": ["acme.example"],
            "profile": "private",
            "return_path": "token",
            "feedback": {
                "campaign": "X-Campaign",
                "mail_type": "X-Mail-Type",
                "unsubscribe": ["news"],
            },
        }
    },
}
BACK_PORT, BACK_WITH_MILTERS_PORT, BACK_BY_THE_BOOK_PORT = 10026, 10027, 10028
# One way back is that of the README, one attach knows without it, and one it cannot know: to attach
# a listener with logins is none where a filter gives mail back, so milters run again.
WITH_LOGINS = "\n  -o content_filter=\n  -o smtpd_sasl_auth_enable=yes"
BY_THE_BOOK = (
    "\n  -o content_filter="
    "\n  -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters"
)
SERVICES = (
    "scan unix - - n - 10 smtp\n  -o smtp_bind_address=127.0.0.1",
    f"known unix - - n - 10 smtp\n  -o smtp_bind_address={KNOWN_CLIENT}",
    f"127.0.0.1:{BACK_PORT} inet n - n - - smtpd\n  -o content_filter=",
    f"127.0.0.1:{BACK_WITH_MILTERS_PORT} inet n - n - - smtpd{WITH_LOGINS}",
    f"127.0.0.1:{BACK_BY_THE_BOOK_PORT} inet n - n - - smtpd{BY_THE_BOOK}",
)
MAIN = {
    "mynetworks": f"127.0.0.0/8 {KNOWN_CLIENT}/32",
    "alias_maps": "inline:{ { list = u@good.example, v@good.example } }",
}
TO_EVERYBODY = ("u@good.example", "v@good.example")


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(services=SERVICES, main=MAIN) as running:
        yield running


@pytest.fixture
def filter_through(postfix: PrivatePostfix) -> Iterator[Callable[..., None]]:
    """Return a function that has all mail go through a filter, which gives it back to a port."""

    def through(port: int, service: str = "scan") -> None:
        postfix.configure({"content_filter": f"{service}:[127.0.0.1]:{port}"})
        postfix.reload()

    yield through
    postfix.configure({"content_filter": ""})
    postfix.reload()


@pytest.fixture
def arrived(world: World, postfix: PrivatePostfix) -> Callable[..., Received]:
    """Return a function that sends a message and waits until it has arrived.

    However often it was queued meanwhile, it had the one sender, unless `senders` says otherwise.
    """
    world.fleet.forget()
    postfix.clear_log()

    def send_and_wait(mail: Mail, senders: int = 1) -> Received:
        send(postfix.address, mail)
        found = world.fleet.wait_subject(mail.subject)
        postfix.wait_empty_queue()
        assert len(world.fleet.messages()) == 1
        queued = re.findall(r"qmgr\[\d+\]: \w+: from=<(.*?)>", "\n".join(postfix.log_lines()))
        assert found.sender in queued
        assert len(set(queued)) == senders
        return found

    return send_and_wait


@pytest.fixture
def passes(gatepost: Gatepost) -> Callable[[], int]:
    """Return a function that tells how many messages the milter has seen since the test began."""

    def seen() -> int:
        return sum(status(gatepost, "milter")["counts"].get("milter_messages", {}).values())

    before = seen()
    return lambda: seen() - before


def mail(subject: str, recipient: str = "u@good.example", **fields: Any) -> Mail:
    headers = ["X-Campaign: spring", "X-Mail-Type: news", "X-Tenant-ID: forged"]
    return Mail("n@acme.example", recipient, subject, "acme", headers=headers, **fields)


@contextmanager
def deferring(postfix: PrivatePostfix) -> Iterator[None]:
    """Have nothing of acme's delivered for the length of a block."""
    postfix.configure({"defer_transports": "gp-normal-private"})
    postfix.reload()
    postfix.clear_log()
    try:
        yield
    finally:
        postfix.configure({"defer_transports": ""})
        postfix.reload()


def check(message: Received, *, with_envid: bool = True) -> None:
    """Check that a message carries everything of ours once."""
    assert message.headers("X-Tenant-ID") == ["acme"]
    assert message.headers("Feedback-ID") == ["cspring:mnews:tacme:examplesp"]
    (token,) = message.headers("X-Gatepost-Token")
    assert message.headers("CFBL-Address") == [f"fbl@{FEEDBACK_DOMAIN}; report=arf"]
    assert message.headers("CFBL-Feedback-ID") == [token]
    assert len(message.headers("List-Unsubscribe")) <= 1
    assert len(message.headers("List-Unsubscribe-Post")) == len(message.headers("List-Unsubscribe"))
    local, _, domain = message.sender.partition("@")
    assert (len(local), domain) == (48, BOUNCE_DOMAIN)
    assert (f"ENVID={local}" in message.parameters.split()) == with_envid
    assert message.tls is not None


def requeue(postfix: PrivatePostfix) -> None:
    """Have everything in the queue taken in anew, at once rather than within a minute."""
    run(["postsuper", "-c", postfix.config_dir, "-r", "ALL"])

    def kicked() -> bool:
        # After a reload, the pickup(8) that was there may just be leaving.
        with suppress(LabError):
            run(["postkick", "-c", postfix.config_dir, "public", "pickup", "W"])
            return True
        return False

    wait_until(kicked, 10, "pickup to be told")
    postfix.wait_log(r"pickup\[\d+\]: .* orig_id=")


@pytest.mark.parametrize("how", ["flush", "requeue", "release"])
def test_a_message_that_waited_is_as_it_would_have_been(
    world: World, postfix: PrivatePostfix, passes: Callable[[], int], how: str
) -> None:
    world.fleet.forget()
    postsuper = ["postsuper", "-c", postfix.config_dir]
    with deferring(postfix):
        send(postfix.address, mail("waited"))
        postfix.wait_log("status=deferred")
        (waiting,) = postfix.queue()
        assert waiting.sender.endswith(f"@{BOUNCE_DOMAIN}")
        if how == "release":
            run([*postsuper, "-h", "ALL"])
    if how == "requeue":
        requeue(postfix)
    elif how == "release":
        run([*postsuper, "-H", "ALL"])
    postfix.flush()
    message = world.fleet.wait_subject("waited")
    check(message)
    assert message.sender == waiting.sender
    postfix.wait_empty_queue()
    assert len(world.fleet.messages()) == 1
    # Requeued mail passes cleanup(8) again, and no milter.
    assert passes() == 1


def test_a_message_waits_for_a_key_that_was_removed_too_early(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    world.fleet.forget()
    keys = gatepost.directory / "keys.yaml"
    before = keys.read_bytes()
    with deferring(postfix):
        send(postfix.address, mail("signed"))
        postfix.wait_log("status=deferred")
        keys.write_text(f'current: 2\nkeys:\n  2: {{secret: "{os.urandom(32).hex()}"}}\n')
        gatepost.reload()
    try:
        postfix.clear_log()
        postfix.flush()
        postfix.wait_log(r"gatepost/maps\.sock:transport .*sender in the bounce domain")
        postfix.wait_log(r"dsn=4\.3\.0, status=deferred \(address resolver failure\)")
        assert world.fleet.messages() == []
    finally:
        keys.write_bytes(before)
        gatepost.reload()
    # So that it does not remember the last answer.
    postfix.reload()
    drain(postfix)
    (message,) = world.fleet.messages()
    check(message)


def test_a_message_that_an_alias_forwards(
    world: World, postfix: PrivatePostfix, passes: Callable[[], int]
) -> None:
    """By local(8), as a message of its own with the sender of the first."""
    world.fleet.forget()
    send(postfix.address, mail("forwarded", f"list@{HOSTNAME}"))
    message = world.fleet.wait_subject("forwarded")
    postfix.wait_empty_queue()
    found = world.fleet.messages()
    assert sorted(to for each in found for to in each.recipients) == sorted(TO_EVERYBODY)
    for each in found:
        check(each)
    assert len(message.headers("Received")) == 2
    assert passes() == 1


def test_a_message_that_sendmail_picks_up_again(
    world: World, postfix: PrivatePostfix, arrived: Callable, passes: Callable[[], int]
) -> None:
    """With the recipients of its header, and then requeued: three times through cleanup(8)."""
    first = arrived(mail("picked up"))
    world.fleet.forget()
    with deferring(postfix):
        command = ["sendmail", "-C", postfix.config_dir, "-t", "-i", "-f", first.sender]
        run(command, stdin=first.octets.replace(b"\r\n", b"\n"))
        postfix.wait_log("status=deferred")
    requeue(postfix)
    second = world.fleet.wait_subject("picked up")
    postfix.wait_empty_queue()
    assert len(world.fleet.messages()) == 1
    # sendmail(1) was given the sender that it had become, and nothing that went with it.
    check(second, with_envid=False)
    assert second.sender == first.sender
    assert second.headers("X-Gatepost-Token") == first.headers("X-Gatepost-Token")
    assert passes() == 2


@pytest.mark.parametrize(
    ("port", "service", "seen"),
    [
        (BACK_PORT, "scan", 1),
        (BACK_BY_THE_BOOK_PORT, "scan", 1),
        (BACK_WITH_MILTERS_PORT, "scan", 2),
        # Not from this host, but from where the tenant is known: it might be the tenant.
        (BACK_WITH_MILTERS_PORT, "known", 2),
    ],
)
def test_a_message_that_a_content_filter_gave_back(
    filter_through: Callable,
    arrived: Callable,
    passes: Callable[[], int],
    port: int,
    service: str,
    seen: int,
) -> None:
    filter_through(port, service)
    subject = f"filtered, back to {port} by {service}"
    message = arrived(mail(subject), senders=2 if service == "known" else 1)
    check(message)
    assert len(message.headers("Received")) == 2
    assert passes() == seen


def test_a_message_to_several_that_a_content_filter_gave_back(
    world: World, filter_through: Callable, postfix: PrivatePostfix
) -> None:
    world.fleet.forget()
    filter_through(BACK_PORT)
    send(postfix.address, mail("to three", more_recipients=("v@good.example", "w@good.example")))
    world.fleet.wait_subject("to three")
    postfix.wait_empty_queue()
    found = world.fleet.messages()
    assert sorted(r for each in found for r in each.recipients) == [
        f"{name}@good.example" for name in "uvw"
    ]
    for each in found:
        check(each)
    assert len({each.sender for each in found}) == 1
