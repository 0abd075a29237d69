"""One-click unsubscription over real HTTP: asked well, asked badly, and not asked at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from gatepost.errors import StartError, StoreUnavailable
from gatepost.feedback.events import EventKind
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, Token, day_of, seal_token
from gatepost.runtime.feedback import unsubscribe as module
from gatepost.runtime.feedback.effects import Effects, open_feedback_stores
from gatepost.runtime.feedback.unsubscribe import Allowance, UnsubscribeServer
from gatepost.settings import Address
from gatepost.web.unsubscribe import ASKED, HEADERS, NO_REQUEST, NOT_FOUND
from lab.process import wait_until
from tests.world import KEYS, NOW, snapshot, tenant

ACME = tenant("acme", logins=("acme",))
WORLD = snapshot(ACME)
MESSAGE = b"12345678"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


class Fake:
    """Effects that are only counted."""

    def __init__(self) -> None:
        self.done: list[Token] = []
        self.known = True
        self.error: Exception | None = None
        self.closed = False

    def unsubscribe(self, token: Token, now: float) -> bool:
        if self.error is not None:
            raise self.error
        self.done.append(token)
        assert now > 0
        return self.known

    def close(self) -> None:
        self.closed = True


@contextlib.contextmanager
def serving(effects, counts: Counter[str] | None = None) -> Iterator[UnsubscribeServer]:
    counts = Counter() if counts is None else counts
    server = UnsubscribeServer(
        Address("127.0.0.1", 0),
        effects,
        lambda: WORLD,
        lambda result: counts.update([result]),
        clock=lambda: NOW,
    )
    try:
        yield server
    finally:
        server.stop()


def token(purpose: Purpose = Purpose.UNSUBSCRIBE, index: int = 1) -> str:
    return seal_token(Token(ACME.number, MESSAGE, index, day_of(NOW)), purpose, KEYS)


def ask(server: UnsubscribeServer, method: str, path: str, **more):
    """Return status, headers and body of one answer."""

    async def talk():
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"http://127.0.0.1:{server.port}{path}", allow_redirects=False, **more
            ) as response,
        ):
            return response.status, response.headers, await response.read()

    return asyncio.run(talk())


def raw(server: UnsubscribeServer, octets: bytes) -> bytes:
    """Send octets and return what comes until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as link:
        link.sendall(octets)
        return b"".join(iter(lambda: link.recv(65536), b""))


def multipart() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("List-Unsubscribe", "One-Click", content_type="text/plain")
    assert form.is_multipart
    return form


@pytest.mark.parametrize("data", [lambda: ONE_CLICK, multipart])
@pytest.mark.parametrize("prefix", ["/unsubscribe/", "/", "/elsewhere/here/"])
def test_a_post_unsubscribes(data: Callable, prefix: str, caplog) -> None:
    effects, counts = Fake(), Counter()
    with serving(effects, counts) as server, caplog.at_level(logging.INFO, "gatepost.unsubscribe"):
        status, headers, body = ask(
            server,
            "POST",
            f"{prefix}{token()}?utm=1",
            data=data(),
            headers={"X-Forwarded-For": "192.0.2.9, 2001:db8::1"},
        )
    assert (status, effects.done) == (200, [Token(ACME.number, MESSAGE, 1, day_of(NOW))])
    assert b"You are unsubscribed" in body
    assert "Set-Cookie" not in headers
    assert "Location" not in headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert headers["Connection"] == "close"
    assert counts == {"unsubscribed": 1}
    assert effects.closed
    (line,) = caplog.messages
    assert line == (
        f"unsubscribe result=unsubscribed tenant=acme message={MESSAGE.hex()} "
        'client="192.0.2.9, 2001:db8::1"'
    )


