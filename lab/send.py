"""Sending mail into a Postfix: one message, or many with every 4xx tried again.

Purpose: clients that behave as a good client does. smtp-source(1) makes load but gives up at the
first refusal (see `lab.load`); `send_many` keeps a message until it is taken or refused for good,
and counts every reply.
Source: RFC 5321 §4.5.4.1 (a client retries what got a 4xx or lost its connection), §3.8 (421).
Limits: `RETRY_S` 0.2 s between attempts of one message; short, because a test waits for it.
Errors: `send` raises what smtplib raises; `send_many` raises `LabError` when its time is up.
"""

from __future__ import annotations

import contextlib
import smtplib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.process import LabError, run

RETRY_S = 0.2
TIMEOUT_S = 30.0
SUBMISSION = 587
# What PrivatePostfix's users in a World have.
PASSWORD = "secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to send.

    Attributes:
        sender: Envelope sender, empty for the null sender.
        recipient: Envelope recipient.
        subject: What it is found by again.
        login: SASL login, or empty to send without; then port 25 is used.
        headers: Whole header lines to put in front, without line ends.
        body: The text.
        sender_header: The From: header, or None for the envelope sender.
        more_recipients: Further envelope recipients of the same message.
        client: The address to send from, or empty for the lab's usual one.
    """

    sender: str
    recipient: str
    subject: str
    login: str = ""
    headers: Sequence[str | bytes] = ()
    body: str = "hello\r\n"
    sender_header: str | None = None
    more_recipients: Sequence[str] = ()
    client: str = ""

    def octets(self) -> bytes:
        """Return the message."""
        lines = [
            each if isinstance(each, bytes) else each.encode("latin-1") for each in self.headers
        ]
        author = self.sender_header or self.sender or "mailer-daemon@lab.example"
        lines += [
            f"From: {author}".encode(),
            f"To: {self.recipient}".encode(),
            f"Subject: {self.subject}".encode(),
            f"Message-ID: <{self.subject.replace(' ', '-')}@lab.example>".encode(),
            b"Date: Tue, 24 Nov 2026 08:00:00 +0000",
        ]
        return b"\r\n".join([*lines, b"", self.body.encode()])


@dataclass
class Outcome:
    """What became of many messages.

    Attributes:
        replies: How often each reply code came, ``lost`` for a lost connection.
        refused: Subject to reply, for messages that were refused for good.
        taken: Subjects of the messages that were taken.
        uncertain: Subjects of messages whose connection was lost between their last dot and the
            reply; they were sent again and may rightly arrive twice.
    """

    replies: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)


def connect(
    host: str, login: str = "", password: str = PASSWORD, *, client: str = ""
) -> smtplib.SMTP:
    """Return a connection to port 25, or to port 587 with a login.

    Raises:
        smtplib.SMTPException: If the server refuses.
        OSError: If it cannot be reached.
    """
    source = (client, 0) if client else None
    connection = smtplib.SMTP(
        host, SUBMISSION if login else 0, "client.example", TIMEOUT_S, source_address=source
    )
    try:
        connection.ehlo()
        if login:
            connection.login(login, password)
    except BaseException:
        connection.close()
        raise
    return connection


def send(host: str, mail: Mail) -> str:
    """Send one message and return the reply to its end, which holds the queue id.

    Raises:
        smtplib.SMTPResponseException: With the reply of the command that was refused.
    """
    with contextlib.closing(connect(host, mail.login, client=mail.client)) as connection:
        return transact(connection, mail)


def transact(client: smtplib.SMTP, mail: Mail) -> str:
    """Send one message on a connection.

    Raises:
        smtplib.SMTPResponseException: With the reply of the command that was refused; after it the
            connection takes another message, unless the reply was 421.
    """
    _envelope(client, mail)
    return _content(client, mail)


def swaks(host: str, mail: Mail) -> str:
    """Send one message with swaks(1), and return what both sides said.

    Raises:
        LabError: If it is not taken; with what both sides said.
    """
    options = ["--server", host, "--helo", "client.example", "--from", mail.sender or "<>"]
    options += ["--to", ",".join((mail.recipient, *mail.more_recipients)), "--data", "-"]
    if mail.login:
        options += ["--port", str(SUBMISSION), "--auth", "PLAIN"]
        options += ["--auth-user", mail.login, "--auth-password", PASSWORD]
    if mail.client:
        options += ["--local-interface", mail.client]
    content = mail.octets().replace(b"\r\n", b"\n")
    return run(["swaks", *options], stdin=content).decode(errors="replace")


def queue_id(reply: str) -> str:
    """Return the queue id in Postfix's reply to the end of a message."""
    return reply.rpartition("queued as ")[2].strip()


