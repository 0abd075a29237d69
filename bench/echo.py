"""A policy server that decides nothing: what asyncio itself costs.

``python -m bench.echo PATH [uvloop]`` answers every request with DUNNO.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class _Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.endswith(b"\n\n"):
            self._buffer = b""
            self._transport.write(b"action=DUNNO\n\n")


async def _main(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(_Echo, path)
    await server.serve_forever()


if __name__ == "__main__":
    factory = uvloop.new_event_loop if "uvloop" in sys.argv[2:] else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_main(sys.argv[1]))
