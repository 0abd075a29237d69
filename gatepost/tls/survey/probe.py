"""Probe mail servers: sockets and TLS around `dialogue`.

Purpose: one connection to one address, from the greeting to QUIT, many at a time on one loop.
Source: RFC 5321, RFC 3207; RFC 8461 §7.1 and RFC 7672 §8.1 (SNI is the MX host's name).
Format: `Prober.probe` returns a `Probed`.
Limits: each step has a deadline for the whole of it, so that a server that sends an octet a minute
does not hold a probe; 1 MiB of data in a probe, with the 100 KiB that OpenSSL takes of certificates
by far the largest part of an honest one. A connection keeps a TLS object and two buffers that grow
with what is in them, some 60 KiB, where asyncio's own TLS keeps 256 KiB more.
Errors: none; what happens on the network is in the result. What is wrong here (no more sockets, a
source address that is not ours) is raised as OSError: it would be the same with every server. A
route or filter of this host that stands in the way of one is no more than an unreachable server.
Security: certificates are taken as they come, since nothing is entrusted to the connection; the
oldest protocols and weakest ciphers are accepted in order to be reported. Octets between the 220
and the handshake end the probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from gatepost.errors import MalformedMessage
from gatepost.tls.survey.certificates import parse_certificate, read_certificate
from gatepost.tls.survey.dialogue import Close, Dialogue, Send, StartTls, Step
from gatepost.tls.survey.model import DaneVerdict, Probed, Target, TlsFacts, Verdict
from gatepost.tls.survey.tlsa import match
from gatepost.tls.survey.trust import Trust

PORT = 25
BOTH_VERSIONS = frozenset({4, 6})
MAX_OCTETS = 1024 * 1024
_READ_OCTETS = 65536
_DER = 2  # _ssl.ENCODING_DER
# From linux/in.h: take the port at connect, so that one address has 28,000 of them for each server
# and not for all together. Python has no name for it.
_IP_BIND_ADDRESS_NO_PORT = 24
# These are ours: to take them for the server's would fill the store with nonsense. EADDRNOTAVAIL is
# not among them: it is what a host without IPv6 says of each server with IPv6.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for the whole of a step.

    Attributes:
        connect: The TCP handshake.
        greeting: Servers make clients wait on purpose, since spammers do not.
        command: EHLO and STARTTLS.
        handshake: TLS.
        quit: The good-bye.
    """

    connect: float = 15.0
    greeting: float = 60.0
    command: float = 30.0
    handshake: float = 30.0
    quit: float = 5.0

    @staticmethod
    def within(greeting: float) -> Timeouts:
        """Return timeouts in the usual proportion.

        Args:
            greeting: Seconds for the greeting, by far the slowest step of an honest server.
        """
        return Timeouts(greeting / 4, greeting, greeting / 2, greeting / 2, min(5.0, greeting / 2))

    def of(self, step: Step) -> float:
        """Return the seconds for a step."""
        if step is Step.GREETING:
            return self.greeting
        if step is Step.HANDSHAKE:
            return self.handshake
        return self.quit if step is Step.QUIT else self.command


