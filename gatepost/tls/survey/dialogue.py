"""The SMTP side of a probe as a state machine: what to say next, and what the replies prove.

Purpose: every rule of conduct of a probe, without a socket: wait for the greeting, EHLO, STARTTLS,
EHLO once more within TLS, QUIT. Never MAIL or RCPT: there is no code for them here.
Source: RFC 5321 §4.3.1 (the client waits for the greeting), §4.1.1.10 (QUIT before the end);
RFC 3207 §4 (what was said before TLS is forgotten; no octet between the 220 and the handshake).
Format: `receive_data` takes octets (none: the server has closed); `next_action` tells what to do:
`Send`, `StartTls`, `Close`, or None: wait for the server. In TLS, data are those within it.
Errors: none; whatever a server does becomes a verdict. Wrong use raises `LocalProtocolError`.
Security: octets behind the 220 to STARTTLS would be read as if they had come within TLS; such a
connection is given up. QUIT is said wherever a command can still be heard: not before the greeting
(talking early is what spammers are listed for), and not where TLS should have begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.tls.survey.model import Verdict
from gatepost.tls.survey.replies import Reply, ReplyReader

# Cisco PIX and its like overwrite the keyword, which keeps its length: "250-XXXXXXXA".
_BLOTTED = re.compile(r"X{4,}[A-Z]?")
_RECORD_TYPES = (0x14, 0x15, 0x16, 0x17)


class Step(StrEnum):
    """Where a probe is."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    HANDSHAKE = "handshake"
    EHLO_TLS = "EHLO in TLS"
    QUIT = "QUIT"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Send:
    """Send these octets."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin the handshake; tell `tls_established` or `tls_failed`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; the probe is over."""


Action = Send | StartTls | Close

_QUIT = Send(b"QUIT\r\n")


