"""The book of statuses: changes are in force soon, and what was known outlives the store."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.status import NORMAL, Pause, Scope
from gatepost.runtime.feedback.status_book import StatusBook
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.store_watch import WHOLE_EVERY_S
from gatepost.store.open import open_as, open_statuses
from gatepost.store.sqlite_tenant_status import SqliteTenantStatus
from lab.process import wait_until

PAUSE = Pause(Scope.ALL, "list bought", 1_800_000_000.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def store(url):
    with contextlib.closing(open_statuses(url)) as opened:
        yield opened


@pytest.fixture
def book_of():
    books = []

    def book_of(open_store, metrics=None, **options):
        books.append(StatusBook(open_store, metrics or Metrics("policy"), every_s=0.01, **options))
        return books[-1]

    yield book_of
    for each in books:
        each.stop()


def test_what_is_stored_is_known_from_the_start(url, store, book_of):
    store.pause("acme", PAUSE)
    book = book_of(lambda: open_statuses(url))
    assert book.of("acme").pause == PAUSE
    assert book.of("other") is NORMAL
    assert set(book.current()) == {"acme"}


def test_a_change_of_another_process_is_seen(url, store, book_of):
    book = book_of(lambda: open_statuses(url))
    before = book.current()
    store.pause("acme", PAUSE)
    wait_until(lambda: book.of("acme").pause == PAUSE, 5, "the pause")
    # Who is in the middle of a decision keeps what it began with.
    assert dict(before) == {}
    store.resume("acme", 1_800_000_001.0, "root", "")
    wait_until(lambda: book.of("acme").pause is None, 5, "the resume")


def test_nothing_is_read_anew_without_a_change(url, store, book_of):
    store.pause("acme", PAUSE)
    looks = threading.Semaphore(0)
    reads = []

    class Counting(SqliteTenantStatus):
        def version(self):
            looks.release()
            return super().version()

        def all(self):
            reads.append(1)
            return super().all()

    book_of(lambda: open_as(Counting, url))
    for _ in range(5):
        assert looks.acquire(timeout=5)
    assert len(reads) == 1


def test_a_database_in_the_place_of_another_is_read(tmp_path, url, store, book_of):
    store.pause("acme", PAUSE)
    now = [0.0]
    book = book_of(lambda: open_statuses(url), clock=lambda: now[0])
    other = f"sqlite:///{tmp_path}/other.db"
    with contextlib.closing(open_statuses(other)) as backup:
        backup.pause("beta", PAUSE)
        assert backup.version() == store.version()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"gatepost.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "other.db").replace(tmp_path / "gatepost.db")
    now[0] += WHOLE_EVERY_S
    wait_until(lambda: set(book.current()) == {"beta"}, 5, "the other database")


def test_what_was_known_stays_while_the_store_is_down(url, store, book_of, caplog):
    caplog.set_level(logging.INFO)
    store.pause("acme", PAUSE)
    down = threading.Event()
    looks = threading.Semaphore(0)

    class Failing(SqliteTenantStatus):
        def version(self):
            looks.release()
            if down.is_set():
                raise StoreUnavailable("disk full")
            return super().version()

    metrics = Metrics("policy")
    book = book_of(lambda: open_as(Failing, url), metrics)
    down.set()
    wait_until(lambda: "status-unknown" in caplog.text, 5, "the trouble")
    for _ in range(3):
        assert looks.acquire(timeout=5)
    assert book.of("acme").pause == PAUSE
    assert metrics.counts()["errors"] == {"store": 1.0}
    store.resume("acme", 1_800_000_001.0, "root", "")
    down.clear()
    wait_until(lambda: book.of("acme").pause is None, 5, "the resume")
    told = [each.partition(" ")[0] for each in caplog.messages]
    assert (told.count("status-unknown"), told.count("status-known")) == (1, 1)


def test_a_start_does_not_wait_for_a_slow_store(book_of, caplog):
    go = threading.Event()

    def slow():
        go.wait(20)
        raise StoreUnavailable("locked")

    book = book_of(slow, first_s=0.01)
    assert book.of("acme") is NORMAL
    assert "status-unknown" in caplog.text
    go.set()


def test_a_bug_does_not_end_it(url, store, book_of, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gatepost.status"), "disabled", True)
    tries = []

    def failing():
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("bug")
        return open_statuses(url)

    store.pause("acme", PAUSE)
    book = book_of(failing)
    wait_until(lambda: book.of("acme").pause == PAUSE, 5, "the pause")
