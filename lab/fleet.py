"""The mail servers of the lab as a test sees them: which there are, and what reached them.

Purpose: start `lab.mx` with one host of each kind, publish their names, and read the record.
Format: a host of kind K is ``mx.K.example`` and takes the mail of ``K.example``.
Errors: `LabError` if they do not start, or if a message does not come in time.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.ca import Authority
from lab.dns import Names
from lab.mx import PORT, WITHOUT_TLS, Host, Kind
from lab.process import Daemon, LabError, wait_until

_NETWORK = "198.18.1"
_START_S = 15

# The system's OpenSSL settings forbid old protocol versions whatever the program says.
_OPENSSL_CONF = "openssl_conf = none\n[none]\n"


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it arrived.

    Attributes:
        at: When it was taken, in seconds since 1970.
        host: Name of the mail server.
        kind: What is special about that server.
        client: IP address of the sending Postfix.
        tls: ``version`` and ``cipher``, or None for plaintext.
        sender: Envelope sender.
        recipients: Envelope recipients.
        raw: The octets, as characters of Latin-1.
        parameters: What stood behind the sender, such as ``SIZE=1024 ENVID=x``.
    """

    at: float
    host: str
    kind: Kind
    client: str
    tls: dict[str, str] | None
    sender: str
    recipients: tuple[str, ...]
    raw: str
    parameters: str = ""

    @property
    def message(self) -> email.message.EmailMessage:
        """Return the parsed message."""
        parsed = email.message_from_bytes(self.octets, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        return parsed

    @property
    def octets(self) -> bytes:
        """Return the message as it was sent."""
        return self.raw.encode("latin-1")

    def headers(self, name: str) -> list[str]:
        """Return all values of a header field, unfolded."""
        found = self.message.get_all(name, [])
        return [" ".join(str(value).split()) for value in found]


class Fleet:
    """All mail servers; a context manager that starts and stops them."""

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        kinds: Sequence[Kind] = tuple(Kind),
        network: str = _NETWORK,
    ) -> None:
        """Describe them, and make their certificates.

        Args:
            directory: For files and logs; made if it is missing.
            authority: Issues the good certificates.
            kinds: Which kinds; host N of the list gets the address ``network.N``.
            network: The first three parts of their addresses.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.record = directory / "record"
        self.record.write_bytes(b"")
        self.hosts = [
            self._host(kind, f"{network}.{number}", authority)
            for number, kind in enumerate(kinds, 1)
        ]
        self._daemon: Daemon | None = None
        self._read: list[dict[str, Any]] = []
        self._offset = 0
        self._seen = 0

    def __enter__(self) -> Fleet:
        """Start them."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self.stop()

    def publish(self, names: Names) -> None:
        """Put hosts and domains into the name service's records."""
        for host in self.hosts:
            names.address(host.name, host.address)
            names.mail(host.name.removeprefix("mx."), host.name)

    def start(self) -> None:
        """Start, and return when all listen; after a `stop`, the record goes on.

        Raises:
            LabError: If they do not.
        """
        before = self._ready()
        specification = self._directory / "specification"
        specification.write_text(
            json.dumps([asdict(host) for host in self.hosts]), encoding="utf-8"
        )
        openssl = self._directory / "openssl.cnf"
        openssl.write_text(_OPENSSL_CONF, encoding="ascii")
        self._daemon = Daemon(
            ["env", f"OPENSSL_CONF={openssl}", sys.executable, "-m", "lab.mx", specification,
             self.record],
            self._directory / "mx.log",
        )  # fmt: skip
        self._daemon.wait_until(
            lambda: self._ready() > before, _START_S, "the mail servers to listen"
        )

    def stop(self) -> None:
        """Stop them; idempotent."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def forget(self) -> None:
        """Make everything that arrived so far unseen by the methods below."""
        self._events()
        self._seen = len(self._read)

    def messages(self, domain: str | None = None) -> list[Received]:
        """Return the messages that arrived, all or those at the mail server of a domain."""
        return [
            Received(
                event["at"],
                event["host"],
                Kind(event["kind"]),
                event["client"],
                event["tls"],
                event["sender"],
                tuple(event["recipients"]),
                event["message"],
                event["parameters"],
            )
            for event in self._events()
            if event["event"] == "message" and (domain is None or event["host"] == f"mx.{domain}")
        ]

    def plaintext_data(self, domain: str) -> int:
        """Return how often DATA was spoken in plaintext to the mail server of a domain."""
        return sum(
            event["event"] == "data" and event["tls"] is None and event["host"] == f"mx.{domain}"
            for event in self._events()
        )

    def sessions(self, domain: str) -> list[list[str]]:
        """Return the commands of each connection that has ended at the server of a domain."""
        return [
            event["commands"]
            for event in self._events()
            if event["event"] == "session" and event["host"] == f"mx.{domain}"
        ]

    def wait_message(
        self,
        wanted: Callable[[Received], bool],
        timeout_s: float = 20,
        what: str = "a message at a mail server",
    ) -> Received:
        """Return the first message of a kind, waiting for it if need be.

        Raises:
            LabError: If it does not come in time.
        """
        found: list[Received] = []

        def arrived() -> bool:
            found.extend(filter(wanted, self.messages()))
            return bool(found)

        try:
            wait_until(arrived, timeout_s, what)
        except LabError as error:
            senders = [(m.host, m.sender, m.recipients) for m in self.messages()[-10:]]
            raise LabError(f"{error}; arrived: {senders}") from None
        return found[0]

    def wait_subject(self, subject: str, timeout_s: float = 20) -> Received:
        """Return the message with a subject, waiting for it if need be."""
        return self.wait_message(
            lambda message: message.headers("subject") == [subject],
            timeout_s,
            f"the message {subject!r}",
        )

    def wait_count(self, count: int, timeout_s: float = 60) -> None:
        """Wait until a number of messages have arrived.

        Raises:
            LabError: If they do not in time.
        """

        def arrived() -> int:
            return sum(event["event"] == "message" for event in self._events())

        try:
            wait_until(lambda: arrived() >= count, timeout_s, f"{count} messages")
        except LabError as error:
            raise LabError(f"{error}; {arrived()} arrived") from None

    def _host(self, kind: Kind, address: str, authority: Authority) -> Host:
        name = f"mx.{kind}.example"
        if kind in WITHOUT_TLS:
            return Host(name, address, kind)
        if kind is Kind.SELF_SIGNED:
            certificate = authority.issue_self_signed(name)
        elif kind is Kind.WRONG_NAME:
            certificate = authority.issue("mx.somebody-else.example")
        else:
            certificate = authority.issue(name, expired=kind is Kind.EXPIRED)
        return Host(name, address, kind, str(certificate.chain_file), PORT)

    def _ready(self) -> int:
        self._events()
        return sum(event["event"] == "ready" for event in self._read)

    def _events(self) -> list[dict[str, Any]]:
        """Return the events since `forget`, reading only what is new in the record."""
        with self.record.open("rb") as file:
            file.seek(self._offset)
            # What the last newline follows is whole; the rest is still being written.
            whole, end, _ = file.read().rpartition(b"\n")
        if end:
            self._offset += len(whole) + 1
            self._read += map(json.loads, whole.split(b"\n"))
        return self._read[self._seen :]