class Dialogue:
    """One probe.

    Attributes:
        step: Where it is.
        verdict: What is proven so far.
        reason: Why, in a few words of printable ASCII.
        greeting: The greeting as it came; empty before.
        ehlo: The reply to EHLO as it came.
        ehlo_tls: The reply to the EHLO within TLS.
    """

    def __init__(self, name: str) -> None:
        """Describe it.

        Args:
            name: What we call ourselves in EHLO: a host name, whose address is ours.
        """
        self.step = Step.CONNECT
        self.verdict = Verdict.UNREACHABLE
        self.reason = ""
        self.greeting = ""
        self.ehlo = ""
        self.ehlo_tls = ""
        self._hello = Send(f"EHLO {name}\r\n".encode("ascii"))
        self._reader = ReplyReader()
        self._actions: list[Action] = []

    @property
    def over(self) -> bool:
        """Tell whether the probe is over, but for what `next_action` still says."""
        return self.step is Step.DONE

    def connected(self) -> None:
        """Take note that there is a connection."""
        self._expect(Step.CONNECT)
        self.verdict = Verdict.UNKNOWN
        self.step = Step.GREETING

    def not_connected(self, reason: str) -> None:
        """Take note that there is none."""
        self._expect(Step.CONNECT)
        self._end(reason)

    def next_action(self) -> Action | None:
        """Return what to do now, or None if it is the server's turn."""
        return self._actions.pop(0) if self._actions else None

    def receive_data(self, data: bytes) -> None:
        """Take octets that the server sent, within TLS where it has begun; none: it has closed."""
        if self.over:
            return
        if self.step is Step.HANDSHAKE:
            self._plaintext_instead(data)
            return
        if not data:
            self._lost("connection closed")
            return
        self._reader.receive_data(data)
        try:
            self._take_replies()
        except RemoteProtocolError as error:
            self._misunderstood(str(error))

    def is_handshake(self, data: bytes) -> bool:
        """Tell whether octets that came where TLS should begin can be TLS (RFC 8446 §5.1)."""
        return data[0] in _RECORD_TYPES

    def tls_established(self) -> None:
        """Take note that the handshake is done."""
        self._expect(Step.HANDSHAKE)
        self.verdict = Verdict.TLS
        self.reason = ""
        self._say(self._hello, Step.EHLO_TLS)

    def tls_failed(self, reason: str) -> None:
        """Take note that the handshake has failed."""
        self._expect(Step.HANDSHAKE)
        self.verdict = Verdict.BROKEN
        self._end(f"handshake: {reason}")

    def connection_lost(self, reason: str) -> None:
        """Take note that the connection is gone without a proper end."""
        if not self.over:
            self._lost(reason)

    def time_out(self) -> None:
        """Take note that the present step took too long."""
        if self.over:
            return
        if self.step is Step.CONNECT:
            self._end("no connection in time")
            return
        # A server that listens hears a QUIT; whoever is still greeting is not to be talked to.
        if self.step in {Step.EHLO, Step.STARTTLS, Step.EHLO_TLS}:
            self._actions.append(_QUIT)
        self._lost("no reply in time")

    def _take_replies(self) -> None:
        while not self.over and (reply := self._reader.next_reply()) is not None:
            self._take(reply)

    def _take(self, reply: Reply) -> None:
        if self.step is Step.GREETING:
            self._take_greeting(reply)
        elif self.step is Step.EHLO:
            self._take_ehlo(reply)
        elif self.step is Step.STARTTLS:
            self._take_starttls(reply)
        elif self.step is Step.EHLO_TLS:
            self.ehlo_tls = reply.raw
            if not reply.positive:
                self.reason = f"EHLO in TLS refused: {reply.text}"
            self._quit()
        elif self.step is Step.QUIT:
            self._end(self.reason)
        else:
            # Nothing was asked that this could be the answer to.
            self._misunderstood("a reply to nothing")

    def _take_greeting(self, reply: Reply) -> None:
        self.greeting = reply.raw
        if reply.code != 220:
            self.reason = f"greeting: {reply.text}"
            self._quit()
        elif self._reader.pending:
            self._misunderstood("more than a greeting")
        else:
            self._say(self._hello, Step.EHLO)

    def _take_ehlo(self, reply: Reply) -> None:
        self.ehlo = reply.raw
        if not reply.positive:
            self.reason = f"EHLO refused: {reply.text}"
            self._quit()
            return
        if self._reader.pending:
            self._misunderstood("more than the reply to EHLO")
            return
        keywords = [line.strip().upper() for line in reply.lines[1:]]
        if any(each.split(maxsplit=1)[:1] == ["STARTTLS"] for each in keywords):
            self._say(Send(b"STARTTLS\r\n"), Step.STARTTLS)
            return
        blotted = next((each for each in keywords if _BLOTTED.fullmatch(each)), None)
        if blotted is None:
            self.verdict = Verdict.NONE
        else:
            self.verdict = Verdict.STRIPPED
            self.reason = f"EHLO lists {blotted}"
        self._quit()

    def _take_starttls(self, reply: Reply) -> None:
        if 400 <= reply.code < 500 and reply.code != 454:
            # Greylisting or a server that is busy; only 454 speaks of TLS (RFC 3207 §4).
            self.reason = f"STARTTLS: {reply.text}"
            self._quit()
        elif reply.code != 220:
            self.verdict = Verdict.BROKEN
            self.reason = f"STARTTLS refused: {reply.text}"
            self._quit()
        elif self._reader.pending:
            self._injected()
        else:
            # RFC 3207 §4.2: nothing that was learned before is true within TLS.
            self._reader = ReplyReader()
            self.step = Step.HANDSHAKE
            self._actions.append(StartTls())

    def _plaintext_instead(self, data: bytes) -> None:
        if data:
            self._injected()
        else:
            self.tls_failed("connection closed")

    def _injected(self) -> None:
        self.verdict = Verdict.INJECTED
        self._end("plaintext after the reply to STARTTLS")

    def _lost(self, how: str) -> None:
        if self.step in {Step.STARTTLS, Step.HANDSHAKE, Step.EHLO_TLS}:
            # Postfix, too, takes this for a failure of TLS, and may try again without.
            self.verdict = Verdict.BROKEN
        if self.step is not Step.QUIT:
            self.reason = f"{self.step}: {how}"
        self._end(self.reason)

    def _misunderstood(self, why: str) -> None:
        if self.step in {Step.STARTTLS, Step.EHLO_TLS}:
            self.verdict = Verdict.BROKEN
        if self.step is not Step.QUIT:
            self.reason = f"{self.step}: {why}"
            self._actions.append(_QUIT)
        self._end(self.reason)

    def _quit(self) -> None:
        self._say(_QUIT, Step.QUIT)

    def _say(self, what: Send, step: Step) -> None:
        self._actions.append(what)
        self.step = step

    def _end(self, reason: str) -> None:
        self.reason = reason
        self.step = Step.DONE
        self._actions.append(Close())

    def _expect(self, step: Step) -> None:
        if self.step is not step:
            raise LocalProtocolError(f"this is for step {step}, not {self.step}")