class Prober:
    """What all probes of a survey share."""

    def __init__(
        self,
        name: str,
        trust: Trust,
        *,
        sources: Sequence[str] = (),
        versions: Collection[int] = BOTH_VERSIONS,
        timeouts: Timeouts | None = None,
        port: int = PORT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Describe it.

        Args:
            name: What we call ourselves in EHLO.
            trust: The roots.
            sources: Addresses to connect from, at most one of each version.
            versions: IP versions to connect over: best those of Postfix, which cannot reach others.
            timeouts: Of the steps.
            port: Where the servers listen.
            clock: Tells Unix time.
        """
        self.name = name
        self.timeouts = timeouts or Timeouts()
        self.context = _client_context()
        self._trust = trust
        self._sources = {ipaddress.ip_address(each).version: each for each in sources}
        self._versions = frozenset(versions)
        self._port = port
        self._clock = clock

    async def probe(self, target: Target) -> Probed:
        """Return what a server offers.

        Raises:
            OSError: If something is wrong on this side.
        """
        at = self._clock()
        version = _version_of(target)
        if version not in self._versions:
            why = f"IPv{version} is not used here"
            return Probed(target, at, 0.0, Verdict.UNREACHABLE, why)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        connection = _Connection(self, target, loop)
        try:
            await self._connect(connection, target, loop)
            await connection.over
        except BaseException:
            connection.abandon()
            raise
        return self._judge(connection, at, loop.time() - begun)

    async def _connect(
        self, connection: _Connection, target: Target, loop: asyncio.AbstractEventLoop
    ) -> None:
        source = self._sources.get(_version_of(target))
        client = None if source is None else self._socket(source)
        try:
            async with asyncio.timeout(self.timeouts.connect) as connection.deadline:
                if client is None:
                    await loop.create_connection(lambda: connection, target.address, self._port)
                else:
                    await self._connect_by(client, connection, target, loop)
        except TimeoutError:
            connection.refused("no connection in time")
        except OSError as error:
            if error.errno in _OURS:
                raise
            connection.refused(_words(error))

    async def _connect_by(
        self,
        client: socket.socket,
        connection: _Connection,
        target: Target,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            await loop.sock_connect(client, (target.address, self._port))
        except BaseException:
            client.close()
            raise
        await loop.create_connection(lambda: connection, sock=client)

    @staticmethod
    def _socket(source: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        client = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((source, 0))
        except BaseException:
            client.close()
            raise
        return client

    def _judge(self, connection: _Connection, at: float, seconds: float) -> Probed:
        dialogue, tls = connection.dialogue, connection.tls_facts
        target = connection.target
        certificate = chain = None
        dane = DaneVerdict.NONE
        if tls is not None and tls.chain:
            parsed = parse_certificate(tls.chain[0])
            chain = self._trust.judge(tls.chain, target.host, at, parsed)
            with contextlib.suppress(MalformedMessage):
                certificate = read_certificate(tls.chain, parsed)
        if tls is not None and target.tlsa:
            shown = tls.chain
            dane = match(
                target.tlsa, shown, lambda anchor: self._trust.anchored(shown, anchor, target.host)
            )
        return Probed(
            target,
            at,
            seconds,
            dialogue.verdict,
            dialogue.reason,
            dialogue.greeting,
            dialogue.ehlo,
            dialogue.ehlo_tls,
            tls.version if tls else "",
            tls.cipher if tls else "",
            certificate,
            chain,
            dane,
        )


class _Connection(asyncio.Protocol):
    """One probe's connection.

    Attributes:
        target: Whom it asks.
        dialogue: What has been said.
        tls_facts: The handshake, once it is done.
        over: Done when the connection has ended.
        deadline: Of the attempt to connect.
    """

    __slots__ = (
        "_incoming", "_loop", "_octets", "_outgoing", "_prober", "_step", "_timer", "_tls",
        "_tls_begun", "_transport", "deadline", "dialogue", "over", "target", "tls_facts",
    )  # fmt: skip

    def __init__(self, prober: Prober, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self.target = target
        self.dialogue = Dialogue(prober.name)
        self.tls_facts: TlsFacts | None = None
        self.over: asyncio.Future[None] = loop.create_future()
        self.deadline: asyncio.Timeout | None = None
        self._prober = prober
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._step = Step.CONNECT
        self._octets = 0
        self._tls_begun = False
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None

    def refused(self, reason: str) -> None:
        """End, without a connection."""
        if self.dialogue.step is Step.CONNECT:
            self.dialogue.not_connected(reason)
        else:
            # It came in the same moment in which the time was over.
            self.dialogue.connection_lost(reason)
            self.abandon()
        self._finish()

    def abandon(self) -> None:
        """End at once, whatever the server thinks of it."""
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # That of uvloop is no asyncio.Transport, though it is one in all but name.
        self._transport = cast("asyncio.Transport", transport)
        if self.deadline is not None and not self.deadline.expired():
            # Where a lot goes on at once, it is long until whoever waits for this hears of it.
            self.deadline.reschedule(None)
        with self._guard():
            self.dialogue.connected()
            self._go_on()

    def data_received(self, data: bytes) -> None:
        """Take what the server sent."""
        with self._guard():
            self._take(data)
            self._go_on()

    def eof_received(self) -> bool:
        """Take note that the server sends no more."""
        with self._guard():
            self._lost()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the connection is gone."""
        with self._guard():
            if error is None:
                self._lost()
            else:
                self.dialogue.connection_lost(_words(error))
        self._finish()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Hand a fault of ours to whoever awaits the probe; the loop would only print it."""
        try:
            yield
        except Exception as error:
            if not self.over.done():
                self.over.set_exception(error)
            self.abandon()

    def _take(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MAX_OCTETS:
            self.dialogue.connection_lost(f"more than {MAX_OCTETS} octets")
        elif self._incoming is None:
            self.dialogue.receive_data(data)
        elif self._tls_begun or self.dialogue.is_handshake(data):
            self._tls_begun = True
            self._incoming.write(data)
            self._advance_tls()
        else:
            self.dialogue.receive_data(data)

    def _lost(self) -> None:
        self.dialogue.receive_data(b"")
        self._go_on()

    def _go_on(self) -> None:
        while (action := self.dialogue.next_action()) is not None:
            if isinstance(action, Send):
                self._send(action.octets)
            elif isinstance(action, StartTls):
                self._begin_tls()
            elif isinstance(action, Close):
                self._close()
        self._watch_step()

    def _watch_step(self) -> None:
        step = self.dialogue.step
        if step is self._step or self.over.done():
            return
        self._step = step
        self._stop_timer()
        if step is not Step.DONE:
            seconds = self._prober.timeouts.of(step)
            self._timer = self._loop.call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        with self._guard():
            self.dialogue.time_out()
            self._go_on()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, octets: bytes) -> None:
        assert self._transport is not None
        if self._tls is None:
            self._transport.write(octets)
        else:
            self._tls.write(octets)
            self._flush_tls()

    def _begin_tls(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self._prober.context
        try:
            self._tls = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname=self.target.host
            )
        except ValueError:
            # A name that SNI cannot carry.
            self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._advance_tls()

    def _advance_tls(self) -> None:
        assert self._tls is not None
        try:
            if self.tls_facts is None:
                self._tls.do_handshake()
                self.tls_facts = _facts_of(self._tls)
                self.dialogue.tls_established()
                self._go_on()
            while not self.dialogue.over:
                self.dialogue.receive_data(self._tls.read(_READ_OCTETS))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if self.tls_facts is None:
                self.dialogue.tls_failed(_tls_words(error))
            else:
                self.dialogue.connection_lost(_tls_words(error))
        self._flush_tls()

    def _flush_tls(self) -> None:
        assert self._outgoing is not None
        assert self._transport is not None
        octets = self._outgoing.read()
        if octets:
            self._transport.write(octets)

    def _close(self) -> None:
        if self._transport is None:
            return
        if self._tls is not None and self.tls_facts is not None:
            # Says that we send no more, as whoever cuts the line could not.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush_tls()
        self._transport.close()

    def _finish(self) -> None:
        self._stop_timer()
        self._tls = self._incoming = self._outgoing = None
        if not self.over.done():
            self.over.set_result(None)


def _version_of(target: Target) -> Literal[4, 6]:
    return 6 if ":" in target.address else 4


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # As Postfix has it where TLS is opportunistic; a server with old ciphers is to be found out.
    context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    return context


def _facts_of(tls: ssl.SSLObject) -> TlsFacts:
    cipher = tls.cipher()
    # Public only from Python 3.13; before, it is there under this name, and without documentation.
    found = tls._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # noqa: SLF001
    chain = tuple(each.public_bytes(_DER) for each in found)
    return TlsFacts(tls.version() or "", cipher[0] if cipher else "", chain)


def _words(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return errno.errorcode[number]
    return type(error).__name__


def _tls_words(error: ssl.SSLError) -> str:
    words = (error.reason or str(error) or type(error).__name__).replace("_", " ").lower()
    return words.encode("ascii", "replace").decode("ascii")[:100]
