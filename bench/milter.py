"""Milter: our processor time per message beside pymilter that decides nothing, with 1,000 tenants.

Purpose: the milter stands on the path of every message.
Format: a client speaks Postfix's side of the protocol, sending each milter just what it asked for
at negotiation. With real mail most SMTP connections carry one message; Postfix opens a connection
to the milter for each of them, and libmilter starts a thread for it, so both ways are measured.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.configurations import write_configuration
from bench.load import CONNECTIONS, ROUNDS, LoadError, wait_for
from bench.processes import running, tree_cpu_seconds
from bench.report import Row
from bench.roles import role, workplace
from lab.milter_client import MilterConnection, command, macros, negotiate

TENANTS = 1_000
GOAL_MS = 0.35
MESSAGES = 3_200
MANY = 20

_NO_MAIL, _NO_RCPT, _NO_HEADERS = 0x4, 0x8, 0x20
_NEGOTIATED = struct.Struct(">III")
_HEADERS = (
    ("Received", "from app.example.net (app.example.net [192.0.2.7]) by mail.example; today"),
    ("Date", "Tue, 24 Nov 2026 10:00:00 +0000"),
    ("From", "News <news@t{tenant}.example>"),
    ("To", "Reader <reader{message}@dest.example>"),
    ("Subject", "Number {message} of our letters, a little longer than most subjects are"),
    ("Message-ID", "<{message}.{tenant}@t{tenant}.example>"),
    ("MIME-Version", "1.0"),
    ("Content-Type", 'multipart/alternative; boundary="=_{message}"'),
    ("List-Unsubscribe", "<https://t{tenant}.example/unsubscribe/{message}>"),
    ("X-Mailer", "letters 3.2"),
)


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    pid: int
    path: Path


def run() -> list[Row]:
    """Measure, and return the rows."""
    with workplace() as directory, contextlib.ExitStack() as stack:
        configuration = write_configuration(directory / "gatepost", TENANTS)
        ours = stack.enter_context(role("milter", configuration))
        targets = [_Target("gatepost", ours.pid, Path(ours.socket("milter")))]
        for kind in ("callbacks", "end"):
            path = directory / kind
            command_ = [sys.executable, "-m", "bench.bare_milter", str(path), kind]
            bare = stack.enter_context(running(command_))
            wait_for(str(path))
            targets.append(_Target(kind, bare.pid, path))
        return [row for per in (1, MANY) for row in _rows(per, _measure(targets, per))]


def _rows(per_connection: int, spent: dict[str, float]) -> list[Row]:
    ours, callbacks, end = spent["gatepost"], spent["callbacks"], spent["end"]
    messages = "message" if per_connection == 1 else "messages"
    way = f"{per_connection} {messages} a connection"
    return [
        Row(
            f"{way}, {TENANTS:,} tenants",
            f"{ours:.3f} ms of CPU",
            f"{ours / callbacks:.2f} × pymilter that decides nothing",
            f"≤ {GOAL_MS:g} ms",
            ours <= GOAL_MS,
        ),
        Row(f"{way}: pymilter, same callbacks", f"{callbacks:.3f} ms of CPU"),
        Row(f"{way}: pymilter, end of message only", f"{end:.3f} ms of CPU"),
    ]


def _measure(targets: list[_Target], per_connection: int) -> dict[str, float]:
    """Return target name to processor time per message in milliseconds, median of rounds."""
    for target in targets:
        _round(target, MESSAGES // 4, per_connection)
    found: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            before = tree_cpu_seconds(target.pid)
            _round(target, MESSAGES, per_connection)
            spent = tree_cpu_seconds(target.pid) - before
            found[target.name].append(spent / MESSAGES * 1e3)
    return {name: statistics.median(values) for name, values in found.items()}


def _round(target: _Target, messages: int, per_connection: int) -> None:
    problems: list[BaseException] = []

    def send(seed: int) -> None:
        sent = _messages(seed)
        try:
            for _ in range(messages // CONNECTIONS // per_connection):
                _converse(target.path, sent, per_connection)
        except (OSError, LoadError) as error:
            problems.append(error)

    threads = [threading.Thread(target=send, args=(seed,)) for seed in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise LoadError(f"{target.name}: {problems[0]}")


def _messages(seed: int) -> Iterator[tuple[int, int]]:
    draw = random.Random(seed)  # noqa: S311 - which tenant sends is no secret
    while True:
        yield draw.randrange(TENANTS), draw.randrange(1_000_000)


def _converse(path: Path, sent: Iterator[tuple[int, int]], count: int) -> None:
    with MilterConnection(path) as connection:
        (answer,) = connection.ask(negotiate())
        _, _, protocol = _NEGOTIATED.unpack_from(answer.data)
        connection.send(
            macros(
                "connect",
                {
                    "{daemon_name}": b"submission",
                    "{client_addr}": b"192.0.2.7",
                    "{client_port}": b"40123",
                },
            )
            + macros("helo", {})
        )
        for _ in range(count):
            tenant, message = next(sent)
            connection.send(_envelope(tenant, message, protocol))
            replies = connection.ask(_content(tenant, message, protocol))
            if [reply.code for reply in replies] != [b"h", b"h", b"h", b"c"]:
                raise LoadError(f"expected three headers, got {[r.text for r in replies]}")
            connection.send(command("abort"))
        connection.send(command("quit"))


def _envelope(tenant: int, message: int, protocol: int) -> bytes:
    packets = [macros("mail", {"j": b"mail.example", "{auth_authen}": b"t%d" % tenant})]
    if not protocol & _NO_MAIL:
        packets.append(command("mail", b"<news@t%d.example>" % tenant, b"SIZE=4096"))
    packets.append(macros("rcpt", {"i": b"4Q%d" % message}))
    if not protocol & _NO_RCPT:
        packets.append(command("rcpt", b"<reader%d@dest.example>" % message))
    packets.append(macros("data", {"i": b"4Q%d" % message}))
    return b"".join(packets)


def _content(tenant: int, message: int, protocol: int) -> bytes:
    packets = []
    if not protocol & _NO_HEADERS:
        for name, value in _HEADERS:
            text = value.format(tenant=tenant, message=message)
            packets.append(command("header", name.encode(), text.encode()))
    packets += [macros("end", {"i": b"4Q%d" % message}), command("end")]
    return b"".join(packets)
