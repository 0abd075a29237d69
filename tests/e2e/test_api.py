"""A tenant made over HTTP on a real Postfix: its mail, what needs attach, its pause, its end."""

from __future__ import annotations

import http.client
import json
import smtplib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import Mail, queue_id, send
from lab.world import ADDRESS, World
from tests.e2e.conftest import wait_delivery

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PORT = 9465
CONFIGURATION: dict[str, Any] = {
    "api": {"listen": f"127.0.0.1:{PORT}"},
    "modes": {"default": "enforce"},
    "tls": {"profiles": {"private": {"level": "encrypt"}, "bank": {"level": "encrypt"}}},
    "lanes": {"bulk": {"concurrency": 5}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "profile": "private",
            "lane": "bulk",
        },
    },
}
SHOP = {
    "logins": ["shop"],
    "senders": ["shop.example"],
    "profile": "private",
    "lane": "bulk",
}


class Api:
    """The API of a running Gatepost."""

    def __init__(self, gatepost: Gatepost) -> None:
        words = ("api", "token", "create", "--name", "test", "--scope", "platform")
        self._token = gatepost.command(*words).strip()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
        }
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(users=("acme", "shop")) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, CONFIGURATION) as running:
        running.attach()
        yield running


@pytest.fixture(scope="module")
def api(gatepost: Gatepost) -> Api:
    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", PORT)) == 0

    wait_until(answers, 20, "the API")
    return Api(gatepost)


def mail(subject: str, to: Kind = Kind.GOOD) -> Mail:
    return Mail("news@shop.example", f"u@{to}.example", subject, login="shop")


def reply(message: Mail) -> str:
    try:
        return send(ADDRESS, message)
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error.decode()}"
    except smtplib.SMTPRecipientsRefused as error:
        ((code, text),) = error.recipients.values()
        return f"{code} {text.decode()}"


def wait_reply(text: str, name: str) -> float:
    """Wait until mail of the tenant is answered with a text; return how long that took."""
    begun = time.monotonic()
    wait_until(lambda: text in reply(mail(f"{name} {time.monotonic()}")), 20, text)
    return time.monotonic() - begun


def test_a_tenant_made_over_http_lives_and_ends_as_one_of_a_file(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, api: Api
) -> None:
    status, made = api.call("PUT", "/v1/tenants/shop", SHOP)
    assert (status, made["source"]) == (201, "api")
    wait_until(
        lambda: all(
            gatepost.json("status")["roles"][role]["tenants"] == 2
            for role in ("policy", "milter", "back", "api")
        ),
        10,
        "all processes to have it",
    )
    # Its mail is tagged, and goes by its lane and profile.
    identifier = queue_id(reply(mail("hello")))
    assert wait_delivery(postfix, identifier).service == "gp-bulk-private"
    received = world.fleet.wait_subject("hello")
    assert received.message["X-Tenant-ID"] == "shop"
    assert received.tls is not None
    waits = queue_id(reply(mail("no TLS", Kind.PLAIN)))
    assert wait_delivery(postfix, waits).status == "deferred"
    # What attach has not made is named, and refused.
    status, refused = api.call("PATCH", "/v1/tenants/shop", {"profile": "bank"})
    assert (status, refused["type"]) == (409, "urn:gatepost:problem:needs-attach")
    assert "gp-bulk-bank" in refused["detail"]
    assert gatepost.json("tenant", "show", "shop", status=0)["tenant"] == "shop"
    status, told = api.call(
        "POST",
        "/v1/explain",
        {"login": "shop", "sender": "news@shop.example", "recipient": "u@good.example"},
    )
    assert (status, told["route"]["service"]) == (200, "gp-bulk-private")
    # A pause is in force within the second that the processes look at.
    assert api.call("POST", "/v1/tenants/shop/pause", {"reason": "ticket 4711"})[0] == 200
    wait_reply("450 4.7.1", "paused")
    assert api.call("POST", "/v1/tenants/shop/resume", {})[0] == 200
    wait_reply("queued as", "resumed")
    # Kill what knows it, and it is known.
    gatepost.kill("policy")
    gatepost.wait_answering()
    assert "sender" in reply(Mail("x@other.example", "u@good.example", "foreign", login="shop"))
    assert api.call("DELETE", "/v1/tenants/shop")[0] == 204
    wait_until(
        lambda: gatepost.json("status")["roles"]["policy"]["tenants"] == 1, 10, "it to be gone"
    )
    # A hook that attach has left out is named as well.
    status, refused = api.call("PUT", "/v1/tenants/shop", {**SHOP, "quota": ["1/hour"]})
    assert (status, refused["type"]) == (409, "urn:gatepost:problem:needs-attach")
    assert "gatepost attach" in refused["detail"]
