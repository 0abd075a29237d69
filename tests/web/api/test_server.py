"""The server on real sockets: clients that are slow, silent, or gone, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StartError
from gatepost.settings import Address
from gatepost.web.api import guard, server
from gatepost.web.api.server import ApiServer, listen, port_of
from tests.web.api.place import Api, secret_of

HEAD = f"Host: x\r\nAuthorization: Bearer {secret_of('platform')}\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


@contextlib.asynccontextmanager
async def served(api: Api, listener: socket.socket) -> AsyncIterator[ApiServer]:
    running = ApiServer(api.app, 1)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        # It has no event for it.
        while not running.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield running
    finally:
        running.should_exit = True
        await asyncio.wait_for(task, 10)


def talk(api: Api, talk: Talk) -> Any:
    async def run() -> Any:
        listener, _ = listen(Address("127.0.0.1", 0))
        port = port_of(listener)
        async with served(api, listener):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return await asyncio.wait_for(talk(reader, writer), 20)
            finally:
                writer.close()

    return asyncio.run(run())


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next(int(each.split(":")[1]) for each in lines if each.startswith("content-length"))
    return int(lines[0].split()[1]), await reader.readexactly(length)


def test_requests_one_after_the_other_on_one_connection(api: Api) -> None:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[int]:
        found = []
        for _ in range(2):
            writer.write(f"GET /v1/tenants HTTP/1.1\r\n{HEAD}\r\n".encode())
            found.append((await answer_of(reader))[0])
        return found

    assert talk(api, run) == [200, 200]


@pytest.mark.parametrize(
    "sent", ["", "GET /v1/tenants HT", "GET /v1/tenants HTTP/1.1\r\nHost: x\r\nA"]
)
def test_who_says_nothing_or_never_ends_is_hung_up_on(
    api: Api, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.1)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent.encode())
        return await reader.read()

    assert talk(api, run) == b""


def test_the_second_request_must_become_whole_as_well(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.3)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"GET /v1/tenants HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert (await answer_of(reader))[0] == 200
        writer.write(b"GET /v1")
        return await reader.read()

    assert talk(api, run) == b""


def test_a_body_that_stops_coming(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_S", 0.1)
    monkeypatch.setattr(guard, "DRAIN_S", 0.1)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(
            f"POST /v1/explain HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        return (await answer_of(reader))[0]

    assert talk(api, run) == 408


def test_a_body_that_is_too_large_gets_its_answer_while_it_is_still_sent(api: Api) -> None:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(
            f"POST /v1/explain HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\n"
            "Content-Length: 500000\r\n\r\n".encode()
        )
        writer.write(b" " * 500_000)
        await writer.drain()
        return (await answer_of(reader))[0]

    assert talk(api, run) == 413


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5_000 + b"\r\n", 401),
        (
            (
                b"POST /v1/explain HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            401,
        ),
        (b"POST /v1/explain HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_is_no_request(
    api: Api, sent: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.1)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        with contextlib.suppress(ConnectionError):
            writer.write(sent)
            await writer.drain()
        try:
            return (await reader.read())[:12]
        except ConnectionError:
            return b""

    answers = {f"HTTP/1.1 {status}".encode()}
    if len(sent) > 16_384:
        # The connection is closed while the rest of it is under way, and the answer lost with it.
        answers.add(b"")
    assert talk(api, run) in answers


def test_on_a_socket_that_the_group_may_use(api: Api) -> None:
    path = api.directory / "run" / "api.sock"

    async def run() -> int:
        listener, file = listen(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with served(api, listener):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(f"GET /v1/tenants HTTP/1.1\r\n{HEAD}\r\n".encode())
            status, _ = await answer_of(reader)
            writer.close()
        assert file is not None
        file.remove()
        return status

    assert asyncio.run(run()) == 200
    assert not path.exists()


def test_an_address_that_is_taken_is_told() -> None:
    first, _ = listen(Address("127.0.0.1", 0))
    with first, pytest.raises(StartError, match=r"api: cannot listen on 127\.0\.0\.1:"):
        listen(Address("127.0.0.1", port_of(first)))


def test_a_name_of_a_file_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StartError, match="is in the way and is no socket"):
        listen(tmp_path / "x")
