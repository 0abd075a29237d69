"""``gatepost feedback parse`` as an administrator types it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli import common
from gatepost.cli.app import build as command_line
from gatepost.cli.feedback import parse as module
from gatepost.feedback.token import Keyring, Purpose, Token, day_of, seal_token
from gatepost.runtime.feedback import reader_child
from gatepost.tenants.model import tenant_number
from gatepost.tls.dns_answer import DnsAnswer, Outcome
from lab.reporters import ReportSigner, yahoo_report
from tests.mails import corpus

KEYS = Keyring({1: bytes(range(32))}, 1)
Gatepost = Callable[..., Result]


@pytest.fixture
def gatepost(tmp_path: Path) -> Gatepost:
    """Run the command with a configuration of one tenant."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    config = tmp_path / "gatepost.yaml"
    config.write_text(
        f"postfix: {{config_dir: {tmp_path}}}\nkeys: keys.yaml\n"
        "platform: {sender_id: examplesp}\n"
        "tenants:\n  acme: {logins: [acme], senders: [acme.example]}\n"
    )

    def gatepost(*arguments: str, status: int = 0, stdin: bytes = b"") -> Result:
        command = ["feedback", "parse", *arguments, "--config", str(config)]
        result = CliRunner().invoke(command_line(command), command, input=stdin)
        assert result.exit_code == status, result.output
        return result

    return gatepost


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def sealed(purpose: Purpose = Purpose.COMPLAINT) -> str:
    token = Token(tenant_number("acme"), b"12345678", 3, day_of(time.time()))
    return seal_token(token, purpose, KEYS)


