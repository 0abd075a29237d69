"""Mail servers of every TLS kind on many addresses in one process, and a record of what they got.

Purpose: what a sending Postfix meets. The record is the proof in tests: it says what came over TLS,
and also whether DATA was ever spoken in plaintext, finished or not.
Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS: what was said before it is forgotten).
Format: ``python -m lab.mx SPECIFICATION RECORD``: the specification is a JSON list of `Host`s, the
record gets one JSON object a line, with ``event``, ``at`` (seconds since 1970), ``host``, ``kind``,
``client`` and ``tls`` (``{"version": …, "cipher": …}`` or null). Events: ``ready`` once all listen;
``data`` at each DATA command, before anything is answered; ``message`` once a message is taken,
with ``sender``, ``recipients`` and ``message`` (its octets as Latin-1); ``session`` when a
connection has ended, with its ``commands`` and ``failure`` (what went wrong, or null).
Limits: a line of 64 KiB and a message of 64 MiB; what is longer is cut off with the connection.
Errors: a client that breaks the rules gets a 5xx or loses its connection; nothing is raised.
Not handled: SMTPUTF8, CHUNKING, AUTH.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

PORT = 25
_MAX_MESSAGE = 64 * 1024 * 1024
_MAX_LINE = 65536
_SLOW_S = 3.0


class Kind(StrEnum):
    """What is special about a mail server."""

    GOOD = "good"
    PLAIN = "plain"
    SELF_SIGNED = "selfsigned"
    WRONG_NAME = "wrongname"
    EXPIRED = "expired"
    OLD_TLS = "oldtls"
    SLOW = "slow"
    DEAD = "dead"
    BUSY = "busy"
    REFUSES = "refuses"
    BROKEN_TLS = "brokentls"
    REFUSES_TLS = "refusestls"
    CLOSES = "closes"
    HANGS_GREETING = "hangs-greeting"
    HANGS_EHLO = "hangs-ehlo"
    HANGS_TLS = "hangs-tls"
    HANGS = "hangs"
    HANGS_DATA = "hangs-data"
    HANGS_END = "hangs-end"
    LIMITS = "limits"


MEANING: Mapping[Kind, str] = {
    Kind.GOOD: "STARTTLS with a good certificate",
    Kind.PLAIN: "no STARTTLS",
    Kind.SELF_SIGNED: "self-signed certificate",
    Kind.WRONG_NAME: "certificate of another name",
    Kind.EXPIRED: "expired certificate",
    Kind.OLD_TLS: "TLS 1.0 and 1.1 only",
    Kind.SLOW: f"answers after {_SLOW_S:g} s",
    Kind.DEAD: "nothing listens",
    Kind.BUSY: "421 instead of a greeting",
    Kind.REFUSES: "550 to every recipient",
    Kind.BROKEN_TLS: "closes the connection in the handshake",
    Kind.REFUSES_TLS: "offers STARTTLS and answers 454",
    Kind.CLOSES: "closes the connection at DATA",
    Kind.HANGS_GREETING: "never greets",
    Kind.HANGS_EHLO: "never answers EHLO",
    Kind.HANGS_TLS: "never begins the handshake",
    Kind.HANGS: "never answers RCPT TO",
    Kind.HANGS_DATA: "never answers DATA",
    Kind.HANGS_END: "reads the message and never answers",
    Kind.LIMITS: "450 too many messages, to recipients whose address begins with limited",
}

# The kinds without TLS, for which no certificate is made.
WITHOUT_TLS = frozenset({Kind.PLAIN, Kind.DEAD, Kind.BUSY, Kind.HANGS_GREETING})


@dataclass(frozen=True, slots=True)
class Host:
    """One mail server.

    Attributes:
        name: Its host name.
        address: IPv4 address.
        kind: What is special about it.
        chain_file: Key and certificate, empty for a server without TLS.
        port: TCP port.
    """

    name: str
    address: str
    kind: Kind
    chain_file: str = ""
    port: int = PORT


class Recorder:
    """Appends events to a file, each at once and whole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, **event: Any) -> None:
        """Append one event, with the time."""
        self._file.write(json.dumps({**event, "at": time.time()}) + "\n")


class _Gone(Exception):
    """The client went away, or is not worth talking to."""


