"""Clients of the measurement of isolation: tenants that send little, and one that floods.

``python -m bench.senders quiet HOST DOMAIN PERIOD ADDRESS…``: each address sends a message in
PERIOD seconds, the first of them at once, the others at even distances; a connection for each.
``python -m bench.senders flood HOST DOMAIN ADDRESS SESSIONS MESSAGES SECONDS LOG FROM TO``: over so
many kept connections it begins with FROM messages a second and grows exponentially to TO at the end
of SECONDS. What is refused for now is tried again a second later.

Format: a quiet message has the header ``X-Sent: ADDRESS UNIX-SECONDS``, with the time before its
client connected. The flood writes, every half second, ``NOW TAKEN REFUSED`` into LOG; it ends with
its messages or after its seconds.
Errors: a refusal for good, or a lost connection, ends it with a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

OCTETS = 4_096
_BODY = b"".join(
    b"%07d0123456789012345678901234567890123456789\r\n" % n for n in range(OCTETS // 49)
)


class _Refused(Exception):
    """Not now."""


class _Client:
    """One SMTP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, address: str) -> _Client:
        reader, writer = await asyncio.open_connection(host, 25, local_addr=(address, 0))
        client = cls(reader, writer)
        await client._expect(b"220")
        writer.write(b"EHLO client.example\r\n")
        await client._expect(b"250")
        return client

    async def send(self, sender: str, recipient: str, header: bytes) -> None:
        envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n"
        self._writer.write(envelope.encode())
        await self._expect(b"250")
        taken = await self._reply()
        await self._reply()
        if not taken.startswith(b"250"):
            # DATA without a recipient was refused as well; the connection goes on.
            if not taken.startswith(b"4"):
                raise SystemExit(f"refused: {taken!a}")
            self._writer.write(b"RSET\r\n")
            await self._expect(b"250")
            raise _Refused
        self._writer.write(header + b"Subject: bench\r\n\r\n" + _BODY + b".\r\n")
        last = await self._reply()
        if not last.startswith(b"250"):
            if not last.startswith(b"4"):
                raise SystemExit(f"refused: {last!a}")
            raise _Refused

    async def quit(self) -> None:
        self._writer.write(b"QUIT\r\n")
        await self._reply()
        self._writer.close()

    async def _reply(self) -> bytes:
        while True:
            line = await self._reader.readline()
            if not line:
                raise ConnectionResetError("Postfix hung up")
            if line[3:4] != b"-":
                return line

    async def _expect(self, code: bytes) -> None:
        reply = await self._reply()
        if not reply.startswith(code):
            raise SystemExit(f"refused: {reply!a}")


async def _quiet(host: str, domain: str, period: float, addresses: Sequence[str]) -> None:
    began = time.time()
    tasks: set[asyncio.Task[None]] = set()

    async def one(address: str, number: int) -> None:
        header = f"X-Sent: {address} {time.time():.4f}\r\n".encode()
        sender = f"news@q{addresses.index(address)}.example"
        client = await _Client.connect(host, address)
        with contextlib.suppress(_Refused):
            await client.send(sender, f"u{number}@{domain}", header)
        await client.quit()

    for number in itertools.count():
        due = began + number * period / len(addresses)
        await asyncio.sleep(max(0.0, due - time.time()))
        task = asyncio.create_task(one(addresses[number % len(addresses)], number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


class _Pace:
    """When the next message of the flood is due."""

    def __init__(self, seconds: float, first: float, last: float) -> None:
        self._began = time.time()
        self._seconds = seconds
        self._first = first
        self._growth = math.log(last / first) / seconds
        self._sent = 0

    async def wait(self) -> bool:
        """Wait for it; tell whether there is a next one."""
        self._sent += 1
        # The integral of the rate, solved for the time.
        due = self._sent / self._first
        if self._growth:
            due = math.log1p(due * self._growth) / self._growth
        if due > self._seconds:
            return False
        await asyncio.sleep(max(0.0, self._began + due - time.time()))
        return True


async def _flood(
    host: str, domain: str, address: str, sessions: int, pace: _Pace, messages: int, log: Path
) -> None:
    numbers = itertools.count()
    taken = refused = 0

    async def session() -> None:
        nonlocal taken, refused
        client = await _Client.connect(host, address)
        while await pace.wait() and (number := next(numbers)) < messages:
            try:
                await client.send("news@flood.example", f"u{number}@{domain}", b"")
                taken += 1
            except _Refused:
                refused += 1
                await asyncio.sleep(1)
        await client.quit()

    async def count() -> None:
        with log.open("w", encoding="ascii") as file:
            while True:
                file.write(f"{time.time():.3f} {taken} {refused}\n")
                file.flush()
                await asyncio.sleep(0.5)

    counting = asyncio.create_task(count())
    await asyncio.gather(*(session() for _ in range(sessions)))
    await asyncio.sleep(0.6)
    counting.cancel()


async def _main(what: str, host: str, domain: str, *rest: str) -> None:
    if what == "quiet":
        await _quiet(host, domain, float(rest[0]), rest[1:])
        return
    address, sessions, messages, seconds, log, first, last = rest
    pace = _Pace(float(seconds), float(first), float(last))
    await _flood(host, domain, address, int(sessions), pace, int(messages), Path(log))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(*sys.argv[1:]))