def write(path: Path, octets: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    return path


def complaint(subject: str = "x") -> bytes:
    return (
        "From: abuse@isp.example\nContent-Type: multipart/report; report-type=feedback-report; "
        f"boundary=b\nSubject: {subject}\n\n"
        "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: Isp/1\n"
        "Version: 1\nOriginal-Rcpt-To: reader@isp.example\nIncidents: 2\n"
        "--b\nContent-Type: message/rfc822\n\nFrom: News <news@acme.example>\n"
        "Message-ID: <1@acme.example>\nFeedback-ID: cspring:tacme:examplesp\n"
        f"X-Gatepost-Token: {sealed()}\n\nHello\n--b--\n"
    ).encode()


def test_one_object_for_each_mail_with_these_fields(gatepost: Gatepost, tmp_path: Path) -> None:
    path = write(tmp_path / "complaint.eml", complaint())
    (found,) = objects(gatepost("--json", str(path)))
    assert found == {
        "file": str(path),
        "kind": "complaint",
        "format": "arf",
        "reporter": "isp.example",
        "authenticated": False,
        "recipients": [
            {
                "address": "reader@isp.example",
                "status": "",
                "action": "",
                "class": None,
                "hard": None,
                "rule": None,
            }
        ],
        "token": {
            "purpose": "complaint",
            "where": "X-Gatepost-Token",
            "tenant": "acme",
            "message": b"12345678".hex(),
            "recipient": 3,
            "made": time.strftime("%Y-%m-%d", time.gmtime()),
        },
        "original": {
            "message_id": "<1@acme.example>",
            "from": "news@acme.example",
            "feedback_id": "cspring:tacme:examplesp",
        },
        "incidents": 2,
    }


def test_files_directories_and_standard_input(gatepost: Gatepost, tmp_path: Path) -> None:
    box = tmp_path / "Maildir"
    for name in ("new/2", "cur/1", "tmp/half", ".hidden/3", "new/.hidden", "sub/new/4"):
        write(box / name, complaint())
    single = write(tmp_path / "one.eml", complaint())
    result = gatepost("--json", str(single), str(box), "-", stdin=complaint())
    assert [each["file"] for each in objects(result)] == [
        *(str(single), f"{box}/cur/1", f"{box}/new/2", f"{box}/sub/new/4", "-")
    ]
    assert {each["kind"] for each in objects(result)} == {"complaint"}


def test_a_directory_that_is_called_tmp_is_read_where_it_is_no_maildirs(
    gatepost: Gatepost, tmp_path: Path
) -> None:
    write(tmp_path / "box" / "tmp" / "1", complaint())
    assert len(objects(gatepost("--json", str(tmp_path / "box")))) == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_each_mail_of_a_mailbox(gatepost: Gatepost, tmp_path: Path, end: bytes) -> None:
    # A line "From " within a paragraph begins no mail.
    bodies = (complaint() + b"text\nFrom here on\n\n", complaint() + b"\n", complaint())
    mbox = b"".join(b"From a@b.example Mon Jan 11 08:00:00 2027\n" + body for body in bodies)
    path = write(tmp_path / "mbox", mbox.replace(b"\n", end))
    result = objects(gatepost("--json", str(path)))
    assert [each["file"] for each in result] == [f"{path}:{n}" for n in (1, 2, 3)]
    assert {each["kind"] for each in result} == {"complaint"}


def test_bad_files_are_named_and_the_others_read(gatepost: Gatepost, tmp_path: Path) -> None:
    good = write(tmp_path / "good.eml", complaint())
    empty = write(tmp_path / "empty.eml", b"\n")
    noise = write(tmp_path / "noise.eml", bytes(range(256)))
    deep = write(tmp_path / "deep.eml", b"Content-Type: message/rfc822\n\n" * 1000)
    gone = tmp_path / "gone.eml"
    names = [str(each) for each in (gone, empty, noise, deep, good)]
    result = gatepost("--json", *names, status=1)
    assert [each["file"] for each in objects(result)] == [str(good)]
    assert result.stderr.splitlines() == [
        f"gatepost: {gone}: No such file or directory",
        f"gatepost: {empty}: there is no mail in it (RFC 5322 §3.5)",
        f"gatepost: {noise}: there is no header, so it is no mail (RFC 5322 §3.6)",
        f"gatepost: {deep}: more than 10 levels (limit on depth)",
    ]


def test_a_bounce_with_its_class_and_rule(gatepost: Gatepost) -> None:
    octets = (
        b"From: MAILER-DAEMON@mx.example\nTo: x@bounces.example.net\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        b"--b\n\nFailed.\n--b\nContent-Type: message/delivery-status\n\n"
        b"Reporting-MTA: dns; mx.example\n\n"
        b"Final-Recipient: rfc822; gone@isp.example\nAction: failed\nStatus: 5.1.1\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 No such user here\n\n--b--\n"
    )
    (found,) = objects(gatepost("--json", "-", stdin=octets))
    assert (found["kind"], found["format"]) == ("bounce", "dsn")
    # Nothing could follow from it, so nobody looked.
    assert found["authenticated"] is None
    own = b"Return-Path: <>\nReceived: by mail.example.net (Postfix) id 4Xq0aB1; Mon, 11 Jan\n"
    (ours,) = objects(gatepost("--json", "-", stdin=own + octets))
    assert ours["authenticated"] is True
    (recipient,) = found["recipients"]
    assert recipient.pop("rule")
    assert recipient == {
        "address": "gone@isp.example",
        "status": "5.1.1",
        "action": "failed",
        "class": "invalid-recipient",
        "hard": True,
    }
    text = gatepost("-", stdin=octets).stdout
    assert "recipient  gone@isp.example  failed  5.1.1  invalid-recipient, hard" in text


def test_text_for_people(gatepost: Gatepost) -> None:
    lines = gatepost("-", stdin=complaint()).stdout.splitlines()
    assert lines == [
        "-: complaint (arf) by isp.example",
        "    origin     not authenticated: it has no DKIM signature",
        (
            "    token      complaint, in X-Gatepost-Token: tenant acme, message "
            f"{b'12345678'.hex()}, recipient 3, made {time.strftime('%Y-%m-%d', time.gmtime())}"
        ),
        "    original   <1@acme.example> from news@acme.example",
        "    recipient  reader@isp.example",
        "    note       2 incidents are claimed; one complaint counts once",
    ]


class Zone:
    """A resolver that knows one key, or answers nothing."""

    def __init__(self, signer: ReportSigner, *, failing: bool = False) -> None:
        self.signer = signer
        self.failing = failing

    async def txt(self, name: str) -> DnsAnswer[bytes]:
        if self.failing:
            return DnsAnswer(Outcome.FAILED, reason="no answer")
        if name != self.signer.name:
            return DnsAnswer(Outcome.ABSENT, ttl_s=10)
        return DnsAnswer(Outcome.FOUND, (self.signer.record.encode(),), ttl_s=300)


@pytest.mark.parametrize(
    ("domain", "failing", "options", "expected", "told"),
    [
        ("arf.mail.yahoo.com", False, [], True, "origin     authenticated"),
        ("stranger.example", False, [], False, "origin     not authenticated"),
        ("arf.mail.yahoo.com", True, [], None, "origin     not looked at: no answer"),
        ("arf.mail.yahoo.com", False, ["--offline"], None, "(arf) by arf.mail.yahoo.com"),
    ],
)
def test_who_reports_is_authenticated_as_by_the_intake(
    gatepost: Gatepost,
    monkeypatch: pytest.MonkeyPatch,
    domain: str,
    failing: bool,  # noqa: FBT001
    options: list[str],
    expected: bool | None,  # noqa: FBT001
    told: str,
) -> None:
    signer = ReportSigner(domain)
    monkeypatch.setattr(reader_child, "Resolver", lambda _: Zone(signer, failing=failing))
    sent = f"From: news@acme.example\r\nX-Gatepost-Token: {sealed()}\r\n\r\nHello\r\n"
    report = yahoo_report(sent.encode(), "fbl@fbl.example.net", "reader@isp.example")
    octets = signer.sign(report)
    (found,) = objects(gatepost("--json", *options, "-", stdin=octets))
    assert found["authenticated"] is expected
    assert found["kind"] == "complaint"
    assert told in gatepost(*options, "-", stdin=octets).stdout


def test_text_has_nothing_that_acts_on_a_terminal(gatepost: Gatepost, tmp_path: Path) -> None:
    path = write(tmp_path / "x\x1b[2J.eml", complaint().replace(b"<1@acme", b"<\x1b[2J1@acme"))
    assert "\x1b" not in gatepost(str(path)).stdout
    assert "\x1b" not in gatepost("--json", str(path)).stdout


def test_without_the_default_configuration_no_token_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in (common, module):
        monkeypatch.setattr(place, "DEFAULT_CONFIG", tmp_path / "none.yaml")
    path = write(tmp_path / "x.eml", corpus("feedback/yahoo-like.eml"))
    command = ["feedback", "parse", "--json", str(path), "--config", str(tmp_path / "none.yaml")]
    result = CliRunner().invoke(command_line(command), command)
    assert result.exit_code == 0
    assert "no token is opened" in result.stderr
    assert objects(result)[0]["token"] is None
    other = [*command[:-1], str(tmp_path / "other.yaml")]
    assert CliRunner().invoke(command_line(other), other).exit_code == 2
