"""What the tests of failures share: three tenants, many messages, and what became of them.

`acme` asks for TLS and is enforced, `beta` is enforced and asks for nothing, `gamma` is observed.
"""

from __future__ import annotations

import contextlib
import email.parser
import os
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatepost.runtime.control import ask
from gatepost.runtime.paths import control_path
from lab.fleet import Fleet, Received
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import LabError, wait_until
from lab.send import Mail, send
from lab.world import BOUNCE_DOMAIN

OBSERVED = "gamma"
CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp", "bounce_domain": BOUNCE_DOMAIN},
    "modes": {"default": "observe"},
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "profile": "private",
            "return_path": "token",
            "modes": {"default": "enforce"},
        },
        "beta": {
            "logins": ["beta"],
            "senders": ["beta.example"],
            "modes": {"default": "enforce"},
        },
        OBSERVED: {"logins": [OBSERVED], "senders": ["gamma.example"]},
    },
}
# Bounces go to token addresses, for which this test has no mailbox.
MAIN = {"transport_maps": f"inline:{{ {BOUNCE_DOMAIN}=discard: }}"}


def mail(tenant: str, subject: str, domain: str = "good.example", **fields: Any) -> Mail:
    """Return a message of a tenant, with a tag that is not its own."""
    fields.setdefault("headers", ["X-Tenant-ID: forged"])
    return Mail(f"news@{tenant}.example", f"u@{domain}", subject, tenant, **fields)


def mails(
    prefix: str, count: int, tenants: Iterable[str] = ("acme", "beta", OBSERVED)
) -> list[Mail]:
    """Return messages of tenants, in turns of fifty: a connection serves one login."""
    names = list(tenants)
    return [mail(names[n // 50 % len(names)], f"{prefix}{n}") for n in range(count)]


def fields_of(message: Received, name: str) -> list[str]:
    """Return the values of a header field; quicker than `Received.headers`, for thousands."""
    headers = email.parser.HeaderParser().parsestr(message.raw, headersonly=True)
    return [" ".join(value.split()) for value in headers.get_all(name, [])]


def check_arrived(fleet: Fleet, sent: Iterable[Mail]) -> None:
    """Check that messages have arrived, each once, marked and protected as its tenant asks."""
    wanted = {each.subject: each for each in sent}
    fleet.wait_count(len(wanted))
    arrived = fleet.messages()
    subjects = Counter(fields_of(message, "subject")[0] for message in arrived)
    assert subjects == Counter(dict.fromkeys(wanted, 1))
    for message in arrived:
        check_marks(message, wanted[fields_of(message, "subject")[0]].login)


def check_marks(message: Received, tenant: str) -> None:
    """Check what a tenant's message looks like at a mail server that offers TLS."""
    observed = tenant == OBSERVED
    assert fields_of(message, "X-Tenant-ID") == (["forged"] if observed else [tenant])
    assert len(fields_of(message, "Feedback-ID")) == (0 if observed else 1)
    if tenant == "acme":
        assert message.tls is not None
        assert message.sender.endswith(f"@{BOUNCE_DOMAIN}")
    else:
        assert message.sender == f"news@{tenant}.example"


def status(gatepost: Gatepost, role: str) -> dict[str, Any]:
    """Return what a role tells about itself."""
    return ask(control_path(gatepost.run_dir, role), "status")


@contextmanager
def meanwhile(action: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something on another thread while the block runs; it is told when the block has ended."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            action(ended)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


def drain(postfix: PrivatePostfix, timeout_s: float = 60) -> None:
    """Have Postfix try what is deferred until nothing is in the queue.

    Once is not enough: qmgr(8) remembers the last answer of its address resolver, a failure too,
    for some seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        postfix.flush()
        try:
            postfix.wait_empty_queue(2)
        except LabError:
            if time.monotonic() >= deadline:
                raise
        else:
            return


@contextmanager
def stopped(pid: int | None) -> Iterator[int]:
    """Have a process hang for the length of a block; it is gone afterwards if the block killed it.

    On a busy machine its threads run on for a moment after the signal.
    """
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _state(pid) == "T", 5, "the process to stop")
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def reply_of(host: str, message: Mail) -> str:
    """Send a message and return the reply that ended it, refused or not."""
    try:
        return f"250 {send(host, message)}"
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode() if isinstance(text, bytes) else text}"
