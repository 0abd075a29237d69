"""Runs every *.dialog file through the codec alone and through the real pump; see README.md."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gatepost.errors import LocalProtocolError, RemoteProtocolError, StoreUnavailable
from gatepost.wire import policy, socketmap
from gatepost.wire.netstring import encode_netstring
from gatepost.wire.signals import CLOSED, NEED_DATA
from policy_server.delegation import delegation
from policy_server.failures import reason_of
from policy_server.maps import maps
from policy_server.pump import Pump, Service

HERE = Path(__file__).parent
# Those in milter/ are for tests/milters/test_dialogs.py.
DIALOGS = sorted(path for path in HERE.glob("*/*.dialog") if path.parent.name != "milter")
PIECE = 4096


# The files


@dataclass
class Step:
    """The client says something, then the server does.

    Attributes:
        line: Line number of the first thing that the server does.
        packets: What the client sends, b"" for the end of its side.
        expected: What the server sends.
        waits: Whether the server has nothing to say yet.
        closes: Whether the server closes.
    """

    line: int
    packets: list[bytes] = field(default_factory=list)
    expected: bytes = b""
    waits: bool = False
    closes: bool = False


_REPEAT = re.compile(r"\\\{(\d+)\*(.*?)\}")
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[nr0\\])")
_OCTETS = {b"n": b"\n", b"r": b"\r", b"0": b"\0", b"\\": b"\\"}


def unescape(text: str) -> bytes:
    text = _REPEAT.sub(lambda match: match[2] * int(match[1]), text)
    return _ESCAPE.sub(
        lambda match: _OCTETS.get(match[1]) or bytes.fromhex(match[1][1:].decode()), text.encode()
    )


def framed(protocol: str, text: str) -> bytes:
    data = unescape(text)
    return encode_netstring(data) if protocol == "socketmap" else data + b"\n"


def parse(path: Path) -> list[Step]:
    """Return the steps of a dialog; the last one is the client's farewell."""
    steps = [Step(0)]
    new_packet = True
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        what, _, text = line[2:].partition(" ")
        if line.startswith("#") or not line:
            continue
        if line.startswith("c "):
            if steps[-1].line:
                steps.append(Step(0))
                new_packet = True
            packets = steps[-1].packets
            if what in ("->", ".>"):
                data = framed(path.parent.name, text) if what == "->" else unescape(text)
                if new_packet or not packets:
                    packets.append(data)
                else:
                    packets[-1] += data
                new_packet = False
                continue
            if what == "closes":
                packets.append(b"")
            else:
                assert what == "---", f"{path}:{number}: {line}"
            new_packet = True
            continue
        step = steps[-1]
        step.line = step.line or number
        if what in ("<-", "<."):
            step.expected += framed(path.parent.name, text) if what == "<-" else unescape(text)
        elif what == "waits":
            step.waits = True
        else:
            assert line == "s closes", f"{path}:{number}: {line}"
            step.closes = True
    if not steps[-1].closes:
        steps.append(Step(number + 1, [b""], closes=True))
    return steps


def octet_by_octet(steps: list[Step]) -> list[Step]:
    """Return the same with each packet cut into octets, or pieces where it is very long."""
    return [replace(step, packets=_cut(step.packets)) for step in steps]


def _cut(packets: list[bytes]) -> list[bytes]:
    size = 1 if all(len(packet) < PIECE for packet in packets) else PIECE
    return [packet[i : i + size] for packet in packets for i in range(0, max(len(packet), 1), size)]


def test_every_rule_has_a_dialog():
    assert len(DIALOGS) > 80
    assert {path.parent.name for path in DIALOGS} == {"socketmap", "policy"}


# The servers behind


def answer_map(request: socketmap.Request) -> Any:
    key = request.key
    replies: dict[str, Callable[[], Any]] = {
        "echo": lambda: socketmap.Ok(key),
        "later": lambda: _later(socketmap.Ok(key)),
        "none": socketmap.NotFound,
        "temp": lambda: socketmap.Temp(key),
        "timeout": lambda: socketmap.Timeout(key),
        "perm": lambda: socketmap.Perm(key),
        "long": lambda: socketmap.Ok("x" * int(key)),
    }
    if request.map_name == "down":
        raise StoreUnavailable(key)
    if request.map_name == "bug":
        raise RuntimeError(key)
    return replies[request.map_name]()


