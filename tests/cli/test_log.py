"""log ingest: old logs, in whatever order and however often."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli import log as module
from gatepost.cli.app import build as command_line
from gatepost.maillog.evidence import By, Counts, Scope
from gatepost.store.deliveries import SqliteDeliveries
from gatepost.store.open import open_deliveries
from tests.runtime.observed import append, message, stamp

Gatepost = Callable[..., Result]
ALL = (0.0, 4e9)
KEY = 'current: 1\nkeys:\n  1: {secret: "' + "ab" * 32 + '"}\n'
CONFIGURATION = """
postfix: {{config_dir: {directory}}}
state: sqlite:///{directory}/gatepost.db
modes: {{default: enforce, feedback: off}}
tls: {{profiles: {{private: {{level: encrypt}}}}}}
tenants: {{acme: {{logins: [acme], senders: [acme.example], profile: private}}}}
"""


@pytest.fixture
def gatepost(tmp_path: Path) -> Gatepost:
    config = tmp_path / "gatepost.yaml"
    config.write_text(CONFIGURATION.format(directory=tmp_path))
    # postconf waits for a main.cf that is missing, and for one that is still being written.
    for name in ("main.cf", "master.cf"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEY)
    keys.chmod(0o600)

    def gatepost(*arguments: object, status: int = 0) -> Result:
        words = ["log", "ingest", *map(str, arguments), "--config", str(config)]
        result = CliRunner().invoke(command_line(), words)
        assert result.exit_code == status, result.output
        return result

    return gatepost


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a log with three messages, the last of which ends in the next one."""
    path = tmp_path / "old.log"
    begin = [f"{stamp(0)}postfix/master[1]: daemon started"]
    # Its one line about TLS makes the service one that logs TLS.
    last = list(message(3))
    append(path, begin, message(1), message(2, encrypted=False), last[:1])
    append(tmp_path / "new.log", last[1:], message(4, service="postfix/gp-normal-private"))
    return path


def sums(tmp_path: Path) -> dict[str, Counts]:
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        return {each.name: each.deliveries for each in store.share(*ALL, By.TENANT)}


def test_old_logs_are_read_in_their_order(gatepost, old, tmp_path):
    printed = gatepost(tmp_path / "new.log", old).stdout
    assert printed.splitlines() == [
        f"{old}: 9 lines, 2 deliveries",
        f"{tmp_path}/new.log: 7 lines, 2 deliveries",
    ]
    # The sender of the third message stands in the older file.
    assert sums(tmp_path) == {"acme": Counts(encrypted=3, plaintext=1)}


def test_what_stands_first_in_a_file_may_have_had_its_tls_line_before(gatepost, old, tmp_path):
    later = tmp_path / "later.log"
    append(later, message(500, encrypted=False), message(600, encrypted=False))
    gatepost(old, later)
    assert sums(tmp_path)["acme"] == Counts(encrypted=1, plaintext=2, unknown=1)


def test_the_same_again_counts_nothing_twice(gatepost, old, tmp_path):
    gatepost(old)
    before = sums(tmp_path)
    assert "read before, nothing new" in gatepost(old).stdout
    compressed = tmp_path / "old.log.7.gz"
    compressed.write_bytes(gzip.compress(old.read_bytes()))
    assert "read before, nothing new" in gatepost(compressed).stdout
    renamed = old.rename(tmp_path / "renamed")
    assert "read before, nothing new" in gatepost(renamed).stdout
    assert sums(tmp_path) == before


def test_what_has_grown_is_read_on(gatepost, old, tmp_path):
    gatepost(old)
    append(old, message(9))
    assert "4 new lines, 1 delivery" in gatepost(old).stdout
    assert sums(tmp_path)["acme"].sent == 3


def test_what_was_cut_off_in_the_middle_goes_on(gatepost, old, tmp_path, monkeypatch):
    monkeypatch.setattr("gatepost.maillog.follow.CHUNK_OCTETS", 200)
    add, calls = SqliteDeliveries.add, []

    def add_some(self, batch):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return add(self, batch)

    monkeypatch.setattr(SqliteDeliveries, "add", add_some)
    gatepost(old, tmp_path / "new.log", status=130)
    gatepost(old, tmp_path / "new.log")
    assert sums(tmp_path) == {"acme": Counts(encrypted=3, plaintext=1)}


