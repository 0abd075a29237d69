"""Sending a real message through Postfix, and reading it as it leaves.

Purpose: only the message itself shows what all milters together have made of it. It is handed in by
SMTP as a client would, and read from the queue file, which holds what smtp(8) sends: doctor opens
that file as soon as Postfix names it, and an open file stays readable when the message has gone.
Source: postcat(1); smtpd(8), "queued as"; MAILLOG_README for queue ids.
Limits: 3 messages, should one be delivered before its file could be opened; 60 s for the dialog.
Errors: `ProbeFailed` if the message is refused or cannot be read.
Security: needs root, who alone may read queue files. The password is taken from the environment or
asked for, and sent over TLS where the server offers it, without looking at its certificate: the
server is this host.
"""

from __future__ import annotations

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
from gatepost.modes import Feature, Mode
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor import signature
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements

TIMEOUT_S = 60
_ATTEMPTS = 3
_QUEUED_AS = re.compile(rb"queued as ([0-9A-Za-z]+)")
# Where a message can be at that moment; Postfix does not hash these unless it is told to.
_QUEUES = ("incoming", "active", "hold")
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
    for _ in range(_ATTEMPTS):
        queue_id = _send(scene, probe)
        content = _read(scene, queue_id)
        if content is not None:
            return content
    raise ProbeFailed(
        f"{_ATTEMPTS} messages were delivered before they could be read; choose a recipient on "
        "another host"
    )


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


def _send(scene: Scene, probe: Probe) -> str:
    host, port = _server(scene, probe.server)
    sender = probe.sender or f"postmaster@{_host(scene)}"
    try:
        with smtplib.SMTP(host, port, _host(scene), timeout=TIMEOUT_S) as client:
            client.ehlo()
            if probe.login:
                _log_in(client, probe)
            code, text = client.mail(sender)
            if code == 250:
                code, text = client.rcpt(probe.recipient)
            if code == 250:
                code, text = client.data(compose(scene, probe, sender))
    except (OSError, smtplib.SMTPException) as error:
        raise ProbeFailed(f"{host} port {port}: {error}") from error
    found = _QUEUED_AS.search(text)
    if code != 250 or found is None:
        raise ProbeFailed(f"{host} port {port} said {code} {text.decode('utf-8', 'replace')}")
    return found[1].decode("ascii")


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


def _read(scene: Scene, queue_id: str) -> bytes | None:
    """Return the content of a message in the queue, or None if it has gone already."""
    for queue in _QUEUES:
        path = scene.facts.queue_directory / queue / queue_id
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            return PostfixCommands(scene.facts.config_dir).postcat(descriptor)
        finally:
            os.close(descriptor)
    return None


def _host(scene: Scene) -> str:
    return scene.value("myhostname") or "localhost"