def test_nothing_else_does(caplog) -> None:
    effects, counts = Fake(), Counter()
    path = f"/unsubscribe/{token()}"
    with serving(effects, counts) as server:
        status, headers, body = ask(server, "GET", path)
        assert (status, body) == (200, ASKED.body)
        status, headers, body = ask(server, "HEAD", path)
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) == len(ASKED.body)
        status, headers, body = ask(server, "OPTIONS", path)
        assert (status, body, headers["Allow"]) == (204, b"", "GET, HEAD, POST, OPTIONS")
        assert "Content-Type" not in headers
        assert ask(server, "PUT", path, data=ONE_CLICK)[0] == 405
        assert ask(server, "POST", path)[0] == 400
        assert ask(server, "POST", path, json=ONE_CLICK)[0] == 400
        assert ask(server, "POST", path, data={**ONE_CLICK, "x": "y" * 5000})[0] == 413
        prefetch = {"Sec-Purpose": "prefetch", "Purpose": "prefetch"}
        assert ask(server, "GET", path, headers=prefetch)[0] == 200
        for purpose in (Purpose.BOUNCE, Purpose.COMPLAINT):
            status, _, body = ask(server, "POST", f"/unsubscribe/{token(purpose)}", data=ONE_CLICK)
            assert (status, body) == (404, NOT_FOUND.body)
        assert ask(server, "POST", "/unsubscribe/", data=ONE_CLICK)[2] == NOT_FOUND.body
        # What is no request, or too much of one.
        few, fields = (b"".join(b"A%d: x\r\n" % n for n in range(count)) for count in (50, 70))
        answer = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n" + few + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 404 ")
        for octets in (
            b"nonsense <script>\r\n\r\n",
            b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 5000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n",
            b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n",
            b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        ):
            answer = raw(server, octets)
            assert b" 400 " in answer.partition(b"\r\n")[0]
            assert answer.endswith(NO_REQUEST.body)
    assert effects.done == []
    assert counts["unsubscribed"] == 0
    assert counts["asked"] == 3
    assert counts["not-found"] == 4
    assert caplog.records == []


def test_a_message_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOK_S", 0.01)
    effects = Fake()
    effects.known = False
    with serving(effects) as server:
        status, _, body = ask(server, "POST", f"/{token()}", data=ONE_CLICK)
    assert (status, body) == (404, NOT_FOUND.body)
    assert len(effects.done) == 2


def test_a_message_that_is_not_in_the_book_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOK_S", 0.01)
    effects = Fake()
    found = iter([False, True])
    effects.unsubscribe = lambda *_: next(found)
    with serving(effects) as server:
        assert ask(server, "POST", f"/{token()}", data=ONE_CLICK)[0] == 200


@pytest.mark.parametrize("error", [StoreUnavailable("g.db: locked"), RuntimeError("a bug")])
def test_while_it_cannot_be_done_the_client_is_to_come_again(error: Exception) -> None:
    effects, counts = Fake(), Counter()
    effects.error = error
    with serving(effects, counts) as server:
        status, headers, _ = ask(server, "POST", f"/{token()}", data=ONE_CLICK)
        assert (status, headers["Retry-After"]) == (503, "60")
        effects.error = None
        assert ask(server, "POST", f"/{token()}", data=ONE_CLICK)[0] == 200
    assert counts == {"later": 1, "unsubscribed": 1}


def test_what_x_forwarded_for_may_say(caplog) -> None:
    path = f"/{token()}"
    with serving(Fake()) as server, caplog.at_level(logging.INFO, "gatepost.unsubscribe"):
        for value in ('evil" result=x', "1" * 101, ""):
            ask(server, "POST", path, data=ONE_CLICK, headers={"X-Forwarded-For": value})
    assert len(caplog.messages) == 3
    assert not any("client=" in line for line in caplog.messages)


