"""Many connections at once: bounds, slow answers, clients that leave or do not read."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gatepost.wire.netstring import encode_netstring
from gatepost.wire.socketmap import Ok, Request
from policy_server.failures import Failure
from policy_server.maps import maps
from policy_server.pump import Pump

OK = encode_netstring(b"OK yes")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[Any]], Any]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda task: runner.run(asyncio.wait_for(task, 20))


@asynccontextmanager
async def serving(pump: Pump[Any, Any], path: Path) -> AsyncIterator[Callable[[], Any]]:
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(pump.connect, str(path), backlog=1024)

    async def connect() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        await loop.sock_connect(client, str(path))
        return client

    try:
        yield connect
    finally:
        server.close()


async def ask(client: socket.socket, key: str = "key") -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, encode_netstring(f"map {key}".encode()))
    return await loop.sock_recv(client, 4096)


def test_a_slow_answer_holds_up_its_own_connection_only(run: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        released = asyncio.Event()

        async def slow() -> Ok:
            await released.wait()
            return Ok("yes")

        def handler(request: Request) -> Any:
            return slow() if request.key == "slow" else Ok("yes")

        pump = maps(handler, lambda _: None)
        async with serving(pump, tmp_path / "s") as connect:
            held, free = await connect(), await connect()
            answer = asyncio.ensure_future(ask(held, "slow"))
            assert await ask(free) == OK
            assert not answer.done()
            released.set()
            assert await answer == OK
            held.close()
            free.close()
            assert await pump.drain(10) == 0

    run(scenario())


def test_connections_are_bounded_and_told_once(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[Failure] = []

    async def scenario() -> None:
        pump = maps(lambda _: Ok("yes"), failures.append, max_connections=2)
        loop = asyncio.get_running_loop()
        async with serving(pump, tmp_path / "s") as connect:
            first, second = await connect(), await connect()
            assert await ask(first) == await ask(second) == OK
            for _ in range(5):
                third = await connect()
                with suppress(ConnectionError):
                    assert await loop.sock_recv(third, 1) == b""
                third.close()
            first.close()
            while pump.connections > 1:  # noqa: ASYNC110 a pump tells nobody of its count
                await asyncio.sleep(0)
            fourth = await connect()
            assert await ask(fourth) == OK
            fourth.close()
            second.close()
            await pump.drain(10)

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert failures == [Failure.CAPACITY] * 5
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("too-many-connections service=maps")


def test_a_flood_of_garbled_requests_is_counted_whole_and_logged_in_part(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[Failure] = []

    async def scenario() -> None:
        pump = maps(lambda _: Ok("yes"), failures.append)
        loop = asyncio.get_running_loop()
        async with serving(pump, tmp_path / "s") as connect:
            for _ in range(30):
                client = await connect()
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\n\r\n")
                with suppress(ConnectionError):
                    assert await loop.sock_recv(client, 1) == b""
                client.close()

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert failures == [Failure.PROTOCOL] * 30
    assert len(caplog.messages) == 20


def test_two_hundred_connections_at_once(run: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        pump = maps(lambda _: Ok("yes"), lambda _: None)
        async with serving(pump, tmp_path / "s") as connect:
            clients = [await connect() for _ in range(200)]
            assert await asyncio.gather(*map(ask, clients)) == [OK] * 200
            assert pump.connections == 200
            for client in clients:
                client.close()
            assert await pump.drain(10) == 0

    run(scenario())


def test_a_client_that_leaves_before_its_answer_harms_nobody(run: Any, tmp_path: Path) -> None:
    failures: list[Failure] = []

    async def scenario() -> None:
        asked, released, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow() -> Ok:
            asked.set()
            await released.wait()
            finished.set()
            return Ok("yes")

        pump = maps(lambda r: slow() if r.key == "slow" else Ok("yes"), failures.append)
        async with serving(pump, tmp_path / "s") as connect:
            loop = asyncio.get_running_loop()
            gone = await connect()
            await loop.sock_sendall(gone, encode_netstring(b"map slow"))
            await asked.wait()
            gone.close()
            released.set()
            await finished.wait()
            stays = await connect()
            assert await ask(stays) == OK
            stays.close()
            await pump.drain(10)

    run(scenario())
    assert not failures


def test_a_client_that_does_not_read_is_not_buffered_without_bound(
    run: Any, tmp_path: Path
) -> None:
    answered = 0

    def handler(_: Request) -> Ok:
        nonlocal answered
        answered += 1
        return Ok("x" * 50_000)

    async def scenario() -> None:
        pump = maps(handler, lambda _: None)
        request = encode_netstring(b"map key")
        async with serving(pump, tmp_path / "s") as connect:
            client = await connect()
            total = 2_000
            loop = asyncio.get_running_loop()
            sending = asyncio.ensure_future(loop.sock_sendall(client, request * total))
            before = -1
            while before != answered:
                before = answered
                for _ in range(20):
                    await asyncio.sleep(0)
            # 2,000 answers would be 100 MB; what waits is what the kernel and one pause take.
            assert answered < 100
            size = len(encode_netstring(b"OK " + b"x" * 50_000))
            got = 0
            while got < size * total:
                got += len(await loop.sock_recv(client, 1 << 20))
            await sending
            assert (answered, got) == (total, size * total)
            client.close()
            await pump.drain(10)

    run(scenario())


def test_drain_answers_what_is_in_hand_and_cuts_off_the_rest(run: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        asked, released = asyncio.Event(), asyncio.Event()

        async def slow() -> Ok:
            asked.set()
            await released.wait()
            return Ok("yes")

        pump = maps(lambda _: slow(), lambda _: None)
        loop = asyncio.get_running_loop()
        async with serving(pump, tmp_path / "s") as connect:
            idle, waiting, half = await connect(), await connect(), await connect()
            answer = asyncio.ensure_future(ask(waiting))
            await asked.wait()
            # Half a request: Postfix will send the rest, or never.
            await loop.sock_sendall(half, b"7:map")
            while pump.connections < 3:  # noqa: ASYNC110 a pump tells nobody of its count
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            draining = asyncio.ensure_future(pump.drain(0.2))
            assert await loop.sock_recv(idle, 1) == b""
            released.set()
            assert await answer == OK
            assert await loop.sock_recv(waiting, 1) == b""
            assert await draining == 1
            for client in (idle, waiting, half):
                client.close()

    run(scenario())
