"""Thousands of mail servers in one process, for the survey: every behaviour it has to survive.

Purpose: what a survey of strangers meets, and a record of how it behaved towards them. Other than
`lab.mx`, these servers take no mail, so a client that says MAIL is found out.
Source: RFC 5321, RFC 3207.
Format: ``python -m lab.swarm SPECIFICATION RECORD``: the specification is a JSON object with
``delay_s`` (before each reply) and ``servers``, a list of address, temper, chain file; the record
gets one JSON object a line: ``ready``, then ``connect`` (address, temper, client, at) and ``end``
(also with ``commands``, ``early``: octets that came before the greeting was whole, ``tls``) for
each connection.
Errors: none; a client that breaks the rules is written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import ssl
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO, cast

import uvloop

PORT = 25
FLOOD_OCTETS = 10 * 1024 * 1024
DRIP_S = 60.0


class Temper(StrEnum):
    """How a server behaves."""

    GOOD = "good"
    PLAIN = "plain"
    SELF_SIGNED = "selfsigned"
    EXPIRED = "expired"
    NOT_YET = "notyet"
    WRONG_NAME = "wrongname"
    WILDCARD = "wildcard"
    INTERMEDIATE = "intermediate"
    INCOMPLETE = "incomplete"
    WEAK_KEY = "weakkey"
    HUGE_CHAIN = "hugechain"
    OLD_TLS = "oldtls"
    STRIPPED = "stripped"
    INJECTS = "injects"
    GARBAGE_TLS = "garbagetls"
    REFUSES_TLS = "refusestls"
    BROKEN_TLS = "brokentls"
    HANGS_TLS = "hangstls"
    LOST_IN_TLS = "lostintls"
    BUSY = "busy"
    GREYLISTS = "greylists"
    GREYLISTS_EHLO = "greylistsehlo"
    REFUSES = "refuses"
    NO_EHLO = "noehlo"
    CLOSES = "closes"
    CLOSES_EHLO = "closesehlo"
    SILENT = "silent"
    DRIPS = "drips"
    FLOODS = "floods"
    FLOODS_LINES = "floodslines"
    SPLITS = "splits"
    GIBBERISH = "gibberish"
    DEAD = "dead"


# Which of the tempers show a certificate.
WITH_TLS = frozenset(
    {
        Temper.GOOD, Temper.SELF_SIGNED, Temper.EXPIRED, Temper.NOT_YET, Temper.WRONG_NAME,
        Temper.WILDCARD, Temper.INTERMEDIATE, Temper.INCOMPLETE, Temper.WEAK_KEY,
        Temper.HUGE_CHAIN, Temper.OLD_TLS, Temper.INJECTS, Temper.GARBAGE_TLS, Temper.REFUSES_TLS,
        Temper.BROKEN_TLS, Temper.HANGS_TLS, Temper.LOST_IN_TLS, Temper.SPLITS,
    }
)  # fmt: skip

# What is said instead of a greeting, and instead of the reply to EHLO and STARTTLS.
_GREETINGS = {
    Temper.BUSY: b"421 4.3.2 too many connections\r\n",
    Temper.GREYLISTS: b"450 4.7.1 greylisted, come back later\r\n",
    Temper.REFUSES: b"554 5.7.1 no mail from you\r\n",
    Temper.GIBBERISH: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    Temper.FLOODS: b"220 " + b"x" * FLOOD_OCTETS,
    Temper.FLOODS_LINES: b"220-welcome\r\n" * (FLOOD_OCTETS // 13),
}
_EHLO = {
    Temper.GREYLISTS_EHLO: b"450 4.7.1 greylisted, come back later\r\n",
    Temper.NO_EHLO: b"502 5.5.1 what is EHLO?\r\n",
}
_STARTTLS = {
    Temper.REFUSES_TLS: b"454 4.7.0 TLS not available now\r\n",
}
_GO_AHEAD = b"220 2.0.0 go ahead\r\n"
_INJECTED = b"250-mx.example\r\n250 AUTH PLAIN\r\n"


class Server:
    """One server."""

    def __init__(self, swarm: Swarm, address: str, temper: Temper, chain_file: str) -> None:
        self.swarm = swarm
        self.address = address
        self.temper = temper
        self.context = swarm.context(temper, chain_file) if chain_file else None

    def accept(self) -> asyncio.Protocol:
        """Return what talks to the next client."""
        return _Session(self)


class Swarm:
    """All servers of one process."""

    def __init__(self, record: TextIO, delay_s: float) -> None:
        self.delay_s = delay_s
        self._record = record
        self._contexts: dict[tuple[bool, str], ssl.SSLContext] = {}

    def write(self, **event: Any) -> None:
        """Write one event down, at once and whole."""
        self._record.write(json.dumps(event) + "\n")

    def context(self, temper: Temper, chain_file: str) -> ssl.SSLContext:
        """Return the context for a certificate; servers that show the same share it."""
        key = (temper is Temper.OLD_TLS, chain_file)
        if key not in self._contexts:
            self._contexts[key] = _context(chain_file, old=key[0])
        return self._contexts[key]


class _Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._temper = server.temper
        self._buffer = b""
        self._commands: list[str] = []
        self._greeted = False
        self._early = 0
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._secure = False
        self._gone = False
        self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = transport.get_extra_info("peername")[0]
        self._at = time.time()
        self._note("connect", at=self._at)
        if self._temper is Temper.CLOSES:
            self._transport.close()
        elif self._temper is Temper.DRIPS:
            self._drip(b"220 mx.example ESMTP\r\n")
        elif self._temper is not Temper.SILENT:
            greeting = _GREETINGS.get(self._temper, b"220 mx.example ESMTP swarm\r\n")
            self._later(self._greet, greeting)

    def _greet(self, greeting: bytes) -> None:
        self._greeted = True
        self._say(greeting)
        if self._temper is Temper.BUSY:
            # RFC 5321 §3.8: the server closes; a client that says QUIT is still polite.
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if not self._greeted:
            self._early += len(data)
        if self._tls is not None:
            self._in.write(data)
            self._advance()
            return
        self._take(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Write down what it did."""
        self._gone = True
        self._note(
            "end",
            at=self._at,
            ended=time.time(),
            commands=self._commands,
            early=self._early,
            tls=self._secure,
        )

    def _note(self, event: str, **fields: Any) -> None:
        server = self._server
        server.swarm.write(
            event=event, address=server.address, temper=server.temper, client=self._client, **fields
        )

    def _take(self, data: bytes) -> None:
        if self._deaf:
            return
        self._buffer += data
        while b"\n" in self._buffer and not self._gone:
            line, _, self._buffer = self._buffer.partition(b"\n")
            verb = line.split(maxsplit=1)[0].upper().decode("latin-1") if line.strip() else ""
            self._commands.append(line.decode("latin-1").strip())
            handler = _VERBS.get(verb)
            if handler is None:
                self._later(self._say, b"502 5.5.1 not here\r\n")
            else:
                handler(self)

    def ehlo(self) -> None:
        """Answer EHLO."""
        if self._secure and self._temper is Temper.LOST_IN_TLS:
            self._transport.abort()
        elif self._temper is Temper.CLOSES_EHLO:
            self._transport.close()
        elif self._temper in _EHLO:
            self._later(self._say, _EHLO[self._temper])
        else:
            lines = [b"250-mx.example", b"250-PIPELINING", b"250-SIZE 10240000"]
            if self._temper is Temper.STRIPPED:
                lines.append(b"250-XXXXXXXA")
            elif self._server.context is not None and not self._secure:
                lines.append(b"250-STARTTLS")
            self._later(self._say, b"\r\n".join([*lines, b"250 8BITMIME\r\n"]))

    def starttls(self) -> None:
        """Answer STARTTLS."""
        if self._temper is Temper.HANGS_TLS:
            self._deaf = True
            self._later(self._say, _GO_AHEAD)
        elif self._temper in _STARTTLS:
            self._later(self._say, _STARTTLS[self._temper])
        elif self._server.context is None or self._secure:
            self._later(self._say, b"502 5.5.1 no TLS here\r\n")
        else:
            self._later(self._begin_tls)

    def _begin_tls(self) -> None:
        assert self._server.context is not None
        self._say(_GO_AHEAD + (_INJECTED if self._temper is Temper.INJECTS else b""))
        if self._temper is Temper.BROKEN_TLS:
            self._transport.close()
        elif self._temper is Temper.GARBAGE_TLS:
            self._later(self._say, b"250 what would you like?\r\n")
        else:
            self._tls = self._server.context.wrap_bio(self._in, self._out, server_side=True)

    def _advance(self) -> None:
        assert self._tls is not None
        try:
            if not self._secure:
                self._tls.do_handshake()
                self._secure = True
                self._flush()
            while not self._gone:
                data = self._tls.read(65536)
                if not data:
                    break
                self._take(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        if not self._gone and (octets := self._out.read()):
            self._transport.write(octets)

    def quit(self) -> None:
        """Answer QUIT."""
        self._later(self._leave)

    def _leave(self) -> None:
        self._say(b"221 2.0.0 bye\r\n")
        self._transport.close()

    def rset(self) -> None:
        """Answer RSET."""
        self._later(self._say, b"250 2.0.0 fine\r\n")

    def _say(self, octets: bytes) -> None:
        if self._gone:
            return
        if self._tls is not None:
            self._tls.write(octets)
            self._flush()
        elif self._temper is Temper.SPLITS:
            self._split(octets)
        else:
            self._transport.write(octets)

    def _split(self, octets: bytes) -> None:
        """Send octet by octet; what is said meanwhile would get in between, but nobody does."""
        self._transport.write(octets[:1])
        if octets[1:] and not self._gone:
            asyncio.get_running_loop().call_later(0.001, self._split, octets[1:])

    def _drip(self, octets: bytes) -> None:
        if not self._gone and octets:
            self._transport.write(octets[:1])
            asyncio.get_running_loop().call_later(DRIP_S, self._drip, octets[1:])

    def _later(self, call: Callable[..., None], *arguments: bytes) -> None:
        delay_s = self._server.swarm.delay_s

        def unless_gone() -> None:
            if not self._gone:
                call(*arguments)

        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, unless_gone)
        else:
            unless_gone()


