"""Sending mail into a Postfix: one message, or many with every 4xx tried again.

Purpose: clients that behave as a good client does. smtp-source(1) makes load but gives up at the first
refusal; `send_many` keeps a message until it is taken or refused for good, and counts every reply.
Source: RFC 5321 §4.5.4.1 (a client retries what got a 4xx or lost its connection).
Limits: `RETRY_S` 0.2 s between attempts of one message; short, because a test waits for it.
Errors: `send` raises what smtplib raises; `send_many` raises `LabError` when its time is up.
"""

from __future__ import annotations

import contextlib
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.process import LabError

RETRY_S = 0.2
TIMEOUT_S = 30.0
SUBMISSION = 587


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
    """

    sender: str
    recipient: str
    subject: str
    login: str = ""
    headers: Sequence[str | bytes] = ()
    body: str = "hello\r\n"
    sender_header: str | None = None

    def octets(self) -> bytes:
        """Return the message."""
        lines = [line if isinstance(line, bytes) else line.encode("latin-1") for line in self.headers]
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
    """

    replies: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)


def connect(host: str, login: str = "", password: str = "secret") -> smtplib.SMTP:  # noqa: S107
    """Return a connection to port 25, or to port 587 with a login.

    Raises:
        smtplib.SMTPException: If the server refuses.
        OSError: If it cannot be reached.
    """
    client = smtplib.SMTP(host, SUBMISSION if login else 0, "client.example", TIMEOUT_S)
    client.ehlo()
    if login:
        client.login(login, password)
    return client


def send(host: str, mail: Mail) -> str:
    """Send one message and return the reply to its end, which holds the queue id.

    Raises:
        smtplib.SMTPResponseException: With the reply of the command that was refused.
    """
    with contextlib.closing(connect(host, mail.login)) as client:
        return transact(client, mail)


def transact(client: smtplib.SMTP, mail: Mail) -> str:
    """Send one message on a connection.

    Raises:
        smtplib.SMTPResponseException: With the reply of the command that was refused.
    """
    for code, reply in (client.mail(mail.sender), client.rcpt(mail.recipient)):
        if code >= 400:
            client.rset()
            raise smtplib.SMTPResponseException(code, reply)
    code, reply = client.data(mail.octets())
    if code >= 400:
        raise smtplib.SMTPResponseException(code, reply)
    return reply.decode(errors="replace")


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
    waiting = list(mails)
    waiting.reverse()
    outcome = Outcome()
    lock = threading.Lock()
    deadline = time.monotonic() + timeout_s

    def work() -> None:
        client: smtplib.SMTP | None = None
        while time.monotonic() < deadline:
            with lock:
                if not waiting:
                    break
                mail = waiting.pop()
            try:
                if client is None:
                    client = connect(host, mail.login)
                reply = transact(client, mail)
            except smtplib.SMTPResponseException as error:
                text = error.smtp_error
                reply = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
                again = error.smtp_code < 500
                with lock:
                    outcome.replies[str(error.smtp_code)] += 1
                    if not again:
                        outcome.refused[mail.subject] = f"{error.smtp_code} {reply}"
            except (OSError, smtplib.SMTPException):
                again = True
                with lock:
                    outcome.replies["lost"] += 1
            else:
                with lock:
                    outcome.replies["250"] += 1
                    outcome.taken.add(mail.subject)
                continue
            client = None
            if again:
                time.sleep(RETRY_S)
                with lock:
                    waiting.insert(0, mail)
        if client is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.quit()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if waiting:
        raise LabError(f"{len(waiting)} messages were not taken in {timeout_s:g} s: {outcome.replies}")
    return outcome
