"""``gatepost tls what-if`` as an administrator types it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.cli.tls import what_if
from gatepost.maillog.evidence import Batch, LogPosition, Record
from gatepost.maillog.model import TlsClass
from gatepost.store.open import open_deliveries
from tests.settled import write_settled

Gatepost = Callable[..., Result]
DAY = 86_400.0
NOW = 1_800_000_000.0


@pytest.fixture
def gatepost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gatepost:
    """Run the command beside a log of three days."""
    monkeypatch.setattr(what_if, "time", SimpleNamespace(time=lambda: NOW))
    assert CliRunner().invoke(command_line(), ["init", "--dir", str(tmp_path)]).exit_code == 0
    write_settled(tmp_path / "main.cf", "")
    config = tmp_path / "gatepost.yaml"
    config.write_text(
        f"postfix: {{config_dir: {tmp_path}}}\nplatform: {{sender_id: examplesp}}\n"
        f"state: sqlite:///{tmp_path}/gatepost.db\n"
        "tls: {profiles: {private: {level: encrypt}, bank: {level: verify}}}\n"
    )
    seen = [
        ("acme", "good.example", TlsClass.ENCRYPTED, 40, 1),
        ("acme", "plain.example", TlsClass.PLAINTEXT, 12, 2),
        ("acme", "old.example", TlsClass.UNKNOWN, 3, 2),
        ("acme", "plain.example", TlsClass.PLAINTEXT, 99, 9),
        ("", "plain.example", TlsClass.PLAINTEXT, 5, 1),
    ]
    records = [
        Record(
            NOW - days * DAY, f"Q{n}", tenant, f"u@{domain}", domain, f"mx.{domain}", "192.0.2.1",
            domain, "smtp", tls, "TLSv1.3" if tls is TlsClass.ENCRYPTED else "", deliveries=count,
        )
        for n, (tenant, domain, tls, count, days) in enumerate(seen)
    ]  # fmt: skip
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        assert store.add(Batch(records, LogPosition("x", 0, 1, "")))

    def gatepost(*arguments: str, status: int = 0) -> Result:
        command = ["tls", "what-if", *arguments, "--config", str(config)]
        result = CliRunner().invoke(command_line(), command)
        assert result.exit_code == status, result.output
        return result

    return gatepost


def test_the_sentence_an_administrator_wants(gatepost: Gatepost) -> None:
    lines = gatepost("--profile", "private", "--tenant", "acme", status=1).stdout.splitlines()
    assert lines[0] == (
        "with profile private, 12 of 55 deliveries of mail of acme in the last 7 days would have "
        "been refused:"
    )
    assert lines[1:] == [
        "    plain.example: 12 of 12: plaintext",
        "of 3 more it cannot be told:",
        "    old.example: 3 of 3: the log does not tell whether there was TLS",
    ]


def test_everybody_and_nobody(gatepost: Gatepost) -> None:
    assert "17 of 60 deliveries of all mail" in gatepost("--profile", "private", status=1).stdout
    nobody = gatepost("--profile", "private", "--tenant", "-", status=1).stdout
    assert "5 of 5 deliveries" in nobody
    assert gatepost("--profile", "private", "--tenant", "x").stdout.startswith("no deliveries")


def test_days_and_levels(gatepost: Gatepost) -> None:
    document = json.loads(
        gatepost(
            "--profile", "private", "--tenant", "acme", "--days", "10", "--json", status=1
        ).stdout
    )
    assert (document["refused"], document["deliveries"]) == (111, 154)
    fine = gatepost("--profile", "standard").stdout
    assert "0 of 60 deliveries" in fine
    bank = gatepost("--profile", "bank", "--tenant", "acme", status=1).stdout
    assert "good.example: 40 of 40: encrypted, and nobody knows of the certificate" in bank


def test_a_profile_that_there_is_not(gatepost: Gatepost) -> None:
    assert "there are bank, private, standard" in gatepost("--profile", "x", status=2).stderr
