"""Take mail that came back from Postfix, over LMTP.

Purpose: Postfix delivers the bounce and feedback domains here. A mail is on disk before Postfix is
told so, and is read later by `intake_worker`, so a mail that takes long or kills its reader never
holds up Postfix's queue.
Source: RFC 2033 (§4.2: one reply for each recipient), RFC 5321 §4.5.2 (dots), Postfix lmtp(8).
Format: LHLO, MAIL, RCPT, DATA, RSET, NOOP, QUIT. Replies:

================  ==================================================================================
250               the mail is on disk, and will be after a loss of power
450 4.1.2         the recipient's domain is none of ours: main.cf and our configuration differ
452 4.5.3         more than 20 recipients; Postfix brings the others again
452 4.3.1         too little room on the disk; Postfix keeps the mail
451 4.3.0         it could not be written, or we failed; Postfix keeps the mail
================  ==================================================================================

Limits: no SIZE is announced and no mail is refused for its size, since Postfix would answer a
refusal with a bounce; see `spool` for what is kept of a large one. A line of a mail may have any
length, and a command 8 KiB, four times what Postfix takes itself. 50 connections, each of which may
be silent for 60 s.
Errors: `StartError` if the socket cannot be made.
Security: every octet is hostile. Nothing is ever sent to anybody, and no reply but those above is
made: a report about a report goes nowhere. A refusal for good would have Postfix write to a sender
that is forged as a rule, so nothing that Postfix can hand over is refused for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from aiosmtpd.lmtp import LMTP

from gatepost.errors import StartError
from gatepost.runtime.feedback.feedback_metrics import IntakeMetrics
from gatepost.runtime.feedback.spool import NoRoom, Spool, Writing
from gatepost.runtime.log import log_event
from gatepost.runtime.paths import SOCKET_MODE
from gatepost.runtime.sockets import SocketFile, listen_unix
from gatepost.snapshot import Snapshot

TIMEOUT_S = 60.0
MAX_CONNECTIONS = 50
MAX_RECIPIENTS = 20
MAX_COMMAND_OCTETS = 8192
MAX_FOREIGN = 100
STOP_S = 5.0
MAX_TURNS = 100

_log = logging.getLogger("gatepost.intake")
# aiosmtpd would tell of each command.
logging.getLogger("mail.log").setLevel(logging.ERROR)
_PATH = re.compile(r"\s*<(.*)>(?:\s+[^<>]*)?", re.DOTALL)


class Intake:
    """Serves LMTP on a thread and loop of its own, until `stop`."""

    def __init__(
        self,
        path: Path,
        group: str,
        spool: Spool,
        current: Callable[[], Snapshot],
        metrics: IntakeMetrics,
        arrived: Callable[[], None],
    ) -> None:
        """Listen; mail is taken as soon as this returns.

        Args:
            path: The socket.
            group: Name of the group that may connect.
            spool: Where mail goes.
            current: Gives the snapshot in force.
            metrics: Where to count.
            arrived: Called when a mail is on disk, on the intake's own thread.

        Raises:
            StartError: If the socket cannot be made.
        """
        self._spool = spool
        self._current = current
        self._metrics = metrics
        self._arrived = arrived
        self._file: SocketFile
        self._socket, self._file = listen_unix(path, SOCKET_MODE, group=group)
        self._loop = asyncio.new_event_loop()
        self._connections: set[IntakeProtocol] = set()
        self._foreign: set[str] = set()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="intake", daemon=True
        )
        self._thread.start()
        if not started.wait(STOP_S):
            raise StartError(f"{path}: the intake did not start in time")

    def stop(self) -> None:
        """Take no more mail; one that is on its way stays with Postfix."""
        self._file.remove()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)

    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._connections)

    def ours(self, address: str) -> bool:
        """Tell whether mail to an address comes here."""
        platform = self._current().platform
        domain = address.rpartition("@")[2].lower()
        return domain != "" and domain in (platform.bounce_domain, platform.feedback_domain)

    def begin(self, sender: str, recipients: list[str]) -> Writing:
        """Begin to write a mail; errors as of `Spool.begin`."""
        return self._spool.begin(sender, recipients)

    def taken(self, mail: Writing, sender: str, recipients: list[str]) -> None:
        """Count and tell of a mail that is on disk."""
        self._metrics.mails["taken"]()
        log_event(
            _log,
            logging.INFO,
            "intake",
            id=mail.id,
            **{"from": f"<{sender}>"},
            to=",".join(f"<{each}>" for each in recipients),
        )
        self._arrived()

    def failed(self, error: Exception) -> str:
        """Count a mail that could not be taken, and return the reply."""
        self._metrics.mails["later"]()
        room = isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno == 28)
        log_event(_log, logging.ERROR, "intake-not-stored", reason=str(error))
        if room:
            return "452 4.3.1 Too little room on the disk, try again later"
        return "451 4.3.0 Cannot store this now, try again later"

    def foreign(self, recipient: str) -> None:
        """Count a recipient that is none of ours, and tell of each domain once."""
        self._metrics.mails["refused"]()
        domain = recipient.rpartition("@")[2].lower()
        if domain not in self._foreign and len(self._foreign) < MAX_FOREIGN:
            self._foreign.add(domain)
            log_event(
                _log,
                logging.WARNING,
                "intake-foreign",
                domain=domain,
                reason="Postfix hands over mail for a domain that is none of ours; it waits in the "
                "queue. Run gatepost attach, or set platform.bounce_domain or feedback_domain back",
            )

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_unix_server(self._protocol, sock=self._socket)
        )
        self._loop.call_soon(started.set)
        try:
            self._loop.run_forever()
        finally:
            # In this order: asyncio forgets a connection that it has accepted and not yet set up
            # when the server is closed.
            self._close_connections()
            server.close()
            self._loop.close()

    def _close_connections(self) -> None:
        """Close what is open, also what was accepted a moment ago and is no connection yet."""
        for _ in range(MAX_TURNS):
            for each in list(self._connections):
                each.cut()
            self._loop.run_until_complete(asyncio.sleep(0))
            if not self._connections and not asyncio.all_tasks(self._loop):
                return
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _protocol(self) -> IntakeProtocol:
        return IntakeProtocol(self, self._connections)


class IntakeProtocol(LMTP):
    """One connection."""

    line_length_limit = MAX_COMMAND_OCTETS

    def __init__(self, intake: Intake, connections: set[IntakeProtocol]) -> None:
        self._intake = intake
        self._connections = connections
        self._sender: str | None = None
        self._recipients: list[str] = []
        super().__init__(
            intake,
            # Nothing is announced, and nothing refused for its size.
            data_size_limit=0,
            enable_SMTPUTF8=True,
            hostname="gatepost",
            ident="Gatepost LMTP",
            timeout=TIMEOUT_S,
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limit = MAX_COMMAND_OCTETS
        self.command_size_limits = defaultdict(lambda: MAX_COMMAND_OCTETS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._connections.add(self)
        super().connection_made(transport)
        if len(self._connections) > MAX_CONNECTIONS:
            # Postfix comes again later.
            self.cut()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.discard(self)
        super().connection_lost(error)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`; a port probe that is gone needs no connection."""
        super().eof_received()
        return False

    def cut(self) -> None:
        """Close the connection at once."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()  # type: ignore[no-untyped-call]
        self._sender = None
        self._recipients = []

    async def handle_exception(self, error: Exception) -> str:
        """Say that the mail is to be kept: with 500 Postfix would return it."""
        _log.error("intake-failed", exc_info=error)
        return "451 4.3.0 Internal error, try again later"

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802  # named by aiosmtpd
        """Begin a mail; any sender will do."""
        if await self.check_helo_needed("LHLO"):
            return
        sender = _address(arg, "FROM:")
        if sender is None:
            await self.push("501 5.5.4 Syntax: MAIL FROM:<address>")
        elif self._sender is not None:
            await self.push("503 5.5.1 Sender already specified")
        else:
            self._sender = sender
            await self.push("250 2.1.0 Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802  # named by aiosmtpd
        """Take a recipient at one of our domains."""
        recipient = _address(arg, "TO:")
        if self._sender is None:
            await self.push("503 5.5.1 Need MAIL before RCPT")
        elif recipient is None:
            await self.push("501 5.5.4 Syntax: RCPT TO:<address>")
        elif not self._intake.ours(recipient):
            self._intake.foreign(recipient)
            await self.push(
                "450 4.1.2 This domain is none of Gatepost's; gatepost doctor tells why"
            )
        elif len(self._recipients) >= MAX_RECIPIENTS:
            await self.push("452 4.5.3 Too many recipients")
        else:
            self._recipients.append(recipient)
            await self.push("250 2.1.5 Ok")

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802  # named by aiosmtpd
        """Put the mail on disk, and reply for each recipient."""
        sender, recipients = self._sender, self._recipients
        if sender is None or not recipients:
            await self.push("503 5.5.1 Need RCPT before DATA")
            return
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
            return
        try:
            mail = self._intake.begin(sender, recipients)
        except OSError as error:
            self._set_post_data_state()
            await self.push(self._intake.failed(error))
            return
        try:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            reply = await self._receive(mail) or await self._keep(mail, sender, recipients)
        finally:
            mail.abort()
        self._set_post_data_state()
        for _ in recipients:
            await self.push(reply)

    async def _keep(self, mail: Writing, sender: str, recipients: list[str]) -> str:
        try:
            # It waits for the disk, and others need not.
            await asyncio.to_thread(mail.commit)
        except OSError as error:
            return self._intake.failed(error)
        self._intake.taken(mail, sender, recipients)
        return "250 2.0.0 Ok: stored"

    async def _receive(self, mail: Writing) -> str:
        """Read the mail to its end; return the reply if it could not be written."""
        reply = ""
        at_line_start = True
        while True:
            piece, ends_line = await self._piece()
            if at_line_start and piece.startswith(b"."):
                if ends_line and piece in {b".\r\n", b".\n"}:
                    return reply
                piece = piece[1:]
            at_line_start = ends_line
            if reply:
                continue
            try:
                mail.write(piece)
            except OSError as error:
                reply = self._intake.failed(error)

    async def _piece(self) -> tuple[bytes, bool]:
        """Return the next line, or a part of one that is too long, and whether the line ends."""
        # Each piece is a sign of life.
        self._reset_timeout()
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            return await self._reader.read(error.consumed), False
        return line, True


def _address(arg: str | None, keyword: str) -> str | None:
    """Return the address in the argument of MAIL or RCPT, or None if there is none.

    Postfix has checked it; what remains is to find its end.
    """
    if arg is None or arg[: len(keyword)].upper() != keyword:
        return None
    found = _PATH.fullmatch(arg[len(keyword) :])
    return None if found is None else found[1]
