"""Postfix's side of the milter protocol, for tests and measurements of a milter.

Purpose: a test sees each octet that a milter answers, and can break off where Postfix never would.
Source: Sendmail's libmilter/mfdef.h (commands, replies, flags); Postfix src/milter/milter8.c, whose
order of commands and macros this follows.
Format: a packet is a length of 4 octets, most significant first, a command octet, and data;
texts in it end in NUL. `Reply.text` shows a packet in the words of tests/dialogs/README.md.
Limits: 128 KiB a packet, as Postfix has it for replies (XXX_MAX_DATA in milter8.c).
Errors: `MilterProtocolError` for anything that a milter must not send.
Not handled: SMFIR_ADDRCPT, REPLBODY, QUARANTINE and INSHEADER, for which no milter of ours
asks.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_PACKET_OCTETS = 128 * 1024
TIMEOUT_S = 60.0

# What Postfix 3.7 offers: my_actions and my_events in milter8_connect(), protocol version 6.
VERSION = 6
ACTIONS = 0x1FF
PROTOCOL = 0x1FFFFF

ACTION_NAMES = {
    0x01: "addhdrs",
    0x02: "chgbody",
    0x04: "addrcpt",
    0x08: "delrcpt",
    0x10: "chghdrs",
    0x20: "quarantine",
    0x40: "chgfrom",
    0x80: "addrcpt-par",
    0x100: "setsymlist",
}
# "no-X": the milter does not want to see X; "silent-X": it will not reply to it.
PROTOCOL_NAMES = {
    0x000001: "no-connect",
    0x000002: "no-helo",
    0x000004: "no-mail",
    0x000008: "no-rcpt",
    0x000010: "no-body",
    0x000020: "no-headers",
    0x000040: "no-eoh",
    0x000080: "silent-headers",
    0x000100: "no-unknown",
    0x000200: "no-data",
    0x000400: "skip",
    0x000800: "rejected-rcpts",
    0x001000: "silent-connect",
    0x002000: "silent-helo",
    0x004000: "silent-mail",
    0x008000: "silent-rcpt",
    0x010000: "silent-data",
    0x020000: "silent-unknown",
    0x040000: "silent-eoh",
    0x080000: "silent-body",
    0x100000: "leading-space",
}
STAGES = ("connect", "helo", "mail", "rcpt", "data", "end", "eoh")
COMMANDS = {
    "abort": b"A",
    "body": b"B",
    "connect": b"C",
    "end": b"E",
    "helo": b"H",
    "header": b"L",
    "mail": b"M",
    "eoh": b"N",
    "quit": b"Q",
    "rcpt": b"R",
    "data": b"T",
    "unknown": b"U",
}
_VERDICTS = {b"c": "continue", b"r": "reject", b"t": "tempfail", b"a": "accept", b"d": "discard"}
_OF_ONE_TEXT = {b"y": "reply", b"-": "delete-recipient"}
_LENGTH = struct.Struct(">I")
_NEGOTIATION = struct.Struct(">III")


class MilterProtocolError(Exception):
    """The milter sent what Postfix would not understand."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One packet of a milter.

    Attributes:
        code: The command octet.
        data: What follows it.
    """

    code: bytes
    data: bytes

    @property
    def final(self) -> bool:
        """Tell whether this answers the command, and is not an edit before the answer."""
        return self.code in _VERDICTS or self.code in (b"y", b"O")

    @property
    def text(self) -> str:
        """Return the packet in words.

        Raises:
            MilterProtocolError: If there are none for it.
        """
        code, data = self.code, self.data
        if code in _VERDICTS and not data:
            return _VERDICTS[code]
        if code in _OF_ONE_TEXT:
            return f"{_OF_ONE_TEXT[code]} {_strings(data, 1)[0]}"
        if code == b"h":
            name, value = _strings(data, 2)
            return f"add-header {name}: {value}"
        if code == b"m":
            (index,) = _LENGTH.unpack_from(data)
            name, value = _strings(data[_LENGTH.size :], 2)
            change = f": {value}" if value else ""
            verb = "change-header" if value else "delete-header"
            return f"{verb} {name} {index}{change}"
        if code == b"e":
            return f"change-sender {' '.join(_strings(data, data.count(bytes(1))))}"
        if code == b"O":
            return _negotiated(data)
        raise MilterProtocolError(f"unexpected reply {code!r} {data[:60]!r}")


class MilterDecoder:
    """Octets of a milter in, replies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take octets."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """Return the next whole packet, or None.

        Raises:
            MilterProtocolError: If its length is none that Postfix takes.
        """
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 1 <= length <= MAX_PACKET_OCTETS:
            raise MilterProtocolError(f"packet of {length} octets")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        packet = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return Reply(packet[:1], packet[1:])


def command(name: str, *texts: bytes) -> bytes:
    """Return the packet of a command whose data are texts, each ended by NUL."""
    return _packet(COMMANDS[name] + b"".join(text + b"\0" for text in texts))


def body(chunk: bytes) -> bytes:
    """Return the packet of one piece of a body."""
    return _packet(COMMANDS["body"] + chunk)


def connect(name: bytes, port: int, address: bytes) -> bytes:
    """Return the packet that tells who has connected."""
    family = b"6" if b":" in address else b"4"
    return _packet(
        COMMANDS["connect"] + name + b"\0" + family + struct.pack(">H", port) + address + b"\0"
    )


def macros(stage: str, values: Mapping[str, bytes]) -> bytes:
    """Return the packet with the macros of a command, which goes before that command."""
    pairs = b"".join(key.encode() + b"\0" + value + b"\0" for key, value in values.items())
    return _packet(b"D" + COMMANDS[stage] + pairs)


def negotiate(version: int = VERSION, actions: int = ACTIONS, protocol: int = PROTOCOL) -> bytes:
    """Return the packet that opens a connection."""
    return _packet(b"O" + _NEGOTIATION.pack(version, actions, protocol))


class MilterConnection:
    """A connection to a milter, as smtpd(8) keeps one for each of its clients."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Connect, and say nothing yet."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._socket.connect(str(path))
        self._decoder = MilterDecoder()

    def __enter__(self) -> MilterConnection:
        """Return the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, without a word."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send packets, or any other octets."""
        self._socket.sendall(data)

    def half_close(self) -> None:
        """Send no more."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self) -> Reply | None:
        """Return the next packet, or None if the milter has closed.

        Raises:
            MilterProtocolError: If the milter closes inside a packet.
        """
        while (reply := self._decoder.next_reply()) is None:
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._decoder.receive_data(data)
        return reply

    def ask(self, data: bytes) -> list[Reply]:
        """Send packets and return what the milter says up to its answer.

        Raises:
            MilterProtocolError: If it closes instead.
        """
        self.send(data)
        replies: list[Reply] = []
        while not replies or not replies[-1].final:
            reply = self.read()
            if reply is None:
                raise MilterProtocolError("the milter closed the connection")
            replies.append(reply)
        return replies


def _packet(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


def _strings(data: bytes, count: int) -> list[str]:
    parts = data.split(b"\0")
    if len(parts) != count + 1 or parts[-1]:
        raise MilterProtocolError(f"{data[:60]!r} is not {count} texts")
    return [part.decode("utf-8", "backslashreplace") for part in parts[:-1]]


def _negotiated(data: bytes) -> str:
    version, actions, protocol = _NEGOTIATION.unpack_from(data)
    words = [f"negotiate version={version}"]
    words.append("actions=" + ",".join(_names(actions, ACTION_NAMES)))
    words.append("protocol=" + ",".join(_names(protocol, PROTOCOL_NAMES)))
    rest = data[_NEGOTIATION.size :]
    while rest:
        (stage,) = _LENGTH.unpack_from(rest)
        names, _, rest = rest[_LENGTH.size :].partition(b"\0")
        words.append(f"macros-{STAGES[stage]}={names.decode().replace(' ', ',')}")
    return " ".join(words)


def _names(flags: int, names: Mapping[int, str]) -> Iterable[str]:
    known = [name for flag, name in names.items() if flags & flag]
    unknown = flags & ~sum(names)
    return [*known, hex(unknown)] if unknown else known
