"""feedback quarantine, feedback received and keys: what they show, and what they change."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.runtime.feedback.spool import Held, Spool
from gatepost.store.open import open_received
from gatepost.store.received import Received

SECRET = "ab" * 32


@pytest.fixture
def config(tmp_path: Path) -> Path:
    keys = tmp_path / "keys.yaml"
    keys.write_text(
        f'current: 2\nkeys:\n  1: {{secret: "{SECRET}", until: 2020-01-01}}\n'
        f'  2: {{secret: "{SECRET[::-1]}"}}\n'
    )
    keys.chmod(0o600)
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "service": {"user": "root"},
                "state": f"sqlite:///{tmp_path}/g.db",
                "keys": "keys.yaml",
                "platform": {"bounce_domain": "bounces.example"},
                "feedback": {"intake_dir": f"{tmp_path}/intake"},
            }
        )
    )
    (tmp_path / "intake").mkdir()
    return path


@pytest.fixture
def spool(tmp_path: Path, config: Path) -> Spool:
    assert config.exists()
    return Spool(tmp_path / "intake")


def run(config: Path, *words: str) -> Result:
    arguments = [*words, "--config", str(config)]
    return CliRunner().invoke(command_line(arguments), arguments)


def put(spool: Spool, octets: bytes = b"Subject: \x1b[2Jx\r\n\r\nhello\r\n") -> str:
    mail = spool.begin("s@a.example", ["t@bounces.example"])
    mail.write(octets)
    mail.commit()
    spool.hold(mail.id, Held.UNREADABLE, "99 levels")
    return mail.id


def test_an_empty_quarantine(config, spool):
    result = run(config, "feedback", "quarantine", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing is in quarantine" in result.stderr
    assert json.loads(run(config, "feedback", "quarantine", "list", "--json").stdout) == {
        "mails": []
    }
    assert spool.held() == []


def test_what_is_in_quarantine_and_why(config, spool):
    mail_id = put(spool)
    line = run(config, "feedback", "quarantine", "list").stdout
    assert mail_id in line
    assert "unreadable  from <s@a.example> to <t@bounces.example>, 25 octets: 99 levels" in line
    (found,) = json.loads(run(config, "feedback", "quarantine", "list", "--json").stdout)["mails"]
    assert (found["id"], found["reason"], found["octets"]) == (mail_id, "unreadable", 25)


def test_a_mail_is_shown_without_what_acts_on_a_terminal(config, spool):
    mail_id = put(spool)
    shown = run(config, "feedback", "quarantine", "show", mail_id).stdout
    assert "\x1b" not in shown
    assert "hello" in shown
    raw = run(config, "feedback", "quarantine", "show", "--raw", mail_id).stdout_bytes
    assert raw == b"Subject: \x1b[2Jx\r\n\r\nhello\r\n"
    assert run(config, "feedback", "quarantine", "show", "no").exit_code == 1


def test_retry_and_drop(config, spool):
    first, second = put(spool), put(spool)
    result = run(config, "feedback", "quarantine", "retry", first, "../x")
    assert result.exit_code == 1
    assert f"{first}: will be read again" in result.stdout
    assert "../x: no such mail in quarantine" in result.stderr
    assert spool.waiting() == [first]
    document = json.loads(run(config, "feedback", "quarantine", "drop", second, "--json").stdout)
    assert document == {"ok": True, "mails": {second: True}}
    assert spool.held() == []


def test_where_no_mail_comes_back(config, tmp_path):
    text = (
        config.read_text()
        .replace("bounce_domain", "sender_id")
        .replace("bounces.example", "examplesp")
    )
    config.write_text(text)
    result = run(config, "feedback", "quarantine", "list")
    assert result.exit_code == 2
    assert "no mail comes back here" in result.stderr
    assert not (tmp_path / "intake" / "new").exists()


def test_what_came_back(config, tmp_path):
    assert run(config, "feedback", "received").exit_code == 2
    report = Received(
        "1", 1_795_478_400.0, "complaint", "arf", "arf.mail.yahoo.com", "unauthenticated",
        "it has no DKIM signature", "acme", "00ff",
    )  # fmt: skip
    with contextlib.closing(open_received(f"sqlite:///{tmp_path}/g.db")) as store:
        store.add(report)
    line = run(config, "feedback", "received", "--kind", "complaint").stdout
    assert line == (
        "2026-11-24T00:00:00Z complaint arf unauthenticated arf.mail.yahoo.com acme 00ff: "
        "it has no DKIM signature\n"
    )
    document = json.loads(run(config, "feedback", "received", "--json").stdout)
    assert document["reports"][0]["result"] == "unauthenticated"
    assert run(config, "feedback", "received", "--result", "believed").stdout == ""
    assert run(config, "feedback", "received", "--result", "nonsense").exit_code == 2


def test_keys_are_listed_without_their_secrets(config):
    result = run(config, "keys", "list")
    assert result.exit_code == 0
    assert "ended on 2020-01-01; remove it" in result.stdout
    assert " 2  signs" in result.stdout
    assert SECRET[:8] not in result.stdout
    document = json.loads(run(config, "keys", "list", "--json").stdout)
    assert [each["number"] for each in document["keys"]] == [1, 2]


def test_a_new_key_signs_and_the_old_one_verifies(config):
    document = json.loads(run(config, "keys", "rotate", "--json").stdout)
    assert document["number"] == 3
    listed = json.loads(run(config, "keys", "list", "--json").stdout)["keys"]
    assert [(each["number"], each["signs"]) for each in listed] == [(2, False), (3, True)]
    assert listed[0]["until"] is not None
    assert "next: gatepost reload" in run(config, "keys", "rotate").stdout
