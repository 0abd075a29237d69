"""Nodes of several versions on one server: each step of the schema, and who may go on beside it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.store import postgres_schema, postgres_server
from gatepost.store.open import open_events
from gatepost.store.postgres_events import PostgresEvents, put_events
from gatepost.store.postgres_schema import MIGRATIONS, migrate, version_of
from gatepost.store.postgres_schema import Step as SchemaStep
from gatepost.store.postgres_server import connect


def event(name: str) -> Event:
    return Event(name, EventKind.DELIVERED, 1_800_000_000.0, "acme")


def on_another_node(call: Callable[[], object]) -> threading.Thread:
    """Run something on a thread, and so on a connection, of its own."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.fixture
def fresh(postgres) -> Iterator[str]:
    """Return the URL of a database of its own, without any tables."""
    postgres.sql("create database other owner gatepost")
    yield postgres.url.replace("/gatepost?", "/other?")
    postgres.sql("drop database other with (force)")


NEWER = SchemaStep("more", ("alter table events add column more text not null default ''",))
BREAKING = SchemaStep("less", ("alter table events drop column reporter",), older_go_on=False)


def newer(url: str, *steps: SchemaStep) -> None:
    """Bring a database up to date as a later version does."""
    with contextlib.closing(connect(url)) as db:
        migrate(db, steps=(*MIGRATIONS, *steps))


def test_nodes_that_start_together_make_the_tables_once(fresh: str) -> None:
    gate = threading.Barrier(4)

    def begin(_: int) -> int:
        gate.wait()
        with contextlib.closing(PostgresEvents(fresh)) as store:
            return store.end()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [0] * 4
    with contextlib.closing(connect(fresh)) as db:
        assert version_of(db) == (len(MIGRATIONS), len(MIGRATIONS))


def test_an_older_program_goes_on_beside_a_step_that_only_adds(fresh: str) -> None:
    with contextlib.closing(PostgresEvents(fresh)) as older:
        older.add([event("before")])
        newer(fresh, NEWER)
        # With the connection that it has, and with a new one.
        older.add([event("between")])
        older.close()
        older.add([event("after")])
        assert [each.event.id for each in older.after(0, 9)] == ["before", "between", "after"]
    with contextlib.closing(connect(fresh)) as db:
        assert version_of(db) == (len(MIGRATIONS) + 1, len(MIGRATIONS))
        migrate(db, steps=(*MIGRATIONS, NEWER))
        assert db.execute("select count(*) from gatepost_schema").fetchone() == (
            len(MIGRATIONS) + 1,
        )


def test_an_older_program_stops_at_a_step_that_it_must_know(
    fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(PostgresEvents(fresh)) as older:
        newer(fresh, NEWER, BREAKING)
        monkeypatch.setattr(postgres_server, "CHECK_S", 0.0)
        problem = "is for programs that know at least 10 steps, and this version knows 8"
        with pytest.raises(StoreUnavailable, match=problem):
            older.end()
        with pytest.raises(StoreUnavailable, match=problem):
            PostgresEvents(fresh)


def test_a_step_that_fails_leaves_nothing_behind(fresh: str) -> None:
    PostgresEvents(fresh).close()
    broken = SchemaStep("broken", (*NEWER.statements, "select 1 / 0"))
    with pytest.raises(psycopg.errors.DivisionByZero):
        newer(fresh, broken)
    with contextlib.closing(connect(fresh)) as db:
        assert version_of(db)[0] == len(MIGRATIONS)
    newer(fresh, NEWER)


def test_a_step_does_not_make_mail_wait_behind_it(
    fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_schema, "LOCK_S", 0.1)
    with contextlib.closing(PostgresEvents(fresh)) as store, store._writing() as db:
        put_events(db, [event("e1")])

        def upgrade() -> None:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                newer(fresh, NEWER)

        on_another_node(upgrade).join()
    newer(fresh, NEWER)


def test_a_database_without_tables_is_made_only_where_that_is_wanted(fresh: str) -> None:
    with pytest.raises(StoreUnavailable, match="nothing was recorded yet"):
        open_events(fresh, create=False)
    open_events(fresh).close()
    open_events(fresh, create=False).close()


def test_a_database_that_is_not_in_utf_8_is_refused(postgres) -> None:
    postgres.sql(
        "create database latin owner gatepost encoding 'LATIN1' locale 'C' template template0"
    )
    with pytest.raises(StoreUnavailable, match="not encoded in UTF-8"):
        open_events(postgres.url.replace("/gatepost?", "/latin?"))
    postgres.sql("drop database latin with (force)")