class _Session:
    """One connection."""

    def __init__(
        self,
        host: Host,
        context: ssl.SSLContext | None,
        record: Recorder,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._host = host
        self._context = context
        self._record = record
        self._reader = reader
        self._writer = writer
        self._tls: dict[str, Any] | None = None
        self._sender: str | None = None
        self._parameters = ""
        self._recipients: list[str] = []
        self._client = writer.get_extra_info("peername")[0]
        self._commands: list[str] = []
        self._failure: str | None = None

    async def run(self) -> None:
        """Talk until one side leaves."""
        try:
            await self._talk()
        except _Gone:
            pass
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            # What a client does to us is what the record is for; it is not our failure.
            self._failure = str(error) or type(error).__name__
        finally:
            self._record.write(
                event="session", **self._where(), commands=self._commands, failure=self._failure
            )
            self._writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await self._writer.wait_closed()

    async def _talk(self) -> None:
        await self._hang_at(Kind.HANGS_GREETING)
        if self._host.kind is Kind.SLOW:
            await asyncio.sleep(_SLOW_S)
        if self._host.kind is Kind.BUSY:
            await self._say("421 4.3.2 too busy")
            return
        await self._say(f"220 {self._host.name} ESMTP lab")
        while True:
            verb, argument = await self._command()
            handler = self._HANDLERS.get(verb)
            if handler is None:
                await self._say("502 5.5.1 command not known here")
            else:
                await handler(self, argument)

    async def _hang_at(self, kind: Kind) -> None:
        """If this is such a host, say nothing more until the client leaves."""
        if self._host.kind is kind:
            while await self._reader.read(_MAX_LINE):
                pass
            raise _Gone

    async def _command(self) -> tuple[str, str]:
        line = await self._reader.readuntil(b"\n")
        verb, _, argument = line.decode("latin-1").strip().partition(" ")
        self._commands.append(verb.upper())
        return verb.upper(), argument

    async def _say(self, *lines: str) -> None:
        last = len(lines) - 1
        for number, line in enumerate(lines):
            text = line if number == last else f"{line[:3]}-{line[4:]}"
            self._writer.write(f"{text}\r\n".encode("latin-1"))
        await self._writer.drain()

    async def _ehlo(self, _: str) -> None:
        await self._hang_at(Kind.HANGS_EHLO)
        lines = [f"250 {self._host.name}", "250 PIPELINING", "250 SIZE", "250 8BITMIME"]
        lines += ["250 DSN", "250 ENHANCEDSTATUSCODES"]
        if self._context is not None and self._tls is None:
            lines.append("250 STARTTLS")
        self._sender = None
        await self._say(*lines)

    async def _helo(self, _: str) -> None:
        await self._say(f"250 {self._host.name}")

    async def _starttls(self, _: str) -> None:
        if self._context is None or self._tls is not None:
            await self._say("502 5.5.1 no TLS here")
            return
        if self._host.kind is Kind.REFUSES_TLS:
            await self._say("454 4.7.0 TLS not available now")
            return
        await self._say("220 2.0.0 go ahead")
        if self._host.kind is Kind.BROKEN_TLS:
            raise _Gone
        await self._hang_at(Kind.HANGS_TLS)
        await self._writer.start_tls(self._context)
        tls = self._writer.get_extra_info("ssl_object")
        self._tls = {"version": tls.version(), "cipher": tls.cipher()[0]}
        self._sender = None

    async def _mail(self, argument: str) -> None:
        self._sender = _path(argument)
        self._parameters = argument.partition(">")[2].strip()
        self._recipients = []
        await self._say("250 2.1.0 fine")

    async def _rcpt(self, argument: str) -> None:
        await self._hang_at(Kind.HANGS)
        if self._host.kind is Kind.REFUSES:
            await self._say("550 5.1.1 no such user")
            return
        if self._host.kind is Kind.LIMITS and _path(argument).startswith("limited"):
            await self._say("450 4.7.1 too many messages from you, slow down")
            return
        self._recipients.append(_path(argument))
        await self._say("250 2.1.5 fine")

    async def _data(self, _: str) -> None:
        # Written before anything is read: a DATA that is cut off has been spoken all the same.
        self._record.write(event="data", **self._where())
        await self._hang_at(Kind.HANGS_DATA)
        if self._host.kind is Kind.CLOSES:
            raise _Gone
        if self._sender is None or not self._recipients:
            await self._say("554 5.5.1 no recipients")
            return
        await self._say("354 go ahead")
        message = await self._content()
        await self._hang_at(Kind.HANGS_END)
        self._record.write(
            event="message",
            **self._where(),
            sender=self._sender,
            parameters=self._parameters,
            recipients=self._recipients,
            message=message.decode("latin-1"),
        )
        self._sender = None
        await self._say("250 2.0.0 taken")

    async def _content(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        while (line := await self._reader.readuntil(b"\n")) != b".\r\n":
            size += len(line)
            if size > _MAX_MESSAGE:
                raise _Gone
            lines.append(line.removeprefix(b".") if line.startswith(b".") else line)
        return b"".join(lines)

    async def _rset(self, _: str) -> None:
        self._sender = None
        await self._say("250 2.0.0 fine")

    async def _noop(self, _: str) -> None:
        await self._say("250 2.0.0 fine")

    async def _quit(self, _: str) -> None:
        await self._say("221 2.0.0 bye")
        raise _Gone

    def _where(self) -> dict[str, Any]:
        host = self._host
        return {"host": host.name, "kind": host.kind, "client": self._client, "tls": self._tls}

    _HANDLERS: Mapping[str, Callable[..., Any]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "STARTTLS": _starttls,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "RSET": _rset,
        "NOOP": _noop,
        "QUIT": _quit,
    }


def _path(argument: str) -> str:
    """Return the address in the argument of MAIL or RCPT."""
    _, _, rest = argument.partition("<")
    address, closed, _ = rest.rpartition(">")
    return address if closed else rest


def _context(host: Host) -> ssl.SSLContext | None:
    if not host.chain_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if host.kind is Kind.OLD_TLS:
        # Distributions forbid such old versions from security level 1 on.
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(host.chain_file)
    return context


async def _serve(hosts: list[Host], record: Recorder) -> None:
    servers = [await _listen(host, record) for host in hosts if host.kind is not Kind.DEAD]
    record.write(event="ready")
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _listen(host: Host, record: Recorder) -> asyncio.Server:
    context = _context(host)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Session(host, context, record, reader, writer).run()

    return await asyncio.start_server(
        accept, host.address, host.port, limit=_MAX_LINE, backlog=1024
    )


def main(arguments: list[str]) -> None:
    """Serve until killed."""
    specification, record = map(Path, arguments)
    hosts = [
        Host(**{**each, "kind": Kind(each["kind"])})
        for each in json.loads(specification.read_text("utf-8"))
    ]
    asyncio.run(_serve(hosts, Recorder(record)))


if __name__ == "__main__":
    main(sys.argv[1:])
