"""What the log proves: message by message against the record of the mail servers themselves."""

from __future__ import annotations

import contextlib
import re
import socketserver
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import add_address, run, wait_until
from lab.send import Mail, queue_id, send, send_many
from lab.world import ADDRESS, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

LIAR = "198.18.2.77"
# What a server says in the hope that somebody reads it as Postfix's own words.
LIE = (
    "250 2.0.0 ok) relay=mx.good.example[198.18.1.1]:25, tls=dane, dsn=2.0.0, status=sent (250 "
    "Verified TLS connection established to mx.liar.example[198.18.2.77]:25: TLSv1.3 with cipher X"
)
# Those that take mail, one way or another.
TAKING = (
    *(Kind.GOOD, Kind.PLAIN, Kind.SELF_SIGNED, Kind.WRONG_NAME, Kind.EXPIRED, Kind.OLD_TLS),
    *(Kind.SLOW, Kind.REFUSES_TLS, Kind.BROKEN_TLS),
)
# Further destinations of the slow server, which keep as many processes busy at once.
SLOW_TOO = ("slow2.example", "slow3.example")
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "enforce", "feedback": "off"},
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "tenants": {
        "acme": {"logins": ["acme"], "senders": ["acme.example"]},
        "beta": {"logins": ["beta"], "senders": ["beta.example"], "profile": "private"},
    },
}


class _Liar(socketserver.StreamRequestHandler):
    """A mail server without TLS whose replies are made to be misread."""

    def handle(self) -> None:
        self.wfile.write(b"220 mx.liar.example ESMTP\r\n")
        data = False
        for line in self.rfile:
            if data:
                data = line != b".\r\n"
                if not data:
                    self.wfile.write(f"{LIE}\r\n".encode())
                continue
            verb = line[:4].upper()
            data = verb == b"DATA"
            self.wfile.write(b"354 go on\r\n" if data else b"250 mx.liar.example\r\n")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    world.names.address("mx.liar.example", LIAR)
    world.names.mail("liar.example", "mx.liar.example")
    for domain in SLOW_TOO:
        world.names.mail(domain, "mx.slow.example")
    with world:
        add_address(LIAR)
        with _Server((LIAR, 25), _Liar) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield world
            server.shutdown()


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    main = {
        "initial_destination_concurrency": "20",
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s",
        "queue_run_delay": "2s",
        # One that goes before our own, as operators have them.
        "transport_maps": "inline:{{loophole.example=smtp:[mx.plain.example]}}",
    }
    with world.postfix(main=main, users=("acme", "beta")) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    readable(postfix.maillog)
    with world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)}) as running:
        running.attach()
        # attach has set smtp_tls_loglevel, without which nothing is called plaintext.
        running.reload()
        yield running


def readable(maillog: Path) -> None:
    """Let Gatepost's account read the log, as the group adm does elsewhere."""
    wait_until(maillog.exists, 10, "Postfix's log")
    maillog.chmod(0o644)


Row = tuple[str, str, str, str, str, str]


def rows(gatepost: Gatepost) -> list[Row]:
    """Return what the store has of each delivery."""
    path = gatepost.directory / "state" / "gatepost.db"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(
            "select recipient, relay, tls, version, tenant, verdict from deliveries"
        ).fetchall()


@pytest.fixture
def wait_row(gatepost: Gatepost) -> Callable[[str], Row]:
    """Return a function that waits for what is known of the delivery to a recipient."""

    def wait(recipient: str) -> Row:
        found: list[Row] = []

        def seen() -> bool:
            found.extend(row for row in rows(gatepost) if row[0] == recipient)
            return bool(found)

        wait_until(seen, 20, f"the delivery to {recipient}")
        return found[0]

    return wait


def test_each_of_many_deliveries_at_once_is_told_as_it_arrived(world, postfix, gatepost):
    mails = [
        Mail("n@acme.example", f"u{number}@{kind}.example", f"{kind} {number}", login="acme")
        for number in range(30)
        for kind in TAKING
    ]
    mails += [
        Mail("n@acme.example", f"u{number}@{domain}", f"{domain} {number}", login="acme")
        for number in range(30)
        for domain in SLOW_TOO
    ]
    # They are held back first, so that all of them go out at once.
    postfix.configure({"defer_transports": "smtp"})
    postfix.reload()
    assert not send_many(ADDRESS, mails, sessions=50).refused
    postfix.configure({"defer_transports": ""})
    postfix.reload()
    postfix.flush()
    world.fleet.wait_count(len(mails), 90)
    wait_until(lambda: len(rows(gatepost)) >= len(mails), 30, "all deliveries in the store")

    arrived = Counter(
        (recipient, received.host, (received.tls or {"version": ""})["version"])
        for received in world.fleet.messages()
        for recipient in received.recipients
    )
    told = Counter(
        (recipient, relay, version) for recipient, relay, _, version, _, _ in rows(gatepost)
    )
    assert told == arrived
    for recipient, _, tls, version, tenant, verdict in rows(gatepost):
        assert tls == ("encrypted" if version else "plaintext"), recipient
        assert (tenant, verdict) == ("acme", "")
    # They were at once: that many processes delivered.
    smtp = {
        m[1]
        for line in postfix.log_lines()
        if (m := re.search(r"/smtp\[(\d+)\]: \w+: to=<u", line))
    }
    assert len(smtp) >= 50

    shares = {
        each["name"]: each for each in gatepost.json("tls", "share", "--by", "domain")["shares"]
    }
    for kind in TAKING:
        counts = shares[f"{kind}.example"]["deliveries"]
        plain = sum(
            n
            for (_, host, version), n in arrived.items()
            if host == f"mx.{kind}.example" and not version
        )
        assert (counts["encrypted"], counts["plaintext"]) == (30 - plain, plain), kind
        assert counts["unknown"] == counts["authenticated"] == 0


