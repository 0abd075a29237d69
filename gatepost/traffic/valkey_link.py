"""The connection to Valkey or Redis: one at a time, each call with an end.

Purpose: carry the words of `valkey_words` to the scripts, and replies back.
Source: Valkey commands EVALSHA, SCRIPT LOAD.
Limits: a call, and making a connection, take `TIMEOUT_S` at most.
Errors: `CountersUnavailable` for all that goes wrong; the connection is then gone. After a call
that failed it is not known whether it was carried out; the next `Link.open` tells.
Security: the password is in the URL or in a file of its own, and in no message.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from gatepost.errors import CountersUnavailable
from gatepost.traffic.counters import MAX_IN_FAMILIES, MAX_IN_FAMILY
from gatepost.traffic.valkey_target import Target
from gatepost.traffic.valkey_words import PREFIX, STALE, header

TIMEOUT_S: Final = 0.3
_PREFIX: Final = PREFIX.encode()


class Hello(NamedTuple):
    """What a node learns when it begins on a connection.

    Attributes:
        number: Number of its last call that counted anything, or empty.
        replies: What was answered to that.
        era: Another than before if Valkey has lost its data.
        nodes: How many nodes are alive.
    """

    number: str
    replies: list[str]
    era: str
    nodes: int


class Link:
    """Speaks to Valkey for one node.

    Args:
        target: Where it is.
        sizes: How many counters a family may have, and all of them.

    Attributes:
        member: Name of this process among the nodes.
        patience_s: How long an answer is waited for, in seconds.
    """

    def __init__(
        self, target: Target, sizes: tuple[int, int] = (MAX_IN_FAMILY, MAX_IN_FAMILIES)
    ) -> None:
        # Two processes of one name, such as the one before, are two nodes.
        self.member = f"{target.node}/{secrets.token_hex(4)}".encode()
        self.patience_s = TIMEOUT_S
        self._target = target
        self._key = b"%bn:%b" % (_PREFIX, self.member)
        self._text = header(*sizes) + _script("counters.lua")
        self._script = b""
        self._epoch = b""
        self._connection: client.Connection | None = None

    async def open(self, now: bytes) -> Hello:
        """Begin anew.

        Args:
            now: Seconds, or empty for the time of Valkey.

        Raises:
            CountersUnavailable: If that failed.
        """
        await self.close()
        said = await self._timed(lambda: self._open(now))
        if not isinstance(said, list) or len(said) != 5 or not isinstance(said[4], int):
            raise CountersUnavailable("answers that make no sense")
        number, reply, era = map(_text, said[1:4])
        if number and not number.isdecimal():
            raise CountersUnavailable("answers that make no sense")
        self._epoch = said[0]
        return Hello(number, reply.split("\n")[1:], era, said[4])

    async def call(self, number: int, words: Sequence[bytes], now: bytes) -> list[str] | None:
        """Have operations carried out; return their replies, or None if we have to begin anew.

        Args:
            number: Number of this call.
            words: The operations.
            now: Seconds, or empty for the time of Valkey.

        Raises:
            CountersUnavailable: If it is not known whether they were carried out.
        """
        arguments = [b"1", self._key, self._epoch, b"%d" % number, now, _PREFIX, *words]
        reply = _text(await self._timed(lambda: self._run(arguments)))
        return None if reply == STALE else _lines(reply)

    async def read(self, words: Sequence[bytes]) -> list[str]:
        """Have operations carried out that change nothing, for one who is no node.

        Raises:
            CountersUnavailable: If that failed.
        """
        if self._connection is None:
            await self._timed(self._connect)
        arguments = [b"1", self._key, b"", b"0", b"", _PREFIX, *words]
        return _lines(_text(await self._timed(lambda: self._run(arguments))))

    async def command(self, *words: str | bytes | int) -> Any:
        """Return what a command gives.

        Raises:
            CountersUnavailable: If that failed.
        """
        if self._connection is None:
            await self._timed(self._connect)
        return await self._timed(lambda: self._send(*words))

    async def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _timed(self, work: Callable[[], Any]) -> Any:
        try:
            async with asyncio.timeout(self.patience_s):
                return await work()
        except TimeoutError as error:
            await self.close()
            raise CountersUnavailable(f"no answer within {self.patience_s:g} s") from error
        # Whatever a server, a proxy or a stranger at this address sends ends up here.
        except Exception as error:
            await self.close()
            raise CountersUnavailable(_reason(error)) from error

    async def _open(self, now: bytes) -> Any:
        await self._connect()
        hello = await self._send("SCRIPT", "LOAD", _script("hello.lua"))
        era = secrets.token_hex(8)
        return await self._send("EVALSHA", hello, 1, self._key, now, PREFIX, era, self.member)

    async def _connect(self) -> None:
        connection = _connection(self._target)
        self._connection = connection
        await connection.connect()  # type: ignore[no-untyped-call]
        self._script = await self._send("SCRIPT", "LOAD", self._text)

    async def _run(self, arguments: Iterable[bytes]) -> Any:
        try:
            return await self._send("EVALSHA", self._script, *arguments)
        except NoScriptError:
            return await self._send("EVAL", self._text, *arguments)

    async def _send(self, *words: str | bytes | int) -> Any:
        connection = self._connection
        assert connection is not None
        await connection.send_command(*words)
        return await connection.read_response()


def _connection(target: Target) -> client.Connection:
    # `Link` ends what takes too long, and nothing is to be tried twice.
    options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "client_name": "gatepost"}
    options |= {"socket_timeout": None, "socket_connect_timeout": None}
    if target.password_file is not None:
        options["password"] = Path(target.password_file).read_text(encoding="utf-8").strip()
    if target.ca_file is not None:
        options["ssl_ca_certs"] = target.ca_file
    pool = client.ConnectionPool.from_url(target.url, **options)
    made: client.Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return made


def _script(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _text(reply: object) -> str:
    if not isinstance(reply, bytes):
        raise CountersUnavailable("answers that make no sense")
    return reply.decode("ascii", "replace")


def _lines(text: str) -> list[str]:
    """Return the replies to operations, behind the time."""
    lines = text.split("\n")[1:]
    if any(line[:1] not in {"0", "1"} for line in lines):
        raise CountersUnavailable("answers that make no sense")
    return lines


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200].rstrip(".")
    return text or type(error).__name__