def test_a_client_that_waits_for_leave_to_send_its_body() -> None:
    effects = Fake()
    with serving(effects) as server:
        status, _, _ = ask(server, "POST", f"/{token()}", data=ONE_CLICK, expect100=True)
    assert (status, len(effects.done)) == (200, 1)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /x HTTP",
        b"POST /x HTTP/1.1\r\nHost: x\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nList-Unsub",
    ],
)
def test_a_slow_client_is_left(begun: bytes, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(module, "READ_S", 0.1)
    effects = Fake()
    with (
        serving(effects) as server,
        socket.create_connection(("127.0.0.1", server.port), 20) as link,
    ):
        link.sendall(begun)
        # Cut off: no answer, and the connection has ended.
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(1) == b""
    assert effects.done == []
    assert caplog.records == []


def test_a_slow_store_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_S", 0.05)
    looked = threading.Event()
    real = UnsubscribeServer._close_slow

    def close_slow(self, handler) -> None:
        real(self, handler)
        looked.set()

    monkeypatch.setattr(UnsubscribeServer, "_close_slow", close_slow)
    effects = Fake()

    def unsubscribe(sealed: Token, now: float) -> bool:
        return looked.wait(20) and Fake.unsubscribe(effects, sealed, now)

    effects.unsubscribe = unsubscribe
    with serving(effects) as server:
        assert ask(server, "POST", f"/{token()}", data=ONE_CLICK)[0] == 200
    assert len(effects.done) == 1


def test_more_connections_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    with serving(Fake()) as server:
        open_ = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(2)]
        wait_until(lambda: server.connections() == 2, 20, "both connections")
        with socket.create_connection(("127.0.0.1", server.port), 20) as third:
            assert third.recv(1) == b""
        for link in open_:
            link.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert link.recv(12) == b"HTTP/1.1 404"
            link.close()
        wait_until(lambda: server.connections() == 0, 20, "their end")
        assert ask(server, "POST", f"/{token()}", data=ONE_CLICK)[0] == 200


def test_more_requests_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST", 2.0)
    monkeypatch.setattr(module, "RATE", 0.0)
    effects, counts = Fake(), Counter()
    with serving(effects, counts) as server:
        # What has no token, or only looks, takes nothing away from those who have one.
        for _ in range(3):
            assert ask(server, "POST", "/nonsense", data=ONE_CLICK)[0] == 404
            assert ask(server, "GET", f"/{token()}")[0] == 200
        answers = [ask(server, "POST", f"/{token()}", data=ONE_CLICK)[0] for _ in range(4)]
    assert answers == [200, 200, 503, 503]
    assert (len(effects.done), counts["limited"]) == (2, 2)


def test_the_allowance_comes_back_with_time() -> None:
    now = [0.0]
    allowance = Allowance(2.0, 3.0, lambda: now[0])
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.4
    assert not allowance.take()
    now[0] = 0.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]


def test_an_address_that_is_taken() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=r"cannot listen on 127\.0\.0\.1:"):
            UnsubscribeServer(Address("127.0.0.1", port), Fake(), lambda: WORLD, print)


def test_a_stop_lets_what_is_in_hand_end() -> None:
    effects = Fake()
    begun, go_on = threading.Event(), threading.Event()

    def unsubscribe(sealed: Token, now: float) -> bool:
        begun.set()
        return go_on.wait(20) and Fake.unsubscribe(effects, sealed, now)

    effects.unsubscribe = unsubscribe
    with serving(effects) as server:
        thread = threading.Thread(target=lambda: raw(server, _request(f"/{token()}")), daemon=True)
        thread.start()
        assert begun.wait(20)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        go_on.set()
        stopping.join(20)
        thread.join(20)
    assert len(effects.done) == 1


def _request(path: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\nList-Unsubscribe=One-Click"
    ).encode()


def test_who_unsubscribes_is_suppressed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real stores: the recipient that the token names, however often it is asked."""
    monkeypatch.setattr(module, "BOOK_S", 0.01)
    url = f"sqlite:///{tmp_path}/g.db"
    recipients = ("a@one.example", "b@two.example")
    message = Message(MESSAGE, NOW, "acme", "4X", "n@acme.example", recipients=recipients)
    with contextlib.closing(open_feedback_stores(url)) as stores:
        stores.messages.add([message])
        effects = Effects(lambda: open_feedback_stores(url), lambda: WORLD)
        with serving(effects) as server:
            for _ in range(3):
                assert ask(server, "POST", f"/{token(index=2)}", data=ONE_CLICK)[0] == 200
            # The whole message is nobody.
            assert ask(server, "POST", f"/{token(index=0)}", data=ONE_CLICK)[0] == 404
        rules = WORLD.suppression
        assert stores.suppression.find("acme", "b@two.example", NOW, rules) is not None
        assert stores.suppression.find("acme", "a@one.example", NOW, rules) is None
        assert stores.suppression.find("shop", "b@two.example", NOW, rules) is None
        (stored,) = stores.events.after(0, 9)
    assert (stored.event.kind, stored.event.recipient) == (
        EventKind.UNSUBSCRIBED,
        "b@two.example",
    )
