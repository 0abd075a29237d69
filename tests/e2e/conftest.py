"""The world that the end-to-end tests happen in, and the way to send a message through it.

A file of tests sets what differs in variables of its own: `CONFIGURATION` is what gatepost.yaml
says, `MAIN` main.cf parameters beside the lab's, `MAIL_DOMAINS` further domains with the host that
takes their mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail, queue_id, send
from lab.world import World


@dataclass(frozen=True)
class Delivery:
    """How Postfix's log tells the end of a delivery attempt.

    Attributes:
        queue_id: The message.
        service: The service that delivered, without "smtp": empty for the default transport.
        dsn: Enhanced status code.
        status: ``sent``, ``deferred`` or ``bounced``.
        text: The text in parentheses.
    """

    queue_id: str
    service: str
    dsn: str
    status: str
    text: str


def wait_delivery(postfix: PrivatePostfix, identifier: str) -> Delivery:
    """Wait for the first delivery attempt of a message with one recipient."""
    match = postfix.wait_log(
        rf" postfix/(?:(?P<service>\S+)/)?[a-z]+\[\d+\]: {identifier}: to=<.*"
        r" dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+) \((?P<text>.*)\)$"
    )
    return Delivery(
        identifier, match["service"] or "", match["dsn"], match["status"], match["text"]
    )


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Return signed DNS and a mail server of each kind, for one file of tests.

    There can be one world at a time, so no longer than that.
    """
    world = World()
    for domain, host in getattr(request.module, "MAIL_DOMAINS", {}).items():
        world.names.mail(domain, host)
    with world:
        yield world


@pytest.fixture(scope="module")
def postfix(world: World, request: pytest.FixtureRequest) -> Iterator[PrivatePostfix]:
    """Return the sending Postfix, running."""
    with world.postfix(main=getattr(request.module, "MAIN", {})) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(
    world: World, postfix: PrivatePostfix, request: pytest.FixtureRequest
) -> Iterator[Gatepost]:
    """Return Gatepost, running and attached."""
    with world.gatepost(postfix, request.module.CONFIGURATION) as running:
        running.attach()
        yield running


@pytest.fixture
def deliver(postfix: PrivatePostfix) -> Callable[[Mail], Delivery]:
    """Return a function that sends a message and waits for its first delivery attempt."""

    def send_and_wait(mail: Mail) -> Delivery:
        identifier = queue_id(send(postfix.address, mail))
        assert re.fullmatch(r"\w+", identifier)
        return wait_delivery(postfix, identifier)

    return send_and_wait


@pytest.fixture
def attempted(postfix: PrivatePostfix) -> Callable[[str], Delivery]:
    """Return a function that waits for the delivery attempt of a queue id."""
    return lambda identifier: wait_delivery(postfix, identifier)