def test_what_was_cut_off_in_the_second_file_goes_on(gatepost, old, tmp_path, monkeypatch):
    monkeypatch.setattr("gatepost.maillog.follow.CHUNK_OCTETS", 200)
    add = SqliteDeliveries.add
    new, later = tmp_path / "new.log", tmp_path / "later.log"
    lines = list(message(500))
    append(later, message(400, encrypted=False), lines[:2], lines[2:])

    def add_some(self, batch):
        if any(each.recipient == "u500@a.example" for each in batch.records):
            raise KeyboardInterrupt
        return add(self, batch)

    monkeypatch.setattr(SqliteDeliveries, "add", add_some)
    gatepost(old, new, later, status=130)
    monkeypatch.setattr(SqliteDeliveries, "add", add)
    gatepost(old, new, later)
    # The line about TLS was read by the run that was cut off, and the delivery by this one.
    assert sums(tmp_path)["acme"] == Counts(encrypted=4, plaintext=1, unknown=1)


def test_the_memory_of_a_run_that_was_cut_off_is_not_that_of_another_file(
    gatepost, old, tmp_path, monkeypatch
):
    gatepost(old)
    lines = list(message(600))
    append(old, lines[:2])
    gatepost(old)
    add = SqliteDeliveries.add
    new = tmp_path / "new.log"

    def add_none(self, batch):
        add(self, batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(SqliteDeliveries, "add", add_none)
    gatepost(new, status=130)
    monkeypatch.setattr(SqliteDeliveries, "add", add)
    append(old, lines[2:])
    gatepost(old)
    # Nobody remembers its sender either.
    assert sums(tmp_path)["?"] == Counts(encrypted=1, unknown=1)


def test_compressed_logs_and_json(gatepost, old, tmp_path):
    compressed = tmp_path / "mail.log.2.gz"
    compressed.write_bytes(gzip.compress(old.read_bytes()))
    document = json.loads(gatepost(compressed, "--json").stdout)
    assert document == {
        "files": [
            {
                "file": str(compressed),
                "lines": 9,
                "deliveries": 2,
                "unreadable": 0,
                "known": False,
            }
        ]
    }


def test_lines_that_are_not_understood_are_told(gatepost, tmp_path):
    path = tmp_path / "odd.log"
    append(path, [f"{stamp(0)}postfix/smtp[1]: 4AAAA: to=<cut"], message(1))
    assert gatepost(path).stdout == f"{path}: 5 lines, 1 delivery, 1 line not understood\n"


def test_a_log_without_years_is_of_the_year_of_its_file(gatepost, tmp_path):
    path = tmp_path / "mail.log.9"
    lines = [line.replace(line[:25], "Jan 15 08:00:10 ", 1) for line in message(1)]
    append(path, lines)
    past = time.mktime((2019, 3, 1, 0, 0, 0, 0, 0, -1))
    os.utime(path, (past, past))
    gatepost(path)
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        # Older than what is kept.
        assert store.share(*ALL, By.DAY) == []
    recent = time.time() - 3 * 86_400
    append(
        path,
        [line.replace("Jan 15", time.strftime("%b %e", time.localtime(recent))) for line in lines],
    )
    os.utime(path, (recent, recent))
    gatepost(path)
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        (share,) = store.share(*ALL, By.DAY)
    day = time.strftime("%Y-%m-%d", time.localtime(recent))
    assert (
        abs(
            time.mktime(time.strptime(share.name, "%Y-%m-%d"))
            - time.mktime(time.strptime(day, "%Y-%m-%d"))
        )
        <= 86_400
    )


def test_nothing_is_left_to_remember(gatepost, old, tmp_path):
    gatepost(old)
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        assert store.state(Scope.INGEST) == {}


def test_a_file_that_somebody_else_reads(gatepost, old, monkeypatch):
    monkeypatch.setattr(SqliteDeliveries, "add", lambda _self, _batch: False)
    assert "another process reads this file now" in gatepost(old, status=2).stderr


@pytest.mark.parametrize("name", ["missing.log", "."])
def test_what_cannot_be_read(gatepost, tmp_path, name):
    assert str(tmp_path) in gatepost(tmp_path / name, status=2).stderr


def test_words():
    assert module._words(module.Read("x")) == "empty"
    assert module._words(module.Read("x", known=True)) == "read before, nothing new"
