"""A destination that takes so many connections at a time, and so long for each message.

``python -m bench.slow_sink ADDRESS CONNECTIONS SECONDS LOG``

Purpose: what isolation is measured against: a receiver with a capacity. A connection above its
number waits for its greeting until another one ends, in the order in which they came.
Format: of each message with the header ``X-Sent``, a line ``quiet SENDER SENT ARRIVED`` in LOG, in
Unix seconds; of all others, every half second a line ``flood NOW COUNT``.
Errors: none; it ends when it is killed.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO, cast

import uvloop

PORT = 25
_SENT = re.compile(rb"^X-Sent: (\S+) ([0-9.]+)\r$", re.MULTILINE)
_GREETING = b"220 slow.example ESMTP\r\n"
_HELLO = b"250-slow.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n"
_COUNT_S = 0.5


class Destination:
    """What all connections share."""

    def __init__(self, connections: int, seconds: float, log: TextIO) -> None:
        self.seconds = seconds
        self._free = connections
        self._waiting: deque[_Session] = deque()
        self._log = log
        self._flood = 0

    def come(self, session: _Session) -> None:
        """Greet a connection, or let it wait."""
        if self._free:
            self._free -= 1
            session.greet()
        else:
            self._waiting.append(session)

    def go(self, session: _Session) -> None:
        """Take note that a connection has ended."""
        if not session.greeted:
            self._waiting.remove(session)
        elif self._waiting:
            self._waiting.popleft().greet()
        else:
            self._free += 1

    def arrived(self, message: bytes) -> None:
        """Write down a message."""
        found = _SENT.search(message)
        if found is None:
            self._flood += 1
            return
        sender, sent = found[1].decode(), found[2].decode()
        self._log.write(f"quiet {sender} {sent} {time.time():.4f}\n")

    async def count(self) -> None:
        """Write down how many came, again and again."""
        while True:
            await asyncio.sleep(_COUNT_S)
            self._log.write(f"flood {time.time():.3f} {self._flood}\n")
            self._log.flush()
            self._flood = 0


class _Session(asyncio.Protocol):
    def __init__(self, destination: Destination) -> None:
        self.greeted = False
        self._destination = destination
        self._buffer = b""
        self._data = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._destination.come(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._destination.go(self)

    def greet(self) -> None:
        self.greeted = True
        self._transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while self._buffer:
            if self._data:
                message, end, rest = self._buffer.partition(b"\r\n.\r\n")
                if not end:
                    return
                self._buffer, self._data = rest, False
                self._transport.pause_reading()
                loop = asyncio.get_running_loop()
                loop.call_later(self._destination.seconds, self._took, message)
                return
            line, end, rest = self._buffer.partition(b"\r\n")
            if not end:
                return
            self._buffer = rest
            self._command(line[:4].upper())

    def _command(self, verb: bytes) -> None:
        if verb == b"DATA":
            self._data = True
            self._transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
        else:
            self._transport.write(_HELLO if verb == b"EHLO" else b"250 ok\r\n")

    def _took(self, message: bytes) -> None:
        self._destination.arrived(message)
        if not self._transport.is_closing():
            self._transport.write(b"250 taken\r\n")
            self._transport.resume_reading()
            self._go_on()


async def _main(address: str, connections: int, seconds: float, log: Path) -> None:
    with log.open("w", encoding="ascii") as file:
        destination = Destination(connections, seconds, file)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Session(destination), address, PORT, backlog=512)
        async with server:
            await destination.count()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
