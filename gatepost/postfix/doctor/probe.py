"""Sending a real message through Postfix, and reading it as it leaves.

Purpose: only the message itself shows what all milters together have made of it. It is handed in by
SMTP as a client would, and read from the queue file, which holds what smtp(8) sends. Postfix makes
that file when it accepts the recipient, and names it when it has accepted the message. So doctor
opens all files that are just coming in before it sends the text: an open file stays readable,
however soon the message has been delivered.
Source: postcat(1); smtpd(8), "queued as"; cleanup(8) for the queue ``incoming``.
Limits: 1,000 messages that are coming in at that moment; 60 s for each step of the dialog.
Errors: `ProbeFailed` if the message is refused or cannot be read.
Security: needs root, who alone may read queue files. The password is taken from the environment or
asked for, and sent over TLS where the server offers it, without looking at its certificate: the
server is this host.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate

from gatepost.errors import GatepostError
from gatepost.feedback.cfbl import CFBL_ADDRESS, CFBL_FEEDBACK_ID, format_cfbl_address
from gatepost.modes import Feature, Mode
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor import signature
from gatepost.postfix.doctor.findings import Finding, note, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements

TIMEOUT_S = 60
_MAX_FILES = 1_000
_QUEUED_AS = re.compile(rb"queued as ([0-9A-Za-z]+)")
_FORGED = "doctor-forged-tag"

_TEXT = """\
This message was sent by "gatepost doctor --probe" to find out what Postfix and its milters make of
a message. It needs no answer.
"""


class ProbeFailed(GatepostError):
    """The probe could not be sent, or not be read; says why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to send, and how to hand it in.

    Attributes:
        recipient: Who gets it.
        sender: Envelope sender and From: address; empty for the host's own postmaster.
        server: Host and port of the listener, such as ``127.0.0.1:587``; empty for port 25 here.
        login: SASL login, empty for none.
        password: Its password.
    """

    recipient: str
    sender: str = ""
    server: str = ""
    login: str = ""
    password: str = ""


def check(scene: Scene, probe: Probe, txt: signature.Txt | None = None) -> Iterator[Finding]:
    """Send a probe and look at what leaves.

    Args:
        scene: What was read of Postfix.
        probe: What to send.
        txt: Looks up TXT records; None asks DNS.
    """
    try:
        message = message_that_leaves(scene, probe)
    except ProbeFailed as error:
        yield problem(f"The probe failed: {error}.", "What leaves this host could not be seen.")
        return
    yield from _tag(scene, message)
    yield from _references(scene, message)
    if signature.available():
        yield from signature.check(message, txt)
    else:
        yield warning(
            "dkimpy is not installed, so the signature of the probe was not looked at.",
            "A signer in the wrong place, or one that does not cover Feedback-ID, goes unnoticed.",
            "pip install dkimpy",
        )


def message_that_leaves(scene: Scene, probe: Probe) -> bytes:
    """Send a probe and return it as it leaves, header and body.

    Raises:
        ProbeFailed: If it is refused, or cannot be read.
    """
    if os.geteuid() != 0:
        raise ProbeFailed("only root may read queue files; run it with sudo")
    host, port = _server(scene, probe.server)
    sender = probe.sender or f"postmaster@{_host(scene)}"
    with _Incoming(scene) as incoming:
        try:
            reply = _send(scene, probe, host, port, sender, incoming)
        except (OSError, smtplib.SMTPException) as error:
            raise ProbeFailed(f"{host} port {port}: {error}") from error
        found = _QUEUED_AS.search(reply[1])
        if reply[0] != 250 or found is None:
            text = reply[1].decode("utf-8", "replace")
            raise ProbeFailed(f"{host} port {port} said {reply[0]} {text}")
        return incoming.read(found[1].decode("ascii"))


def compose(scene: Scene, probe: Probe, sender: str) -> bytes:
    """Return the probe, with every header whose fate matters."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = probe.recipient
    message["Subject"] = "Gatepost doctor: probe"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = f"<{secrets.token_hex(12)}.doctor@{_host(scene)}>"
    message["List-Unsubscribe"] = f"<https://{_host(scene)}/doctor-probe>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    platform = None if scene.snapshot is None else scene.snapshot.platform
    message["Feedback-ID"] = f"probe:doctor:gatepost:{platform.sender_id if platform else 'none'}"
    if platform is not None and platform.feedback_domain is not None:
        # As Gatepost writes them; where it enforces, it puts its own in their place.
        message[CFBL_ADDRESS] = format_cfbl_address(platform.feedback_domain)
        message[CFBL_FEEDBACK_ID] = "doctor-probe"
    if platform is not None and not probe.login:
        # Nobody without a login may keep it, so it has to be gone from what leaves.
        message[platform.tenant_header] = _FORGED
    message.set_content(_TEXT)
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _tag(scene: Scene, message: bytes) -> Iterator[Finding]:
    snapshot = scene.snapshot
    if snapshot is None or snapshot.modes.of(Feature.TAG) is not Mode.ENFORCE:
        return
    if _FORGED.encode("ascii") in message.partition(b"\n\n")[0]:
        yield problem(
            f"The probe left with a forged {snapshot.platform.tenant_header} header.",
            "It did not pass Gatepost's milter, or the milter runs with another configuration.",
            "gatepost status",
            "gatepost attach",
        )