def answer_policy(request: policy.PolicyRequest) -> Any:
    if isinstance(request, policy.AdmitRequest):
        parts = (request.tenant, *request.recipients)
        return policy.Action("DUNNO " + " ".join(f"[{part}]" for part in parts))
    what, _, text = request.policy_context.partition(" ")
    if what == "down":
        raise StoreUnavailable("the database is locked")
    if what == "bug":
        raise RuntimeError("bug")
    if what == "hang":
        return policy.Disconnect("the handler chose to")
    if what == "later":
        return _later(policy.Action("DUNNO"))
    actions = {
        "show": f"DUNNO [{request.attributes.get(text, '')}]",
        "say": text,
        "newline": "DUNNO\naction=OK",
    }
    return policy.Action(actions.get(what, "DUNNO"))


class Later:
    """A reply that comes after some turns of the loop; without a loop it is there at once."""

    def __init__(self, reply: object) -> None:
        self.reply = reply

    def __await__(self) -> Iterator[Any]:
        for _ in range(5):
            yield from asyncio.sleep(0).__await__()
        return self.reply


async def _wait_for(later: Later) -> Any:
    return await later


def _later(reply: object) -> Later:
    return Later(reply)


def handler_of(protocol: str) -> Callable[[Any], Any]:
    def handle(request: Any) -> Any:
        reply = (answer_map if protocol == "socketmap" else answer_policy)(request)
        return _wait_for(reply) if isinstance(reply, Later) else reply

    return handle


def pump_of(protocol: str, failures: list[Any]) -> Pump[Any, Any]:
    make = maps if protocol == "socketmap" else delegation
    return make(handler_of(protocol), failures.append)


# Through the codec alone


class Conversation:
    """A connection without a socket: what the pump does, said in ten lines."""

    def __init__(self, protocol: str) -> None:
        service: Service[Any, Any] = pump_of(protocol, []).service
        self._codec = service.codec()
        self._trouble = service.trouble
        self._answer = answer_map if protocol == "socketmap" else answer_policy
        self.sent = b""
        self.closed = False

    def take(self, packet: bytes) -> None:
        if self.closed:
            return
        self._codec.receive_data(packet)
        try:
            while (event := self._codec.next_event()) is not NEED_DATA:
                if event is CLOSED:
                    self.closed = True
                    return
                self._reply(event)
        except RemoteProtocolError:
            self.closed = True

    def _reply(self, request: Any) -> None:
        try:
            reply = self._answer(request)
            self.sent += self._codec.send(reply.reply if isinstance(reply, Later) else reply)
        except (StoreUnavailable, RuntimeError, LocalProtocolError) as error:
            self.sent += self._codec.send(self._trouble(reason_of(error)))


by_name = pytest.mark.parametrize(
    "path", DIALOGS, ids=[f"{path.parent.name}/{path.stem}" for path in DIALOGS]
)
in_pieces = pytest.mark.parametrize("cut", [list, octet_by_octet], ids=["as written", "in pieces"])


@by_name
@in_pieces
def test_codec(path: Path, cut: Callable[[list[Step]], list[Step]]) -> None:
    conversation = Conversation(path.parent.name)
    for step in cut(parse(path)):
        for packet in step.packets:
            conversation.take(packet)
        where = f"{path.name}:{step.line}"
        assert (where, conversation.sent) == (where, step.expected)
        assert (where, conversation.closed) == (where, step.closes)
        conversation.sent = b""


# Through the real server


@by_name
@in_pieces
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_server(
    path: Path, cut: Callable[[list[Step]], list[Step]], loop: Callable[[], Any], tmp_path: Path
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_converse(path, cut(parse(path)), tmp_path / "s"))


async def _converse(path: Path, steps: list[Step], address: Path) -> None:
    pump = pump_of(path.parent.name, [])
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(pump.connect, str(address))
    # A plain socket: a StreamReader forgets what it has read when the connection breaks.
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    async with server, asyncio.timeout(20):
        await loop.sock_connect(client, str(address))
        for step in steps:
            await _say(client, step.packets)
            where = f"{path.name}:{step.line}"
            assert (where, await _read(client, len(step.expected))) == (where, step.expected)
            if step.waits:
                await _turns()
                with pytest.raises(BlockingIOError):
                    client.recv(1)
            if step.closes:
                assert (where, await _read(client, 1)) == (where, b"")
        client.close()
        await pump.drain(10)
        assert pump.connections == 0


async def _say(client: socket.socket, packets: list[bytes]) -> None:
    for packet in packets:
        try:
            if packet:
                await asyncio.get_running_loop().sock_sendall(client, packet)
            else:
                client.shutdown(socket.SHUT_WR)
        except OSError:
            # The server has closed already, which the dialog says in its next line.
            return
        await asyncio.sleep(0)


async def _read(client: socket.socket, octets: int) -> bytes:
    data = b""
    while len(data) < octets:
        try:
            part = await asyncio.get_running_loop().sock_recv(client, octets - len(data))
        except ConnectionError:
            return data
        if not part:
            return data
        data += part
    return data


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
