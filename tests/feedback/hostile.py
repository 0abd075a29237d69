"""Mails that are made to cost, each read in a process that may use 2 s of CPU and 200 MiB.

Run as a program: prints one line for each mail, its name and what became of it.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from gatepost.errors import MalformedMessage
from gatepost.feedback.bounce_rules import Rule, load_rules
from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.token import Keyring

CPU_S = 2
MEMORY_OCTETS = 200 * 1024 * 1024

MEGA = 1024 * 1024
KEYRING = Keyring({1: bytes(32)}, 1)


def nested(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(levels)
    )


def report(fields: bytes, original: bytes = b"From: a@b.example\n\nx") -> bytes:
    return (
        b"From: a@isp.example\nContent-Type: multipart/report; report-type=feedback-report; "
        b"boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
        + fields
        + b"\n--b\nContent-Type: message/rfc822\n\n"
        + original
        + b"\n--b--\n"
    )


def with_json(text: bytes) -> bytes:
    return b"From: a@isp.example\nContent-Type: application/json; name=xarf.json\n\n" + text


def notice(blocks: str, text: str = "x") -> bytes:
    return (
        "From: MAILER-DAEMON@isp.example\nContent-Type: multipart/report; "
        f"report-type=delivery-status; boundary=b\n\n--b\n\n{text}\n"
        f"--b\nContent-Type: message/delivery-status\n\n{blocks}\n--b--\n"
    ).encode()


def reasons() -> str:
    """A text in which as many rules as possible must be looked at."""
    return " ".join(sorted(word for rule in load_rules().rules for word in _words_of(rule)))


def _words_of(rule: Rule) -> list[str]:
    return [word for phrase in rule.phrases for word in phrase.words]


def failed(count: int, more: str = "") -> str:
    return "".join(f"Final-Recipient: rfc822; a{n}@isp.example\n{more}" for n in range(count))


def notice_in_words() -> bytes:
    named = ",".join(f"a{n}@b.c" for n in range(900))
    head = f"From: MAILER-DAEMON@isp.example\nX-Failed-Recipients: {named}\n"
    return f"{head}Subject: failure notice\n\n{reasons() * 10}".encode()


def encoded_messages() -> bytes:
    octets = b"Subject: x\n\n" + b"x" * 40_000
    for _ in range(9):
        octets = (
            b"From: a@b.example\nContent-Type: message/rfc822\n"
            b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(octets)
        )
    return octets


def words(count: int) -> bytes:
    return b"=?utf-8?q?=C3=A9?= " * count


MAILS: dict[str, Callable[[], bytes]] = {
    "25 MiB of multiparts in multiparts": lambda: (nested(500_000) * 2)[: 25 * MEGA],
    "25 MiB of messages in messages": lambda: (b"Content-Type: message/rfc822\n\n" * MEGA)[
        : 25 * MEGA
    ],
    "25 MiB of parts": lambda: (
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * (5 * MEGA)
    ),
    "25 MiB of text": lambda: b"From: a@b.example\n\n" + b"x" * (25 * MEGA),
    "1,000 multiparts": lambda: nested(1000),
    "1,000 messages": lambda: b"Content-Type: message/rfc822\n\n" * 1000,
    "a Subject of 400 KiB": lambda: b"Subject: " + words(20_000) + b"\n\nx",
    "a Subject of 400 KiB in the original": lambda: report(b"", b"Subject: " + words(20_000)),
    "70,000 addresses in To": lambda: b"To: " + b"a@b.cd, " * 70_000 + b"\n\nx",
    "a header full of encoded words": lambda: b"".join(
        b"Subject: " + words(400) + b"\n" for _ in range(8)
    ),
    "a header full of unfinished words": lambda: b"".join(
        b"Subject: " + b"=?utf-8?q?" * 800 + b"\n" for _ in range(8)
    ),
    "a header of answers to answers": lambda: b"Subject: " + b"re: " * 2000 + b"\n\n",
    "a From of comments": lambda: b"From: " + b"(" * 8000 + b"a@b.example\n\n",
    "a From of quotes": lambda: b'From: "' + b'\\"' * 4000 + b"\n\n",
    "a Content-Type of parameters": lambda: b"Content-Type: a/b" + b'; a="\\' * 1000 + b"\n\n",
    "1,000 recipients of quotes": lambda: report(
        b"".join(b"Original-Rcpt-To: " + b'"\\"a' * 60 + b"\n" for _ in range(950))
    ),
    "1,000 recipients of one word": lambda: report(
        b"".join(b"Original-Rcpt-To: " + b"a" * 250 + b"\n" for _ in range(950))
    ),
    "false tokens": lambda: report(
        b"", b"".join(b"X-A: " + b"abcdefgh" * 6 + b"\n" for _ in range(990))
    ),
    "almost a token": lambda: report(
        b"", b"".join(b"CFBL-Feedback-ID: " + b"a" * 8000 + b"\n" for _ in range(7))
    ),
    "many boundaries that are none": lambda: (
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"x--b" * (MEGA // 4 - 20)
    ),
    "boundaries of another": lambda: (
        b"Content-Type: multipart/mixed; boundary="
        + b"-" * 240
        + b"\n\n"
        + (b"-" * 400 + b"\n") * 2600
    ),
    "HTML of openings": lambda: (
        b"From: a@b.example\nContent-Type: text/html\n\n" + b"<" * (MEGA - 100)
    ),
    "HTML of numbers": lambda: (
        b"From: a@b.example\nContent-Type: text/html\n\n" + b"&#9" * (MEGA // 3 - 100)
    ),
    "a notice of 1,000 recipients for one reason": lambda: notice(
        f"Action: failed\nStatus: 5.1.1\nDiagnostic-Code: {reasons()[:2000]}\n" + failed(990)
    ),
    "a notice of 1,000 recipients without a reason": lambda: notice(
        failed(990, "Action: failed\n\n"), reasons() * 10
    ),
    "a notice in words of 1,000 recipients": notice_in_words,
    "lists of failed recipients": lambda: (
        b"From: MAILER-DAEMON@isp.example\n\n" + b"The following address(es) failed:\n" * 20_000
    ),
    "messages encoded in messages": encoded_messages,
    "fields": lambda: report(b"A: b\n" * 100_000),
    "blocks": lambda: report(b"A: b\n\n" * 100_000),
    "empty lines": lambda: b"From: a@b.example\n" + b"\n" * (MEGA - 100),
    "deep JSON": lambda: with_json(b"[" * 900_000),
    "JSON of objects": lambda: with_json(b'{"evidence":[' + b"{}," * 300_000 + b"{}]}"),
    "JSON of numbers": lambda: with_json(b"[" + b"1" * 900_000 + b"]"),
    "JSON of names": lambda: with_json(json.dumps({f"{n:x}": n for n in range(50_000)}).encode()),
    "noise": lambda: bytes(range(256)) * 4000,
}


def outcome(make: Callable[[], bytes]) -> str:
    octets = make()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime)
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    size = int(pages) * resource.getpagesize()
    # One second more, as the limit is in whole seconds of the whole process.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu + 1 + CPU_S, cpu + 2 + CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_OCTETS, size + MEMORY_OCTETS))
    try:
        found = read_mail(octets, EnvelopeFacts(), KEYRING, 1.8e9)
    except MalformedMessage as error:
        return error.rule
    return f"{found.kind.value}"


def main() -> None:
    for name, make in MAILS.items():
        process = os.fork()
        if not process:
            try:
                print(f"{name}: {outcome(make)}", flush=True)
            finally:
                os._exit(0)
        _, status = os.waitpid(process, 0)
        if status:
            print(f"{name}: ended with {status}", flush=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
