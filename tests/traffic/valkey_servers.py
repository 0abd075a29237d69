"""A private Valkey or Redis for tests, on a UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from gatepost.traffic.counters import Amount, Holder
from gatepost.traffic.quota import Claim, Shortage, Usage
from gatepost.traffic.valkey import ValkeyCounters
from gatepost.traffic.valkey_link import Link
from gatepost.traffic.valkey_target import Target

T = TypeVar("T")
# Where nothing is to be interrupted, however busy the machine is.
PATIENCE_S = 30.0


class Server:
    """A server of our own; `options` as on its command line."""

    def __init__(self, directory: Path, *options: str) -> None:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            pytest.skip("neither valkey-server nor redis-server is installed: ./dev installs it")
        self.path = directory / "s"
        self._command = [program, "--port", "0", "--unixsocket", str(self.path), "--dir"]
        self._command += [str(directory), "--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.path))
                return
            time.sleep(0.01)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def send(self, *words: str) -> bytes:
        """Return what one command answers, as it is on the wire."""
        octets = [word.encode("utf-8", "surrogateescape") for word in words]
        text = b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in octets)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
            client.sendall(b"*%d\r\n%b" % (len(octets), text))
            return client.recv(65_536)

    @property
    def target(self) -> Target:
        return Target(f"unix://{self.path}", str(self.path))


class Wire:
    """A wire between one node and a server, that can be cut: `mode` is one of the words below.

    open: all passes. cut: nothing does, and connections end. mute: nothing of the node arrives.
    deaf: all of the node arrives, and no answer does. `delay` has what is sent on connections of
    now arrive after `release`.
    """

    def __init__(self, directory: str, target: Target, name: str) -> None:
        self.mode = "open"
        self.target = replace(target, url=f"unix://{directory}/{name}", node=name)
        self._path = f"{directory}/{name}"
        self._to = target.url.removeprefix("unix://")
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: list[asyncio.Event] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, self._path)

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        self.release()
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        self.mode = "cut"
        for writer in self._writers:
            writer.close()

    def delay(self) -> None:
        for gate in self._gates:
            gate.clear()

    def release(self) -> None:
        for gate in self._gates:
            gate.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.mode == "cut":
                raise OSError
            up_reader, up_writer = await asyncio.open_unix_connection(self._to)
        except OSError:
            writer.close()
            return
        for side, out, word in ((reader, up_writer, "mute"), (up_reader, writer, "deaf")):
            task = asyncio.ensure_future(self._carry(side, out, word))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowed_when: str
    ) -> None:
        self._writers.add(writer)
        gate = asyncio.Event()
        gate.set()
        self._gates.append(gate)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await gate.wait()
                if self.mode != swallowed_when:
                    writer.write(data)
            await gate.wait()
        writer.close()
        self._writers.discard(writer)


@contextlib.contextmanager
def server(*options: str) -> Iterator[Server]:
    """Run a server."""
    # The path of a socket has 107 characters at most, and those of pytest are long.
    with tempfile.TemporaryDirectory(prefix="gp-") as directory:
        made = Server(Path(directory), *options)
        try:
            yield made
        finally:
            made.go_on()
            made.kill()


class Waiting:
    """Shared counters as if they answered at once, by the clock of a test."""

    def __init__(self, target: Target, node: str = "n1", **options: object) -> None:
        self.now = 0.0
        self.loop = asyncio.new_event_loop()

        async def make() -> ValkeyCounters:
            sizes = options.pop("sizes", None)
            link = Link(replace(target, node=node), **({} if sizes is None else {"sizes": sizes}))  # type: ignore[arg-type]
            link.patience_s = PATIENCE_S
            return ValkeyCounters(link, lambda: self.now, tells_time=True, **options)  # type: ignore[arg-type]

        self.counters = self.run(make())

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.loop.run_until_complete(wait())

    def join(self) -> None:
        self.run(self.counters.calls.start(5.0))
        assert self.counters.calls.shared

    def close(self) -> None:
        self.run(self.counters.calls.stop())
        self.loop.close()

    def _answer(
        self, ask: Callable[[], Shortage | Awaitable[Shortage | None] | None]
    ) -> Shortage | None:
        async def wait() -> Shortage | None:
            answer = ask()
            return await answer if isinstance(answer, Awaitable) else answer

        return self.loop.run_until_complete(wait())

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        self.now = now
        return self._answer(lambda: self.counters.reserve(holder, claims, amount, now))

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Shortage | None:
        self.now = now
        return self._answer(lambda: self.counters.commit(holder, claims, amount, now))

    def release(self, session: str, message: str) -> None:
        self.counters.release(session, message)

    def refund(self, message: str, now: float) -> bool:
        self.now = now
        return self.counters.refund(message, now)

    def usage(self, claims: Iterable[Claim], now: float) -> list[Usage]:
        self.now = now
        return self.run(self.counters.usage(claims, now))