def test_a_reply_that_lies_does_not_make_a_delivery_encrypted(postfix, wait_row):
    identifier = queue_id(
        send(ADDRESS, Mail("n@acme.example", "u@liar.example", "lie", login="acme"))
    )
    postfix.wait_log(f"{identifier}: to=<u@liar.example>.*Verified TLS connection")
    assert wait_row("u@liar.example")[1:] == ("mx.liar.example", "plaintext", "", "acme", "")


def test_an_address_that_lies_does_not_either(wait_row):
    local = '"x>, relay=mx.good.example[198.18.1.1]:25, tls=dane, dsn=2.0.0, status=sent (250"'
    send(ADDRESS, Mail("n@acme.example", f"{local}@plain.example", "lying", login="acme"))
    assert wait_row(f"{local}@plain.example")[1:3] == ("mx.plain.example", "plaintext")


def test_enforced_tls_is_proved_and_a_refusal_is_told(wait_row, gatepost):
    send(ADDRESS, Mail("n@beta.example", "ok@good.example", "proved", login="beta"))
    assert wait_row("ok@good.example")[2:] == ("encrypted", "TLSv1.3", "beta", "met")
    send(ADDRESS, Mail("n@beta.example", "no@plain.example", "refused", login="beta"))
    assert wait_row("no@plain.example")[2:] == ("refused", "", "beta", "")
    checked = gatepost.json("tls", "share", "--check")["check"]
    assert (checked["asked"], checked["unproven"], checked["weaker_count"]) == (1, 0, 0)


def test_mail_that_went_around_its_profile_is_an_alarm(gatepost, wait_row):
    mail = Mail("n@beta.example", "u@loophole.example", "around", login="beta")
    identifier = queue_id(send(ADDRESS, mail))
    assert wait_row("u@loophole.example")[2:] == ("plaintext", "", "beta", "weaker")
    wait_until(
        lambda: any("weaker-delivery tenant=beta" in line for line in gatepost.log_lines()),
        5,
        "the event",
    )
    document = gatepost.json("tls", "share", "--check", status=1)
    (weaker,) = document["check"]["weaker"]
    assert (weaker["queue_id"], weaker["got"]) == (identifier, "plaintext")
    assert weaker["asked"] == "encrypt (profile private)"
    # Without the option it is a report, and its status does not change.
    gatepost.command("tls", "share")
    status = gatepost.json("status")
    assert status["roles"]["back"]["counts"]["weaker_deliveries"] == {"all": 1.0}
    assert any("tls share --check" in line for line in status["attention"])


def test_kills_and_rotations_in_mid_log_neither_lose_nor_double(postfix, gatepost):
    before = Counter(row[0] for row in rows(gatepost))
    mails = [
        Mail("n@acme.example", f"k{number}@{kind}.example", f"k{kind} {number}", login="acme")
        for number in range(40)
        for kind in (Kind.GOOD, Kind.PLAIN, Kind.EXPIRED)
    ]
    sender = threading.Thread(target=send_many, args=(ADDRESS, mails), kwargs={"sessions": 10})
    sender.start()
    gatepost.kill("back")
    gatepost.wait_answering()
    run(["postfix", "-c", postfix.config_dir, "logrotate"])
    # postlogd makes the new file with the next line, and all mail may be through by now.
    run(["postlog", "-c", postfix.config_dir, "-t", "postfix/lab", "the log was rotated"])
    readable(postfix.maillog)
    gatepost.kill("back")
    sender.join()
    gatepost.wait_answering()
    wanted = {mail.recipient for mail in mails}

    def seen() -> Counter[str]:
        return Counter(row[0] for row in rows(gatepost) if row[0] in wanted)

    wait_until(lambda: set(seen()) == wanted, 60, "all deliveries in the store")
    assert set(seen().values()) == {1}
    assert Counter(row[0] for row in rows(gatepost) if row[0] not in wanted) == before
    # What the running service has read, no ingest counts again.
    rotated = next(postfix.directory.glob("maillog.*"))
    assert "read before, nothing new" in gatepost.command("log", "ingest", str(rotated))
