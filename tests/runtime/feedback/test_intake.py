"""The intake over LMTP: durable before 250, patient in trouble, deaf to what is not ours."""

from __future__ import annotations

import contextlib
import errno
import os
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import StartError
from gatepost.runtime.feedback import intake as module
from gatepost.runtime.feedback import spool as spool_module
from gatepost.runtime.feedback.feedback_metrics import watch_intake
from gatepost.runtime.feedback.intake import Intake
from gatepost.runtime.feedback.spool import Spool
from gatepost.runtime.metrics import Metrics
from tests.world import snapshot

WORLD = snapshot(bounce_domain="bounces.example", feedback_domain="fbl.example")
MAIL = b"Subject: report\r\n\r\n..dots\r\n.\r\nend\r\n"
TO = "token@bounces.example"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def arrivals() -> list[int]:
    return []


@pytest.fixture
def intake(tmp_path: Path, spool: Spool, arrivals: list[int]) -> Iterator[Intake]:
    counts = watch_intake(Metrics("back"), lambda: 0, lambda: 0)
    path = tmp_path / "intake.sock"
    made = Intake(path, "root", spool, lambda: WORLD, counts, lambda: arrivals.append(1))
    yield made
    made.stop()
    assert not path.exists()


@pytest.fixture
def client(intake: Intake, tmp_path: Path) -> Iterator[smtplib.LMTP]:  # noqa: ARG001
    with smtplib.LMTP(str(tmp_path / "intake.sock")) as lmtp:
        yield lmtp


def octets_of(spool: Spool, mail_id: str) -> bytes:
    found = spool.find(mail_id)
    assert found is not None
    return found.path.read_bytes()[found.offset :]


def test_a_mail_is_on_disk_when_250_comes(client, spool, arrivals):
    assert client.sendmail("", [TO], MAIL) == {}
    (mail_id,) = spool.waiting()
    assert octets_of(spool, mail_id) == MAIL
    assert spool.find(mail_id).envelope.sender == ""
    assert arrivals == [1]
    assert list((spool.directory / "tmp").iterdir()) == []


def test_a_reply_for_each_recipient(client, spool):
    client.ehlo()
    client.mail("<a@b.example>")
    assert client.rcpt("<x@BOUNCES.example>")[0] == 250
    # For good, Postfix would return it to whoever seems to have sent it.
    assert client.rcpt("<y@other.example>")[0] == 450
    assert client.rcpt("<z@fbl.example>")[0] == 250
    assert client.rcpt("<postmaster>")[0] == 450
    assert client.data(b"x\r\n") == (250, b"2.0.0 Ok: stored")
    assert client.getreply() == (250, b"2.0.0 Ok: stored")
    assert client.noop()[0] == 250
    (mail_id,) = spool.waiting()
    assert spool.find(mail_id).envelope.recipients == ("x@BOUNCES.example", "z@fbl.example")


def test_many_mails_over_one_connection(client, spool):
    for number in range(5):
        assert client.sendmail("", [TO], b"Subject: %d\r\n\r\n" % number) == {}
    assert len(spool.waiting()) == 5


def test_too_many_recipients_are_for_another_time(client):
    client.ehlo()
    client.mail("<>")
    replies = [client.rcpt(f"<{number}@bounces.example>")[0] for number in range(22)]
    assert replies == [250] * 20 + [452] * 2


@pytest.mark.parametrize("sender", ["<>", '<"a b"@c.example>', "<@x:a@b>", "<äö@ü.example>", "<a>"])
def test_any_sender_will_do(client, spool, sender):
    client.ehlo()
    client.command_encoding = "utf-8"
    assert client.docmd("MAIL", f"FROM:{sender} BODY=8BITMIME SIZE=99999999999")[0] == 250
    assert client.rcpt(f"<{TO}>")[0] == 250
    assert client.data(b"x\r\n")[0] == 250
    (mail_id,) = spool.waiting()
    assert spool.find(mail_id).envelope.sender == sender[1:-1]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("DATA", 503), ("RCPT TO:<t@bounces.example>", 503), ("MAIL", 501),
        ("MAIL FROM:", 501), ("MAIL TO:<x>", 501), ("EHLO x", 500), ("VRFY x", 252),
        ("STARTTLS", 454), ("AUTH PLAIN", 500), ("x" * 9000, 500), ("BDAT 3", 500),
    ],
)  # fmt: skip
def test_what_does_not_belong_here(client, command, code):
    client.ehlo()
    client.putcmd(command)
    reply = client.getreply()[0]
    assert reply == code or reply // 100 == 5
    assert client.sendmail("", [TO], MAIL) == {}


