"""The prober's own edges; the strangers of the lab show the rest."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from gatepost.tls.survey import probe as module
from gatepost.tls.survey.model import Probed, Target, Verdict
from gatepost.tls.survey.probe import Prober, Timeouts
from gatepost.tls.survey.trust import Trust

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = Target("127.0.0.1", "mx.a.example")


async def meet(trust: Trust, talk: Talk, **options: object) -> Probed:
    """Probe a server that talks as told."""
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                await talk(reader, writer)
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        given = {"timeouts": Timeouts.within(10.0), "port": port, **options}
        found = await Prober("survey.example", trust, **given).probe(LOOPBACK)  # type: ignore[arg-type]
        await ended.wait()
    return found


def test_a_source_address_that_is_not_ours_says_nothing_of_the_server(trust: Trust) -> None:
    prober = Prober("survey.example", trust, sources=["192.0.2.1"])
    with pytest.raises(OSError, match="assign"):
        asyncio.run(prober.probe(LOOPBACK))


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.ENETDOWN])
def test_a_host_without_ipv6_or_with_a_filter_goes_on(
    trust: Trust, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number)
    found = asyncio.run(
        Prober("survey.example", trust).probe(Target("2001:db8::1", "mx.a.example"))
    )
    assert (found.verdict, found.reason) == (Verdict.UNREACHABLE, errno.errorcode[number])


def test_a_version_that_postfix_does_not_use_reaches_nobody(trust: Trust) -> None:
    prober = Prober("survey.example", trust, versions={4})
    found = asyncio.run(prober.probe(Target("::1", "mx.a.example")))
    assert (found.verdict, found.reason) == (Verdict.UNREACHABLE, "IPv6 is not used here")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS])
def test_what_would_be_the_same_with_every_server_is_raised(
    trust: Trust, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number)
    with pytest.raises(OSError, match=os.strerror(number)):
        asyncio.run(Prober("survey.example", trust).probe(LOOPBACK))


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have this host refuse every connection with an error number."""

    async def create_connection(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)


def test_a_chosen_source_address_is_used(trust: Trust) -> None:
    clients: list[str] = []

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer.get_extra_info("peername")[0])
        writer.write(b"421 busy\r\n")
        await writer.drain()

    found = asyncio.run(meet(trust, talk, sources=["127.0.0.9"]))
    assert (found.verdict, clients) == (Verdict.UNKNOWN, ["127.0.0.9"])


def test_a_connection_that_is_there_in_time_is_not_given_up(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = asyncio.BaseEventLoop.create_connection

    async def create_connection(*arguments: Any) -> object:
        found = await connect(*arguments)
        # The loop is busy, and whoever asked for it hears of it when time is long over.
        await asyncio.sleep(0.4)
        return found

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250 hi\r\n")
        await reader.readline()

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
    found = asyncio.run(meet(trust, talk, timeouts=Timeouts(connect=0.1)))
    assert (found.verdict, found.reason) == (Verdict.NONE, "")


def test_there_is_an_end_to_what_is_taken(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OCTETS", 5000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n" * 10_000)
        await writer.drain()
        await reader.read()

    found = asyncio.run(meet(trust, talk))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "EHLO: more than 5000 octets")


def test_a_fault_of_ours_is_raised_and_holds_nobody(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(module.Dialogue, "receive_data", broken)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.read()

    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(meet(trust, talk))


def test_who_is_called_off_leaves_at_once(trust: Trust) -> None:
    async def scene() -> bytes:
        came, left = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.set()
            with suppress(OSError):
                await reader.read()
            writer.close()
            left.set_result(None)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            probing = asyncio.create_task(
                Prober("survey.example", trust, port=port).probe(LOOPBACK)
            )
            await came.wait()
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing
            await left
        return b""

    assert asyncio.run(scene()) == b""
