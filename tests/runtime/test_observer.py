"""The observer: each delivery once, whatever dies, and no silent weakness."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import EventKind
from gatepost.maillog.evidence import Batch, By, Counts, DeliveryStore, Record, Scope, Verdict
from gatepost.maillog.model import SENT, Delivery, TlsClass
from gatepost.runtime import observer as module
from gatepost.runtime.deliveries import RELOAD_S, History, record_of
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.observer import Observer
from gatepost.store.deliveries import SqliteDeliveries
from gatepost.store.open import open_deliveries, open_events
from lab.process import wait_until
from tests.runtime.observed import ACME, WORLD, append, message, stamp, start
from tests.world import NOW, snapshot

ROOT = Path(__file__).resolve().parents[2]
ALL = (0.0, 4e9)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    append(path, [f"{stamp(0)}postfix/master[1]: daemon started"])
    return path


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "state").mkdir()
    return f"sqlite:///{tmp_path}/state/gatepost.db"


@pytest.fixture
def store(url: str) -> Iterator[DeliveryStore]:
    with contextlib.closing(open_deliveries(url)) as opened:
        yield opened


@pytest.fixture
def observe(url: str) -> Iterator[Callable[..., Observer]]:
    started: list[Observer] = []

    def observe(maillog: Path, **options: object) -> Observer:
        started.append(start(maillog, url, **options))
        return started[-1]

    yield observe
    for each in started:
        each.stop()


def total(store: DeliveryStore) -> Counts:
    counts = Counts()
    for share in store.share(*ALL, By.DAY):
        for tls in TlsClass:
            counts = counts.plus(tls, getattr(share.deliveries, tls))
    return counts


def wait_sent(store: DeliveryStore, count: int) -> None:
    wait_until(lambda: total(store).sent >= count, 20, f"{count} deliveries")


def test_deliveries_are_seen_as_they_are_logged(log, store, observe):
    metrics = Metrics("back")
    append(log, message(1))
    observer = observe(log, metrics=metrics)
    wait_sent(store, 1)
    append(log, message(2), message(3))
    wait_sent(store, 3)
    (share,) = store.share(*ALL, By.TENANT)
    assert (share.name, share.deliveries) == ("acme", Counts(encrypted=3))
    (domain,) = store.share(*ALL, By.PROVIDER)
    assert domain.name == "a.example"
    wait_until(lambda: observer.details()["maillog_last_at"] > 0, 5, "the last delivery")
    assert observer.details()["maillog_offset"] == log.stat().st_size
    wait_until(lambda: metrics.counts()["deliveries"] == {"encrypted": 3.0}, 5, "the metric")
    assert metrics.counts()["maillog_lines"] == {"all": 13.0}


def test_a_weaker_delivery_is_an_alarm(log, store, observe, caplog):
    caplog.set_level(logging.INFO)
    metrics = Metrics("back")
    observe(log, metrics=metrics)
    append(log, message(1), message(2, encrypted=False))
    wait_sent(store, 2)
    (weaker,) = store.check(*ALL).weaker
    assert (weaker.tenant, weaker.recipient, weaker.got) == ("acme", "u2@a.example", "plaintext")
    wait_until(lambda: "weaker_deliveries" in metrics.counts(), 5, "the metric")
    (line,) = [each for each in caplog.messages if each.startswith("weaker-delivery ")]
    assert line == (
        "weaker-delivery tenant=acme queue_id=4000002 to=<u2@a.example> "
        'relay=mx.a.example[192.0.2.1] service=- asked="encrypt, TLSv1.2 or later (profile '
        'private)" got=plaintext'
    )


def test_an_alarm_that_could_not_be_stored_is_told_once(log, store, observe, caplog, monkeypatch):
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.01)
    failing = threading.Event()
    failing.set()
    add = SqliteDeliveries.add
    tries = threading.Semaphore(0)

    def add_or_fail(self, batch):
        if failing.is_set() and batch.records:
            tries.release()
            raise StoreUnavailable("disk full")
        return add(self, batch)

    monkeypatch.setattr(SqliteDeliveries, "add", add_or_fail)
    append(log, message(1), message(2, encrypted=False))
    metrics = Metrics("back")
    observer = observe(log, metrics=metrics)
    for _ in range(3):
        assert tries.acquire(timeout=20)
    assert observer.details()["maillog_trouble"] == "disk full"
    failing.clear()
    wait_sent(store, 2)
    wait_until(lambda: not observer.details()["maillog_trouble"], 5, "the end of the trouble")
    said = [each.partition(" ")[0] for each in caplog.messages]
    assert said.count("weaker-delivery") == 1
    assert said.count("store-unavailable") == 1
    assert metrics.counts()["errors"]["store"] >= 3


def test_what_postfix_is_set_to_says_nothing_of_lines_that_were_there(
    log, store, observe, monkeypatch
):
    # The log of a day on which smtp_tls_loglevel was 0, as it is by default, until attach came.
    append(log, message(1, encrypted=False))
    monkeypatch.setattr(time, "time", lambda: 1_800_000_015.0)
    observer = observe(log)
    wait_sent(store, 1)
    assert total(store) == Counts(unknown=1)
    append(log, message(100, encrypted=False))
    wait_sent(store, 2)
    observer.stop()
    # What is written while the observer is down is as sure as what was written before.
    append(log, message(200, encrypted=False))
    monkeypatch.setattr(time, "time", lambda: 1_800_001_000.0)
    observe(log)
    wait_sent(store, 3)
    assert total(store) == Counts(unknown=1, plaintext=2)


def test_a_delivery_of_which_nothing_is_known_is_unproven(log, store, observe):
    metrics = Metrics("back")
    observe(log, metrics=metrics, tls_logged=False)
    append(log, message(1, encrypted=False))
    wait_sent(store, 1)
    assert (store.check(*ALL).unproven, store.check(*ALL).weaker_count) == (1, 0)
    wait_until(lambda: "unproven_deliveries" in metrics.counts(), 5, "the metric")
    assert metrics.counts()["deliveries"] == {"unknown": 1.0}


def test_a_log_that_is_missing_comes_back(tmp_path, store, observe, caplog, monkeypatch):
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.01)
    caplog.set_level(logging.INFO)
    path = tmp_path / "later.log"
    metrics = Metrics("back")
    observer = observe(path, metrics=metrics)
    wait_until(lambda: observer.details()["maillog_trouble"], 5, "the trouble")
    assert "No such file" in observer.details()["maillog_trouble"]
    append(path, message(1), message(2))
    wait_sent(store, 2)
    wait_until(lambda: not observer.details()["maillog_trouble"], 5, "the end of the trouble")
    assert any(each.startswith("maillog-unavailable ") for each in caplog.messages)
    assert any(each.startswith("maillog-back ") for each in caplog.messages)
    assert metrics.counts()["errors"]["maillog"] >= 1


def test_a_bug_does_not_end_the_observer(log, store, observe, monkeypatch, caplog):
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.01)
    failed = threading.Event()

    def record_or_fail(*arguments, **options):
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError("a bug")
        return record_of(*arguments, **options)

    monkeypatch.setattr(module, "record_of", record_or_fail)
    append(log, message(1))
    observe(log)
    wait_sent(store, 1)
    assert "observer-failed" in caplog.messages


def test_old_rows_become_counts(log, store, observe, monkeypatch):
    monkeypatch.setattr(module, "TIDY_FIRST_S", 0.0)
    # 2027 is in the future of no clock that matters here.
    monkeypatch.setattr(time, "time", lambda: 1_800_100_000.0)
    append(log, message(1))
    observe(log)
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        counted = "select count(*) from delivery_days"
        wait_until(lambda: db.execute(counted).fetchone()[0], 10, "a count")
    assert total(store).sent == 1


def test_a_reload_is_taken_note_of(log, store, observe):
    observer = observe(log, world=snapshot())
    observer.reloaded(WORLD)
    append(log, message(1))
    wait_sent(store, 1)
    assert [each.name for each in store.share(*ALL, By.TENANT)] == ["acme"]


@pytest.mark.timeout(110)
def test_a_kill_at_any_moment_neither_loses_nor_doubles(log, url, store):
    """Kill it ten times in mid-log, rotate the log in between in every way, and count."""
    sent = 0
    rotations = [_rename, _compress, _copy_and_truncate, _nothing, _rename]
    for turn, rotate in enumerate([*rotations, *rotations]):
        append(log, *(message(sent + number) for number in range(100)))
        sent += 100
        before = store.positions()
        with _process(log, url) as process:
            # Ever later, so that kills fall anywhere.
            wait_until(lambda: store.positions() != before, 30, "the observer to read")  # noqa: B023
            threading.Event().wait(0.003 * turn)
            process.kill()
        append(log, *(message(sent + number) for number in range(50)))
        sent += 50
        rotate(log)
    append(log, message(sent))
    with _process(log, url):
        wait_sent(store, sent + 1)
    assert total(store) == Counts(encrypted=sent + 1)
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        twice = "select queue_id from deliveries group by queue_id having count(*) > 1"
        assert db.execute(twice).fetchall() == []
    with contextlib.closing(open_events(url)) as events:
        hours = events.counts(*ALL)
        assert {(each.tenant, each.kind) for each in hours} == {("acme", EventKind.DELIVERED)}
        assert sum(each.count for each in hours) == sent + 1


def _nothing(log: Path) -> None:
    pass


def _rename(log: Path) -> None:
    _make_room(log)
    log.rename(log.with_name("mail.log.1"))
    log.touch()


def _copy_and_truncate(log: Path) -> None:
    _make_room(log)
    log.with_name("mail.log.1").write_bytes(log.read_bytes())
    os.utime(log.with_name("mail.log.1"), ns=(log.stat().st_mtime_ns,) * 2)
    log.write_bytes(b"")


def _compress(log: Path) -> None:
    _rename(log)
    first = log.with_name("mail.log.1")
    compressed = log.with_name("mail.log.1.gz")
    compressed.write_bytes(gzip.compress(first.read_bytes()))
    os.utime(compressed, ns=(first.stat().st_mtime_ns,) * 2)
    first.unlink()


def _make_room(log: Path) -> None:
    """Move older rotations up by one, as logrotate does."""
    for suffix in ("", ".gz"):
        for number in range(20, 0, -1):
            old = log.with_name(f"mail.log.{number}{suffix}")
            if old.exists():
                old.rename(log.with_name(f"mail.log.{number + 1}{suffix}"))


@contextlib.contextmanager
def _process(log: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.runtime.observed", str(log), url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


# What the observer and the ingest of old logs share


def delivery(at: float, **changes: object) -> Delivery:
    values: dict[str, object] = {
        "at": at, "started_at": at - 1, "queue_id": "4A", "sender": "n@acme.example",
        "recipient": "u@A.Example", "service": "", "host": "mx.sub.a.example",
        "address": "192.0.2.1", "status": SENT, "dsn": "2.0.0", "tls": TlsClass.PLAINTEXT,
    }  # fmt: skip
    return Delivery(**{**values, **changes})  # type: ignore[arg-type]


def test_what_is_kept_of_a_delivery():
    found = record_of(delivery(NOW, count=3, opens=False), History(WORLD, 0.0))
    assert found == Record(
        NOW, "4A", "acme", "u@A.Example", "a.example", "mx.sub.a.example", "192.0.2.1", "a.example",
        "", TlsClass.PLAINTEXT, "", 3, 0, Verdict.WEAKER,
        "encrypt, TLSv1.2 or later (profile private)", "plaintext",
    )  # fmt: skip


def test_what_was_neither_sent_nor_refused_is_not_kept():
    history = History(WORLD, 0.0)
    assert record_of(delivery(NOW, status="deferred", tls=TlsClass.UNKNOWN), history) is None
    assert record_of(delivery(NOW, status="deferred", tls=TlsClass.REFUSED), history) is not None


def test_rules_are_looked_up_by_the_relayhost_where_there_is_one():
    world = snapshot(everyone={"hub.example": ACME_RULE})
    found = record_of(delivery(NOW, sender=""), History(world, 0.0), "[hub.example]:587")
    assert found is not None
    assert found.verdict is Verdict.WEAKER


ACME_RULE = WORLD.tls.profiles["private"].base


def test_the_configurations_of_a_period():
    first, second = snapshot(), snapshot(ACME)
    history = History(first, 100.0)
    history.add(second, 200.0)
    history.add(second, 300.0)
    assert history.during(110, 111) == ([first], True)
    assert history.during(210, 211) == ([second], True)
    assert history.during(200 - RELOAD_S, 200 - RELOAD_S) == ([second, first], True)
    assert history.during(199, 201) == ([second, first], True)
    # Before anything that this process knows.
    assert history.during(50, 51) == ([first], False)
    assert history.during(99, 101) == ([first], False)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.1", "::1"])
def test_what_a_content_filter_on_this_host_gets_counts_nowhere(address):
    assert record_of(delivery(NOW, address=address), History(WORLD, 0.0)) is None


def test_what_an_ingest_has_read_meanwhile_is_a_gap_and_no_plaintext(log, store, observe):
    lines = list(message(1))
    append(log, message(0))
    observer = observe(log)
    wait_sent(store, 1)
    observer.stop()
    # Somebody else takes the line about TLS, and then the service comes back.
    position = store.positions()[0]
    append(log, lines[:2])
    ahead = replace(position, offset=log.stat().st_size)
    assert store.add(Batch([], ahead, position, scope=Scope.INGEST))
    append(log, lines[2:])
    observe(log)
    wait_sent(store, 2)
    assert total(store) == Counts(encrypted=1, unknown=1)


def test_what_an_ingest_takes_under_the_observer_counts_once(log, store, observe):
    append(log, message(0))
    observe(log)
    wait_sent(store, 1)
    position = store.positions()[0]
    with log.open("a", encoding="ascii") as file:
        # Before the observer looks again, as like as not.
        file.writelines(f"{line}\n" for line in message(1))
    ahead = replace(position, offset=log.stat().st_size)
    taken = store.add(Batch([], ahead, position, scope=Scope.INGEST))
    append(log, message(2))
    wait_sent(store, 2 if taken else 3)
    append(log, message(3))
    wait_sent(store, 3 if taken else 4)
    assert total(store).sent == (3 if taken else 4)


def test_the_journal_is_observed_too(tmp_path, store, observe, monkeypatch):
    journal = tmp_path / "journal"
    fake = Path(__file__).parents[1] / "maillog" / "fake_journalctl.py"
    monkeypatch.setattr(module, "JOURNALCTL", (sys.executable, str(fake), str(journal)))

    def log_lines(first: int, *lines: str) -> None:
        with journal.open("a", encoding="ascii") as file:
            for number, line in enumerate(lines, first):
                tag, _, text = line[len(stamp(0)) :].partition(": ")
                name, _, pid = tag.removesuffix("]").partition("[")
                entry = {
                    "__CURSOR": f"s={number}",
                    "__REALTIME_TIMESTAMP": str(1_800_000_000_000_000 + number),
                    "_HOSTNAME": "mail",
                    "SYSLOG_IDENTIFIER": name,
                    "SYSLOG_PID": pid,
                    "MESSAGE": text,
                }
                file.write(json.dumps(entry) + "\n")

    log_lines(1, *message(1))
    observer = observe("journal")
    # The journal begins with what comes next.
    wait_until(journal.with_suffix(".begun").exists, 20, "the fake journalctl to begin")
    log_lines(10, *message(2))
    wait_sent(store, 1)
    observer.stop()
    log_lines(20, *message(3))
    observe("journal")
    wait_sent(store, 2)
    assert total(store) == Counts(encrypted=2)
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        ids = db.execute("select queue_id from deliveries order by id").fetchall()
    assert ids == [("4000002",), ("4000003",)]
