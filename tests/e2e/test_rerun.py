"""A message that meets Postfix twice: deferred, requeued, or through a content filter.

The filter is one that changes nothing: Postfix delivers to the very listener where an after-queue
filter of FILTER_README gives its mail back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.fleet import Received
from lab.postfix import PrivatePostfix
from lab.process import run
from lab.send import Mail, send
from lab.world import BOUNCE_DOMAIN, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp", "bounce_domain": BOUNCE_DOMAIN},
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "profile": "private",
            "return_path": "token",
            "feedback": {"campaign": "X-Campaign"},
        }
    },
}
BACK_PORT, BACK_WITH_MILTERS_PORT = 10026, 10027
# The way back is one that attach knows, and the other one that it cannot know.
# To attach, a listener with logins is none where a filter gives mail back: milters run again.
WITH_LOGINS = "\n  -o content_filter=\n  -o smtpd_sasl_auth_enable=yes"
SERVICES = (
    "scan unix - - n - 10 smtp\n  -o smtp_bind_address=127.0.0.1",
    f"127.0.0.1:{BACK_PORT} inet n - n - - smtpd\n  -o content_filter=",
    f"127.0.0.1:{BACK_WITH_MILTERS_PORT} inet n - n - - smtpd{WITH_LOGINS}",
)


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(services=SERVICES, main={"mynetworks": "127.0.0.0/8"}) as running:
        yield running


@pytest.fixture
def filter_through(postfix: PrivatePostfix) -> Iterator[Callable[[int], None]]:
    """Return a function that has all mail go through a filter, which gives it back to a port."""

    def through(port: int) -> None:
        postfix.configure({"content_filter": f"scan:[127.0.0.1]:{port}"})
        postfix.reload()

    yield through
    postfix.configure({"content_filter": ""})
    postfix.reload()


@pytest.fixture
def arrived(world: World, postfix: PrivatePostfix) -> Callable[[Mail], Received]:
    """Return a function that sends a message and waits until it has arrived."""
    world.fleet.forget()

    def send_and_wait(mail: Mail) -> Received:
        send(postfix.address, mail)
        found = world.fleet.wait_subject(mail.subject)
        postfix.wait_empty_queue()
        assert len(world.fleet.messages()) == 1
        return found

    return send_and_wait


def mail(subject: str, **fields: Any) -> Mail:
    headers = ["X-Campaign: spring", "X-Tenant-ID: forged"]
    return Mail("n@acme.example", "u@good.example", subject, "acme", headers=headers, **fields)


def check(message: Received) -> None:
    """Check that a message carries everything of ours once."""
    assert message.headers("X-Tenant-ID") == ["acme"]
    assert message.headers("Feedback-ID") == ["cspring::tacme:examplesp"]
    assert len(message.headers("X-Gatepost-Token")) == 1
    local, _, domain = message.sender.partition("@")
    assert (len(local), domain) == (48, BOUNCE_DOMAIN)
    assert message.tls is not None


@pytest.mark.parametrize("again", [["postsuper", "-r"], ["postsuper", "-H"]])
def test_a_message_that_waited_is_as_it_would_have_been(
    world: World, postfix: PrivatePostfix, again: list[str]
) -> None:
    world.fleet.forget()
    postfix.configure({"defer_transports": "gp-normal-private"})
    postfix.reload()
    send(postfix.address, mail("requeued"))
    postfix.wait_log("status=deferred")
    (waiting,) = postfix.queue()
    assert waiting.sender.endswith(f"@{BOUNCE_DOMAIN}")
    if again[1] == "-H":
        run(["postsuper", "-c", postfix.config_dir, "-h", "ALL"])
    postfix.configure({"defer_transports": ""})
    postfix.reload()
    run([again[0], "-c", postfix.config_dir, again[1], "ALL"])
    postfix.flush()
    message = world.fleet.wait_subject("requeued")
    check(message)
    assert message.sender == waiting.sender
    postfix.wait_empty_queue()
    assert len(world.fleet.messages()) == 1


@pytest.mark.parametrize("port", [BACK_PORT, BACK_WITH_MILTERS_PORT])
def test_a_message_that_a_content_filter_gave_back(
    filter_through: Callable, arrived: Callable, port: int
) -> None:
    filter_through(port)
    message = arrived(mail(f"filtered, back to {port}"))
    check(message)
    assert len(message.headers("Received")) == 2


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