def _references(scene: Scene, message: bytes) -> Iterator[Finding]:
    """Tell when the probe was mail of nobody, from which feigned references are taken."""
    platform = None if scene.snapshot is None else scene.snapshot.platform
    if platform is None or platform.feedback_domain is None:
        return
    header = b"\n" + message.replace(b"\r\n", b"\n").partition(b"\n\n")[0].lower()
    if f"\n{CFBL_ADDRESS}:".lower().encode("ascii") not in header:
        yield note(
            f"The probe left without {CFBL_ADDRESS}, as mail of no tenant does.",
            "Whether the signatures of a tenant's mail cover the CFBL headers could not be seen.",
            "send it as a tenant: --probe-from and --probe-login, or from a client or listener "
            "that is a tenant's",
        )


def _send(
    scene: Scene, probe: Probe, host: str, port: int, sender: str, incoming: _Incoming
) -> tuple[int, bytes]:
    """Hand the probe in and return the last reply."""
    with smtplib.SMTP(host, port, _host(scene), timeout=TIMEOUT_S) as client:
        client.ehlo()
        if probe.login:
            _log_in(client, probe)
        code, text = client.mail(sender)
        if code == 250:
            code, text = client.rcpt(probe.recipient)
        if code == 250:
            incoming.open()
            code, text = client.data(compose(scene, probe, sender))
        return code, text


class _Incoming:
    """The queue files that are coming in at one moment, held open."""

    def __init__(self, scene: Scene) -> None:
        self._postfix = PostfixCommands(scene.facts.config_dir)
        self._directory = scene.facts.queue_directory / "incoming"
        self._files: dict[str, int] = {}

    def __enter__(self) -> _Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def open(self) -> None:
        """Open what is there, also where hash_queue_names spreads it over directories."""
        for directory, _, names in os.walk(self._directory):
            for name in names[: _MAX_FILES - len(self._files)]:
                # Somebody else's message may have gone on meanwhile.
                with contextlib.suppress(OSError):
                    path = os.path.join(directory, name)  # noqa: PTH118 - many at once
                    self._files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, queue_id: str) -> bytes:
        """Return header and body of a message.

        Raises:
            ProbeFailed: If it was not there.
        """
        if queue_id not in self._files:
            raise ProbeFailed(
                f"message {queue_id} was not among those that were coming in; is there a second "
                "Postfix, or a proxy, in front of this one?"
            )
        return self._postfix.postcat(self._files[queue_id])


def _log_in(client: smtplib.SMTP, probe: Probe) -> None:
    if client.has_extn("starttls"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client.starttls(context=context)
        client.ehlo()
    client.login(probe.login, probe.password)


def _server(scene: Scene, server: str) -> tuple[str, int]:
    if server:
        host, colon, port = server.rpartition(":")
        if colon and port.isdigit():
            return host.strip("[]"), int(port)
        return server.strip("[]"), 25
    interfaces = elements(scene.value("inet_interfaces"))
    own = [each for each in interfaces if each not in {"all", "loopback-only", "localhost"}]
    return (own[0].strip("[]") if own else "127.0.0.1"), 25


def _host(scene: Scene) -> str:
    return scene.value("myhostname") or "localhost"