def send_many(
    host: str, mails: Iterable[Mail], *, sessions: int = 20, timeout_s: float = 120
) -> Outcome:
    """Send messages over several connections at once until each is taken or refused for good.

    Raises:
        LabError: If some are neither when the time is up.
    """
    work = _Work(host, deque(mails), time.monotonic() + timeout_s)
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if work.waiting:
        raise LabError(
            f"{len(work.waiting)} messages were not taken in {timeout_s:g} s: "
            f"{dict(work.outcome.replies)}"
        )
    return work.outcome


@dataclass
class _Work:
    """Messages that wait, shared by threads that send them."""

    host: str
    waiting: deque[Mail]
    deadline: float
    outcome: Outcome = field(default_factory=Outcome)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Send what waits, one after the other, until nothing does."""
        with _Line(self.host) as line:
            while time.monotonic() < self.deadline:
                try:
                    # Whoever puts a message back tries again itself, so none is left behind.
                    mail = self.waiting.popleft()
                except IndexError:
                    return
                if self._attempt(line, mail):
                    self.waiting.append(mail)
                    time.sleep(RETRY_S)

    def _attempt(self, line: _Line, mail: Mail) -> bool:
        """Try to send a message; return whether to try it again."""
        sent = False
        try:
            client = line.client(mail)
            _envelope(client, mail)
            sent = True
            _content(client, mail)
        except smtplib.SMTPResponseException as error:
            if error.smtp_code == 421 or error.smtp_code < 0:
                line.drop()
            return self._refused(mail, error)
        except (OSError, smtplib.SMTPException):
            line.drop()
            with self.lock:
                self.outcome.replies["lost"] += 1
                if sent:
                    self.outcome.uncertain.add(mail.subject)
            return True
        with self.lock:
            self.outcome.replies["250"] += 1
            self.outcome.taken.add(mail.subject)
        return False

    def _refused(self, mail: Mail, error: smtplib.SMTPResponseException) -> bool:
        text = error.smtp_error
        reply = text.decode(errors="replace") if isinstance(text, bytes) else text
        with self.lock:
            self.outcome.replies[str(error.smtp_code)] += 1
            if error.smtp_code >= 500:
                self.outcome.refused[mail.subject] = f"{error.smtp_code} {reply}"
        return error.smtp_code < 500


class _Line:
    """One connection, made when it is needed."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._client: smtplib.SMTP | None = None
        self._identity = ("", "")

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._client.quit()
        self.drop()

    def client(self, mail: Mail) -> smtplib.SMTP:
        """Return a connection for the login and address that a message asks for."""
        identity = (mail.login, mail.client)
        if self._client is None or self._identity != identity:
            self.drop()
            self._client = connect(self._host, mail.login, client=mail.client)
            self._identity = identity
        return self._client

    def drop(self) -> None:
        """Close the connection without a word."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _envelope(client: smtplib.SMTP, mail: Mail) -> None:
    code, reply = client.mail(mail.sender)
    if code < 400:
        for recipient in (mail.recipient, *mail.more_recipients):
            code, reply = client.rcpt(recipient)
            if code >= 400:
                break
    if code >= 400:
        if code != 421:
            client.rset()
        raise smtplib.SMTPResponseException(code, reply)


def _content(client: smtplib.SMTP, mail: Mail) -> str:
    code, reply = client.data(mail.octets())
    if code >= 400:
        raise smtplib.SMTPResponseException(code, reply)
    return reply.decode(errors="replace")
