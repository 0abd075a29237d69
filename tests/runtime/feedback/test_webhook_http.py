"""A batch is posted once, signed, to an address that was looked at, and every answer is borne."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from standardwebhooks import WebhookVerificationError

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import Reply, batch_of
from gatepost.runtime.feedback.webhook_http import MAX_ANSWER, SHOWN, Lookup, Poster
from lab.ca import Authority
from tests.runtime.consumer import (
    SECRET,
    Behaviour,
    Consumer,
    answers,
    closes,
    dribbles,
    hangs,
    never_ends,
)

BATCH = batch_of("acme", [Event("e1", EventKind.DELIVERED, time.time(), "acme", recipient="né@x")])


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    found = Consumer()
    yield found
    found.stop()


def webhook(url: str, *, allow_private: bool = True) -> Webhook:
    return Webhook("acme", url, SECRET, allow_private=allow_private)


def post(
    hook: Webhook,
    *,
    lookup: Lookup | None = None,
    context: ssl.SSLContext | None = None,
    total_s: float = 10,
    times: int = 1,
) -> Reply:
    async def main() -> Reply:
        poster = Poster(lookup=lookup, context=context, total_s=total_s)
        try:
            for _ in range(times):
                reply = await poster.post(hook, BATCH)
        finally:
            await poster.close()
        return reply

    return asyncio.run(main())


def test_what_arrives_is_signed(consumer: Consumer) -> None:
    consumer.behaviour = answers(202, "thanks")
    assert post(webhook(consumer.url("/a%20b?x=1"))) == Reply("", 202, body="thanks")
    [received] = consumer.take()
    assert received.verified()["data"]["events"][0]["data"]["recipient"] == "né@x"
    assert received.body == BATCH.body
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["User-Agent"].startswith("Gatepost/")
    assert received.id == BATCH.id
    assert received.path == "/a b"
    for other in (bytes(32), SECRET[:-1]):
        with pytest.raises(WebhookVerificationError):
            received.verified(other)
    forged = replace(received, body=received.body.replace(b"delivered", b"complained"))
    with pytest.raises(WebhookVerificationError):
        forged.verified()


@pytest.mark.parametrize(
    ("behaviour", "error", "status", "after"),
    [
        (answers(500, "out of order\n\x1b[31m"), "status 500: out of order", 500, None),
        (answers(429, Retry_After="120"), "status 429", 429, 120),
        (answers(503, "", Retry_After="soon"), "status 503", 503, None),
        (answers(410), "status 410", 410, None),
        (closes, "Server disconnected", None, None),
        (hangs, "no answer within 0.3 s", None, None),
        (never_ends, "status 500: xxx", 500, None),
        (
            answers(307, Location="http://127.0.0.1/other"),
            "a redirect to http://127.0.0.1/other, which is not followed",
            *(307, None),
        ),
    ],
)
def test_what_a_consumer_may_do(
    consumer: Consumer, behaviour: Behaviour, error: str, status: int | None, after: float | None
) -> None:
    consumer.behaviour = behaviour
    reply = post(webhook(consumer.url()), total_s=0.3 if behaviour is hangs else 10)
    assert error in reply.error
    assert (reply.status, reply.retry_after_s) == (status, after)
    assert reply.gone == (status == 410)
    assert len(reply.error) < 2 * SHOWN + 200
    assert reply.error.isprintable()
    assert len(consumer.all) == 1


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"\x16\x03\x01 no web server\r\n\r\n", "not HTTP as it should be: Bad status line"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Header: y\r\n" * 10_000, "Too many headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000, "not HTTP as it should be: Got more than"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, "no answer within 0.3 s"),
        (b"", "Server disconnected"),
    ],
)
def test_what_is_no_answer(octets: bytes, error: str) -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(octets)
        if octets:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.transport.abort()
        gone.set()

    async def main() -> Reply:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        # What never ends is waited for until then; what is no answer is known at once.
        poster = Poster(total_s=0.3 if "0.3 s" in error else 10)
        reply = await poster.post(webhook(f"http://127.0.0.1:{port}/"), BATCH)
        await poster.close()
        await gone.wait()
        server.close()
        await server.wait_closed()
        return reply

    reply = asyncio.run(main())
    assert reply.status is None
    assert error in reply.error
    assert len(reply.error) < 2 * SHOWN


def test_a_status_of_success_counts_even_if_the_rest_never_comes(consumer: Consumer) -> None:
    consumer.behaviour = dribbles
    assert post(webhook(consumer.url()), total_s=2) == Reply("", 200, body="thank you")


def test_a_long_answer_is_not_read_to_its_end(consumer: Consumer) -> None:
    consumer.behaviour = answers(200, "y" * 4 * MAX_ANSWER)
    assert post(webhook(consumer.url())) == Reply("", 200, body="y" * (SHOWN - 3) + "...")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "10.1.2.3", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "[fe80::1]", "[fd00::1]", "[ff02::1]", "[::ffff:127.0.0.1]"),
        "[64:ff9b::7f00:1]",
    ],
)
def test_private_addresses_are_refused(consumer: Consumer, host: str) -> None:
    reply = post(webhook(consumer.url(host=host), allow_private=False))
    assert "not a public address" in reply.error
    assert reply.status is None
    assert consumer.all == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "017700000001", "127.0.0.01"])
def test_addresses_in_disguise_are_refused(consumer: Consumer, host: str) -> None:
    reply = post(webhook(consumer.url(host=host), allow_private=False))
    assert (reply.status, reply.error != "") == (None, True)
    assert consumer.all == []


@pytest.mark.parametrize("host", ["localhost", "0x7f.0.0.1"])
def test_names_of_private_addresses_are_refused(consumer: Consumer, host: str) -> None:
    reply = post(webhook(consumer.url(host=host), allow_private=False))
    assert "not a public address, and allow_private is not set" in reply.error
    assert consumer.all == []


def test_a_name_is_asked_for_once_and_what_was_looked_at_is_connected_to(
    consumer: Consumer,
) -> None:
    asked = []

    async def rebinding(host: str) -> list[str]:
        asked.append(host)
        # Public at first, and from then on inside our network.
        return ["198.51.100.1", "8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

    reply = post(
        webhook(consumer.url(host="rebinds.example"), allow_private=False),
        lookup=rebinding,
        total_s=0.3,
    )
    assert asked == ["rebinds.example"]
    assert reply.error
    reply = post(
        webhook(consumer.url(host="rebinds.example"), allow_private=False), lookup=rebinding
    )
    assert reply.error == (
        "rebinds.example has the address 127.0.0.1, not a public address, and allow_private is not "
        "set"
    )
    assert consumer.all == []


def test_of_several_addresses_only_the_public_ones_are_used(consumer: Consumer) -> None:
    async def mixed(host: str) -> list[str]:
        del host
        return ["127.0.0.1", "192.0.2.1"]

    reply = post(webhook(consumer.url(host="a.example"), allow_private=False), lookup=mixed)
    # 192.0.2.0/24 is for documentation, and so no public address either.
    assert "127.0.0.1, not a public address" in reply.error
    assert consumer.all == []


def test_a_name_without_address(consumer: Consumer) -> None:
    async def nothing(host: str) -> list[str]:
        del host
        return []

    reply = post(webhook(consumer.url(host="a.example")), lookup=nothing)
    assert reply.error == "a.example has no address"


def test_nobody_listens() -> None:
    consumer = Consumer()
    consumer.stop()
    assert post(webhook(consumer.url())).error == "Connection refused"


def test_proxies_and_cookies_are_not_used(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    consumer.behaviour = answers(200, Set_Cookie="a=b")
    assert post(webhook(consumer.url()), times=2).status == 200
    first, second = consumer.take(2)
    assert "Cookie" not in second.headers
    assert first.headers["Host"] == f"127.0.0.1:{consumer.port}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


async def loopback(host: str) -> list[str]:
    assert host.endswith(".example")
    return ["127.0.0.1"]


def test_https_needs_a_certificate_for_that_name(authority: Authority) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(authority.issue("hooks.example").chain_file)
    trusting = ssl.create_default_context(cafile=str(authority.ca_file))
    consumer = Consumer(server)
    try:
        good = webhook(consumer.url(host="hooks.example"))
        assert post(good, lookup=loopback, context=trusting) == Reply("", 200)
        assert consumer.take()[0].headers["Host"] == f"hooks.example:{consumer.port}"
        unknown = post(good, lookup=loopback)
        assert "certificate is not good" in unknown.error
        other = webhook(consumer.url(host="other.example"))
        assert "certificate is not good" in post(other, lookup=loopback, context=trusting).error
        assert len(consumer.all) == 1
    finally:
        consumer.stop()