_VERBS: Mapping[str, Callable[[_Session], None]] = {
    "EHLO": _Session.ehlo,
    "STARTTLS": _Session.starttls,
    "QUIT": _Session.quit,
    "RSET": _Session.rset,
}


def _context(chain_file: str, *, old: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Distributions forbid small keys and old versions from security level 1 on.
    context.set_ciphers("ALL:@SECLEVEL=0")
    if old:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(chain_file)
    return context


async def _serve(specification: Mapping[str, Any], record: TextIO) -> None:
    swarm = Swarm(record, specification["delay_s"])
    loop = asyncio.get_running_loop()
    for address, temper, chain_file in specification["servers"]:
        if temper != Temper.DEAD:
            server = Server(swarm, address, Temper(temper), chain_file)
            await loop.create_server(server.accept, sock=_listening(address))
    swarm.write(event="ready")
    await asyncio.Event().wait()


def _listening(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    listener.bind((address, PORT))
    listener.listen(64)
    return listener


def main(arguments: list[str]) -> None:
    """Serve until killed."""
    specification, record = map(Path, arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with record.open("a", encoding="utf-8", buffering=1) as file, contextlib.suppress(OSError):
        uvloop.run(_serve(json.loads(specification.read_text("utf-8")), file))


if __name__ == "__main__":
    main(sys.argv[1:])
