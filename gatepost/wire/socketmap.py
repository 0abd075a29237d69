"""The server's side of the socketmap protocol: Postfix asks a table for a key.

Purpose: answer look-ups of ``socketmap:unix:PATH:NAME`` tables.
Source: Postfix socketmap_table(5); dict_sockmap.c for what the client makes of each reply.
Format: request ``<map name> <key>``, reply ``OK <data>``, ``NOTFOUND ``, ``TEMP <reason>``,
``TIMEOUT <reason>`` or ``PERM <reason>``, each as one netstring. The map name is the part of the
table's name after the last colon; the key starts after the first blank and may hold blanks.
Limits: a request of 10,000 octets, which is also what Postfix 3.12 sends at most (earlier
versions send any length); a reply of 100,000 octets, more than which Postfix refuses.
Errors: `RemoteProtocolError` for a request that has no map name or is no netstring.
Security: Postfix does not fold the case of keys, nor look up parts of them, for this type of
table; whoever answers has to. The key is text of the peer's, see `text`.
Not handled: timeouts (the client waits 100 s) and idle connections, which belong to the I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.exchange import ServerExchange
from gatepost.wire.netstring import NetstringDecoder, encode_netstring
from gatepost.wire.text import decode_text, encode_text

MAX_REQUEST_OCTETS: Final = 10_000
MAX_REPLY_OCTETS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Request:
    """One look-up.

    Attributes:
        map_name: Which table, never empty.
        key: What to look up, exactly as Postfix has it.
    """

    map_name: str
    key: str


@dataclass(frozen=True, slots=True)
class Ok:
    """The key was found.

    Attributes:
        data: The value, never empty: Postfix warns of empty results and wants `NotFound`.
    """

    data: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The table has no such key: Postfix goes on as if the table were not there."""


@dataclass(frozen=True, slots=True)
class Temp:
    """The table cannot answer now: Postfix defers and tries again.

    Attributes:
        reason: What Postfix logs, of which it shows 200 characters.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Timeout:
    """As `Temp`, and the cause is that something took too long."""

    reason: str


@dataclass(frozen=True, slots=True)
class Perm:
    """The table will never answer this: Postfix takes it as an error of its configuration."""

    reason: str


Reply = Ok | NotFound | Temp | Timeout | Perm

_NOT_FOUND: Final = encode_netstring(b"NOTFOUND ")
_WORDS: Final = {Temp: "TEMP", Timeout: "TIMEOUT", Perm: "PERM"}


class SocketmapServer(ServerExchange[bytearray, Request, Reply]):
    """Requests in, replies out, for one connection."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(NetstringDecoder(MAX_REQUEST_OCTETS))

    def _parse(self, frame: bytearray) -> Request:
        map_name, blank, key = decode_text(frame).partition(" ")
        if not map_name or not blank:
            raise RemoteProtocolError(
                f"no map name in socketmap request {decode_text(frame[:60])!a}"
            )
        return Request(map_name, key)

    def _format(self, reply: Reply) -> bytes:
        if isinstance(reply, NotFound):
            return _NOT_FOUND
        if isinstance(reply, Ok):
            if not reply.data:
                raise LocalProtocolError("OK without data; Postfix wants NOTFOUND")
            text = f"OK {reply.data}"
        else:
            text = f"{_WORDS[type(reply)]} {reply.reason}"
        if "\0" in text:
            raise LocalProtocolError("NUL in a socketmap reply; Postfix would cut it there")
        data = encode_text(text)
        if len(data) > MAX_REPLY_OCTETS:
            raise LocalProtocolError(
                f"socketmap reply of {len(data)} octets; Postfix takes {MAX_REPLY_OCTETS}"
            )
        return encode_netstring(data)
