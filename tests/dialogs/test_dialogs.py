"""Runs every *.dialog file through the codec alone and through the real pump; see README.md."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
DIALOGS = sorted(HERE.glob("*/*.dialog"))
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
    return [
        Step(
            step.line,
            [
                piece
                for packet in step.packets
                for piece in (
                    [packet]
                    if not packet
                    else [packet[i : i + size] for i in range(0, len(packet), size)]
                )
                for size in [1]
            ]
            if all(len(packet) < PIECE for packet in step.packets)
            else [
                packet[i : i + PIECE] for packet in step.packets for i in range(0, len(packet), PIECE)
            ],
            step.expected,
            step.waits,
            step.closes,
        )
        for step in steps
    ]


def test_every_rule_has_a_dialog():
    assert len(DIALOGS) > 80
    assert {path.parent.name for path in DIALOGS} == {"socketmap", "policy"}