def test_a_domain_that_is_none_of_ours_is_told_once(client, caplog):
    client.ehlo()
    client.mail("")
    for recipient in ("<x@Other.example>", "<y@other.example>", "<bare>"):
        assert client.rcpt(recipient)[0] == 450
    told = [each.getMessage() for each in caplog.records if "intake-foreign" in each.getMessage()]
    assert len(told) == 2
    assert "domain=other.example" in told[0]


def test_addresses_as_long_as_postfix_takes_them(client, spool):
    # Refused for good, they would go back to a sender that is forged.
    sender, local = "s" * 2000 + "@x.example", "r" * 2000
    recipients = [f"{local}{number}@bounces.example" for number in range(20)]
    client.ehlo()
    assert client.mail(sender)[0] == 250
    assert [client.rcpt(each)[0] for each in recipients] == [250] * 20
    assert [client.data(b"x\r\n")[0], *(client.getreply()[0] for _ in range(19))] == [250] * 20
    (mail_id,) = spool.waiting()
    assert spool.find(mail_id).envelope.recipients == tuple(recipients)


def test_lines_of_any_length_and_octets_of_any_kind(client, spool):
    long = b"x" * 300_000 + b"\r\n"
    dots = b"." * 300_000 + b"\r\n"
    body = b"Subject: x\r\n\r\n" + long + b"." + long + dots + bytes(range(1, 256)) + b"\r\n"
    client.ehlo()
    client.mail("<>")
    client.rcpt(f"<{TO}>")
    client.putcmd("data")
    client.getreply()
    client.sock.sendall(body.replace(b"\n.", b"\n..") + b".\r\n")
    assert client.getreply()[0] == 250
    (mail_id,) = spool.waiting()
    assert octets_of(spool, mail_id) == body


def test_a_large_mail_is_taken_and_held(client, spool, monkeypatch):
    monkeypatch.setattr(spool_module, "MAX_OCTETS", 50_000)
    monkeypatch.setattr(spool_module, "HEAD_OCTETS", 1000)
    client.ehlo()
    assert "size" not in client.esmtp_features
    assert client.sendmail("", [TO], b"x" * 70 + b"\r\n" * 30_000) == {}
    assert spool.waiting() == []
    (held,) = spool.held()
    assert held.reason == "too-large"
    assert held.mail.octets == 1000


def test_without_room_postfix_keeps_the_mail(client, spool, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "MIN_FREE_OCTETS", 1 << 60)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("", [TO], MAIL)
    assert refused.value.smtp_code == 452
    assert spool.waiting() == []
    assert client.sendmail("", [TO], MAIL) == {}


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 452), (errno.EIO, 451)])
def test_trouble_with_the_disk_is_temporary(client, spool, monkeypatch, number, code):
    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("", [TO], MAIL)
    assert refused.value.smtp_code == code
    assert spool.waiting() == []
    assert list((spool.directory / "tmp").iterdir()) == []


def test_a_bug_of_ours_returns_nothing_to_anybody(client, intake, monkeypatch):
    monkeypatch.setattr(intake, "ours", lambda _: 1 // 0)
    client.ehlo()
    client.mail("<>")
    assert client.rcpt(f"<{TO}>")[0] == 451


def test_who_leaves_in_the_middle_leaves_nothing(client, spool):
    client.ehlo()
    client.mail("<>")
    client.rcpt(f"<{TO}>")
    client.putcmd("data")
    client.getreply()
    client.sock.sendall(b"half a mail")
    client.sock.shutdown(socket.SHUT_RDWR)
    client.close()
    with smtplib.LMTP(str(spool.directory / "intake.sock")) as other:
        assert other.sendmail("", [TO], MAIL) == {}
    assert len(spool.waiting()) == 1


def test_a_silent_client_is_cut_off(tmp_path, spool, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    counts = watch_intake(Metrics("back"), lambda: 0, lambda: 0)
    made = Intake(tmp_path / "i.sock", "root", spool, lambda: WORLD, counts, lambda: None)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(tmp_path / "i.sock"))
        silent.settimeout(30)
        assert silent.recv(100).startswith(b"220")
        assert silent.recv(100) == b""
    made.stop()


@pytest.mark.usefixtures("intake")
def test_connections_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    path = str(tmp_path / "intake.sock")
    with smtplib.LMTP(path) as first:
        first.ehlo()
        with socket.socket(socket.AF_UNIX) as second:
            second.connect(path)
            second.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert second.recv(100) in {b"", b"220 gatepost Gatepost LMTP\r\n"}
        assert first.sendmail("", [TO], MAIL) == {}


@pytest.mark.usefixtures("intake")
def test_a_second_intake_is_refused(tmp_path, spool):
    counts = watch_intake(Metrics("other"), lambda: 0, lambda: 0)
    with pytest.raises(StartError, match="another process answers"):
        Intake(tmp_path / "intake.sock", "root", spool, lambda: WORLD, counts, lambda: None)
