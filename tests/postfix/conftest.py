"""What the tests on a real Postfix share: stand-ins for Gatepost's roles, a client, a server."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatepost.postfix import apply
from gatepost.postfix.replace import replace as replace_file

# What a map answers: "OK x", "NOTFOUND ", "TEMP x"; None closes the connection.
Answer = Callable[[str, str], str]


class Roles:
    """Sockets where Postfix will ask, answered by functions that a test can exchange.

    Attributes:
        requests: Every policy request as a dictionary, in order.
        lookups: Every map request as (map, key), in order.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requests: list[dict[str, str]] = []
        self.lookups: list[tuple[str, str]] = []
        self.action = "DUNNO"
        self.answer: Answer = lambda _name, _key: "NOTFOUND "
        self._servers: dict[str, socketserver.ThreadingUnixStreamServer] = {}

    def start(self, *names: str) -> None:
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o755)
        for name in names or ("policy.sock", "maps.sock", "milter.sock", "intake.sock"):
            self.stop(name)
            handler = {
                "policy.sock": self._policy,
                "maps.sock": self._maps,
                "milter.sock": self._milter,
                "intake.sock": self._intake,
            }[name]
            path = self.directory / name
            server = _Server(str(path), _handler(handler))
            path.chmod(0o666)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self._servers[name] = server

    def stop(self, *names: str) -> None:
        for name in names or tuple(self._servers):
            server = self._servers.pop(name, None)
            if server is not None:
                server.shutdown()
                server.server_close()
                (self.directory / name).unlink()

    def _policy(self, stream: socket.SocketIO) -> None:
        while lines := list(_lines(stream)):
            request = dict(line.split("=", 1) for line in lines)
            if request["protocol_state"] != "CONNECT":
                self.requests.append(request)
            stream.write(f"action={self.action}\n\n".encode())

    def _maps(self, stream: socket.SocketIO) -> None:
        while request := _netstring(stream):
            name, _, key = request.partition(" ")
            self.lookups.append((name, key))
            reply = self.answer(name, key).encode()
            stream.write(b"%d:%b," % (len(reply), reply))

    @staticmethod
    def _intake(stream: socket.SocketIO) -> None:
        stream.write(b"220 stand-in\r\n")
        stream.readline()

    @staticmethod
    def _milter(stream: socket.SocketIO) -> None:
        while command := _packet(stream):
            if command == b"O":
                # Version 6, no edits, no callback; the end of a message cannot be declined.
                stream.write(b"\0\0\0\x0dO" + b"\0\0\0\x06" + b"\0\0\0\0" + b"\0\0\x03\x7f")
            elif command == b"E":
                stream.write(b"\0\0\0\x01c")
            elif command == b"Q":
                return


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def _handler(function: Callable[[socket.SocketIO], None]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), self.request.makefile("rwb", buffering=0) as stream:
                function(stream)

    return Handler


def _lines(stream: socket.SocketIO) -> Iterator[str]:
    while line := stream.readline().decode().rstrip("\n"):
        yield line


def _packet(stream: socket.SocketIO) -> bytes:
    """Read one packet of the milter protocol and return its command."""
    length = int.from_bytes(_exactly(stream, 4))
    return _exactly(stream, length)[:1]


def _exactly(stream: socket.SocketIO, octets: int) -> bytes:
    data = b""
    while len(data) < octets and (part := stream.read(octets - len(data))):
        data += part
    return data


def _netstring(stream: socket.SocketIO) -> str:
    digits = b""
    while (byte := stream.read(1)) not in {b":", b""}:
        digits += byte or b""
    return _exactly(stream, int(digits or 0) + 1)[:-1].decode()


@pytest.fixture
def roles() -> Iterator[Callable[[Path], Roles]]:
    """Return a function that starts stand-ins for all roles below a queue directory."""
    started: list[Roles] = []

    def start(queue_directory: Path) -> Roles:
        made = Roles(queue_directory / "gatepost")
        made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.stop()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files that attach has written look a minute old.

    Postfix's commands wait a second or two before they read a file that has only just been
    written; here each would wait several times.
    """

    def replace_and_backdate(path: Path, old: bytes, new: bytes) -> None:
        replace_file(path, old, new)
        past = path.stat().st_mtime - 60
        os.utime(path, (past, past))

    monkeypatch.setattr(apply, "replace", replace_and_backdate)
