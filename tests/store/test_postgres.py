"""Several nodes on one server: order, turns, upgrades; and what happens to servers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Step, SuppressionRules
from gatepost.feedback.status import NORMAL, Change, Pause, Scope, Whose
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.store import postgres_server, postgres_watch
from gatepost.store.gmail import GmailDay
from gatepost.store.messages import Message
from gatepost.store.open import (
    open_events,
    open_gmail,
    open_messages,
    open_rates,
    open_statuses,
    open_suppression,
    open_webhooks,
    sqlite_path,
)
from gatepost.store.postgres_events import PostgresEvents, put_events
from gatepost.store.postgres_server import Connection, connect, shown
from gatepost.store.postgres_suppression import PostgresSuppression
from lab.process import LabError

NOW = 1_800_000_000.0


@pytest.fixture
def url(postgres) -> str:
    postgres.empty()
    return postgres.url


@pytest.fixture
def events(url: str) -> Iterator[PostgresEvents]:
    with contextlib.closing(PostgresEvents(url)) as opened:
        yield opened


def event(name: str, kind: EventKind = EventKind.DELIVERED, **fields: str) -> Event:
    return Event(name, kind, NOW, "acme", **fields)


def on_another_node(call: Callable[[], object]) -> threading.Thread:
    """Run something on a thread, and so on a connection, of its own."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_no_event_appears_before_one_that_is_there_already(
    url: str, events: PostgresEvents
) -> None:
    begun, goes_on, stored = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        with contextlib.closing(PostgresEvents(url)) as store, store._writing() as db:
            put_events(db, [event("slow")])
            begun.set()
            assert goes_on.wait(10)

    def fast() -> None:
        with contextlib.closing(PostgresEvents(url)) as store:
            store.add([event("fast")])
        stored.set()

    first = on_another_node(slow)
    assert begun.wait(10)
    second = on_another_node(fast)
    # Were it there, whoever went on behind it would miss the one before it.
    assert not stored.wait(0.2)
    assert events.after(0, 9) == []
    assert events.end() == 0
    goes_on.set()
    first.join()
    second.join()
    assert [(e.position, e.event.id) for e in events.after(0, 9)] == [(1, "slow"), (2, "fast")]


def test_who_goes_on_by_position_misses_nothing_of_many_writers(
    url: str, events: PostgresEvents
) -> None:
    batches, writers = 40, 3

    def write(number: int) -> None:
        with contextlib.closing(PostgresEvents(url)) as store:
            for batch in range(batches):
                store.add([event(f"{number}-{batch}-{n}", campaign=f"c{n}") for n in range(5)])

    with ThreadPoolExecutor(writers) as pool:
        running = [pool.submit(write, number) for number in range(writers)]
        found, position = [], 0
        while len(found) < batches * writers * 5:
            done = all(each.done() for each in running)
            page = events.page(position, 100)
            found += [each.position for each in page.events]
            position = page.position
            if done and not page.events:
                break
        for each in running:
            each.result()
    assert found == list(range(1, batches * writers * 5 + 1))
    assert sum(each.count for each in events.counts(NOW - 9999, NOW + 9999)) == len(found)


def test_the_same_event_of_two_nodes_is_stored_and_counted_once(
    url: str, events: PostgresEvents
) -> None:
    same = [event(f"e{n}", EventKind.COMPLAINED) for n in range(50)]

    def add(_: int) -> list[str]:
        with contextlib.closing(PostgresEvents(url)) as store:
            return store.add(same)

    with ThreadPoolExecutor(4) as pool:
        new = pool.map(add, range(4))
        assert sorted(len(each) for each in new) == [0, 0, 0, 50]
    assert events.end() == 50
    assert sum(each.count for each in events.counts(NOW - 9999, NOW + 9999)) == 50


def test_a_pause_that_is_over_is_ended_by_one_node_only(url: str) -> None:
    with contextlib.closing(open_statuses(url)) as statuses:
        statuses.pause("acme", Pause(Scope.ALL, "why", NOW, NOW + 60, "root"))
    gate = threading.Barrier(4)

    def expire(_: int) -> list[str]:
        with contextlib.closing(open_statuses(url)) as store:
            gate.wait()
            return store.expire(NOW + 61)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(expire, range(4))) == [[], [], [], ["acme"]]
    with contextlib.closing(open_statuses(url)) as statuses:
        assert len(statuses.history("acme", 9)) == 2


def test_a_step_of_the_ladder_is_taken_by_one_node_only(url: str) -> None:
    gate = threading.Barrier(4)

    def climb(number: int) -> bool:
        change = Change("acme", Whose.AUTOMATIC, NOW + number, "none", "slow", {})
        with contextlib.closing(open_statuses(url)) as store:
            gate.wait()
            return store.set_step(change, NORMAL, Step.SLOW, "rate")

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(climb, range(4))) == [False, False, False, True]


def test_a_node_whose_clock_is_ahead_deletes_nothing_of_the_others(
    url: str, local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    until, rules = now + 3_600, SuppressionRules()
    with contextlib.ExitStack() as stack:
        events = stack.enter_context(contextlib.closing(PostgresEvents(url)))
        statuses = stack.enter_context(contextlib.closing(open_statuses(url)))
        listed = stack.enter_context(contextlib.closing(open_suppression(url, local=local)))
        messages = stack.enter_context(contextlib.closing(open_messages(url)))
        gmail = stack.enter_context(contextlib.closing(open_gmail(url)))
        events.add([replace(event("e1"), at=now)])
        statuses.pause("acme", Pause(Scope.ALL, "x", now, until))
        listed.add([Suppressed("acme", "ann@example.org", Reason.MANUAL, now, until)], rules)
        messages.add([Message(b"m1", now, "acme", "q1", "a@acme.example", "<1@acme.example>")])
        gmail.add([GmailDay(int(now // 86_400), "acme.example", "tacme", 0.1)])
        years = 20 * 365 * 86_400.0
        with monkeypatch.context() as there:
            there.setattr(postgres_server.time, "time", lambda: now + years)
            assert events.prune(now + years - 86_400) == 0
            assert statuses.expire(now + years) == []
            assert listed.prune(now + years, rules) == 0
            assert messages.prune(now + years - 86_400) == 0
            assert gmail.prune(now + years) == 0
        assert statuses.expire(until) == ["acme"]
        assert listed.prune(until + 1, rules) == 1
        assert messages.prune(now + 1) == 1
        assert events.prune(now + 1) >= 1


def test_soft_bounces_that_two_nodes_see_at_once_both_count(url: str, local: str) -> None:
    rules = SuppressionRules(soft_bounces=2, soft_window_s=86_400)
    before_commit = threading.Barrier(2)

    class Slow(PostgresSuppression):
        @contextlib.contextmanager
        def _writing(self) -> Iterator[Connection]:
            with super()._writing() as db:
                yield db
                # Were it not for its turn, the other one would be as far by now.
                with contextlib.suppress(threading.BrokenBarrierError):
                    before_commit.wait(0.3)

    def bounce(number: int) -> object:
        path = sqlite_path(local)
        assert path is not None
        with contextlib.closing(Slow(url, key_dir=path.parent)) as store:
            return store.soft_bounce("acme", "ann@example.org", NOW, f"e{number}", rules)

    # The key is made first.
    with contextlib.closing(open_suppression(url, local=local)) as store:
        assert store.add([Suppressed("acme", "bob@example.org", Reason.MANUAL, NOW)], rules) == 1
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(bounce, range(2)))
    assert [each is None for each in found].count(False) == 1


def test_all_stores_of_a_thread_share_one_connection(url: str, postgres) -> None:
    stores = [open_events(url), open_rates(url), open_gmail(url), open_webhooks(url)]
    count = "select count(*) from pg_stat_activity where usename = 'gatepost'"
    assert postgres.sql(count).strip() == "1"
    for store in stores[:-1]:
        store.close()
    assert stores[-1].states() == {}
    stores[-1].close()
    with contextlib.closing(open_events(url)) as other:
        assert other.end() == 0
    # Nor is one kept for a store that could not be opened.
    postgres.stop()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            open_events(url)
    assert postgres_server._links.by_url == {}
    postgres.start()


def test_a_node_without_the_key_of_the_list_says_so(url: str, tmp_path: Path) -> None:
    nodes = [f"sqlite:///{tmp_path}/{name}/g.db" for name in ("one", "two")]
    for node in nodes:
        Path(node.removeprefix("sqlite:///")).parent.mkdir()
    rules = SuppressionRules()
    with contextlib.closing(open_suppression(url, local=nodes[0])) as store:
        assert store.entries_of("acme", "ann@example.org", rules) == []
        assert store.soft_bounce("acme", "ann@example.org", NOW, "e1", rules) is None
    with (
        contextlib.closing(open_suppression(url, local=nodes[1])) as store,
        pytest.raises(StoreUnavailable, match=r"suppression.key is missing; copy it from a node"),
    ):
        store.find("acme", "ann@example.org", NOW, rules)
    (tmp_path / "two" / "suppression.key").write_bytes(
        (tmp_path / "one" / "suppression.key").read_bytes()
    )
    with contextlib.closing(open_suppression(url, local=nodes[1])) as store:
        assert store.find("acme", "ann@example.org", NOW, rules) is None


# What happens to servers.


def test_a_server_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://gp:geheim@/gatepost?host={tmp_path}&sslpassword=geheim"
    with pytest.raises(StoreUnavailable) as caught:
        open_events(url)
    assert str(caught.value).startswith("postgresql://gp@/gatepost: ")
    assert "No such file or directory" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gp:geheim@db:port/x",
        "postgresql://gp:ge@heim@db/x",
        "postgresql://gp:geheim@db/x?geheim=1",
        "postgresql://gp:geheim@[db/x",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_events(url)
    assert "heim" not in str(caught.value)


def test_urls_as_they_are_shown() -> None:
    assert shown("postgresql://gp:x@h1,h2:5432/db?sslmode=x") == "postgresql://gp@h1,h2:5432/db"
    assert shown("postgresql://gp:s@cret@h/db") == "postgresql://gp@h/db"
    assert shown("postgresql:///db?host=/run") == "postgresql:///db"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_server_that_comes_back_is_used_again_at_once(
    url: str, postgres, events: PostgresEvents, how: int
) -> None:
    events.add([event("before")])
    postgres.stop(how)
    with pytest.raises(StoreUnavailable):
        events.add([event("lost")])
    with pytest.raises(StoreUnavailable):
        open_events(url)
    postgres.start()
    assert events.add([event("after")]) == ["after"]
    # The first connection of now: nobody had to be told that the old one is over.
    postgres.stop(how)
    postgres.start()
    assert events.end() == 2


def test_a_batch_in_hand_when_the_server_dies_is_there_whole_or_not_at_all(
    postgres, events: PostgresEvents
) -> None:
    def die_before_the_end() -> None:
        with events._writing() as db:
            put_events(db, [event(f"e{n}") for n in range(100)])
            postgres.stop(signal.SIGKILL)

    with pytest.raises(StoreUnavailable):
        die_before_the_end()
    postgres.start()
    assert events.end() == 0
    assert events.after(0, 9) == []
    assert len(events.add([event(f"e{n}") for n in range(100)])) == 100


def test_a_slow_server_is_given_up(events: PostgresEvents) -> None:
    with events._database() as db:
        db.execute("set statement_timeout = 50")
    with pytest.raises(StoreUnavailable, match="statement timeout"), events._database() as db:
        db.execute("select pg_sleep(5)")
    assert events.end() == 0


def test_who_holds_a_turn_and_says_no_more_holds_up_others_for_a_time_only(
    url: str, events: PostgresEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        postgres_server, "_SESSION", postgres_server._SESSION.replace("10000", "200")
    )
    held = threading.Event()

    def freeze() -> None:
        with contextlib.closing(PostgresEvents(url)) as store:

            def put_and_wait() -> None:
                with store._writing() as db:
                    put_events(db, [event("frozen")])
                    held.set()
                    thread_ends.wait(10)

            with pytest.raises(StoreUnavailable, match="idle-in-transaction"):
                put_and_wait()

    thread_ends = threading.Event()
    frozen = on_another_node(freeze)
    assert held.wait(10)
    assert events.add([event("other")]) == ["other"]
    thread_ends.set()
    frozen.join()
    assert [each.event.id for each in events.after(0, 9)] == ["other"]


def test_a_server_that_hangs_is_given_up(
    events: PostgresEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_watch, "SILENT_S", 0.1)
    monkeypatch.setattr(postgres_watch, "LOOK_S", 0.05)
    with events._database() as db:
        backend = db.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=r"postgresql://gatepost@/gatepost: .*clos"):
            events.end()
    finally:
        os.kill(backend, signal.SIGCONT)
    assert events.end() == 0
    # What may take long is waited for.
    with events._database() as db:
        db.patient = True
        db.execute("select pg_sleep(0.4)")
        db.patient = False
        assert db.asked_at is None


def test_a_wait_for_a_lock_is_given_up(url: str, events: PostgresEvents) -> None:
    with events._database() as db:
        db.execute("set lock_timeout = 50")
    with contextlib.closing(connect(url)) as other, other.transaction():
        other.execute("select * from event_stream for update")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            events.add([event("e1")])
    assert events.add([event("e1")]) == ["e1"]


def test_a_standby_is_not_taken_for_the_server(url: str, postgres) -> None:
    postgres.sql("alter database gatepost set default_transaction_read_only = on")
    try:
        with pytest.raises(StoreUnavailable, match="session is read-only"):
            open_events(url)
    finally:
        postgres.sql("alter database gatepost reset default_transaction_read_only")
    open_events(url).close()


def test_a_server_without_a_free_connection_says_so(url: str, postgres) -> None:
    postgres.sql("alter role gatepost connection limit 0")
    try:
        with pytest.raises(StoreUnavailable, match="too many connections"):
            open_events(url)
    finally:
        postgres.sql("alter role gatepost connection limit -1")


def restart(postgres, largest_file: int) -> None:
    postgres.stop()
    postgres.largest_file = largest_file
    postgres.start()


def test_a_full_disk_loses_nothing_that_was_stored(postgres, events: PostgresEvents) -> None:
    draw = random.Random(1)
    large = {f"d{n}": draw.randbytes(490).hex() for n in range(15)}
    batch = [replace(event(f"e{n}"), details=large) for n in range(100)]
    assert len(events.add(batch)) == 100
    # Files of the write-ahead log have 16 MiB; those of tables may not grow beyond this.
    restart(postgres, largest_file=17 << 20)
    stored = 100

    def fill() -> None:
        nonlocal stored
        for number in range(1, 99):
            more = [replace(each, id=f"{number}-{each.id}") for each in batch]
            stored += len(events.add(more))

    with pytest.raises(StoreUnavailable, match="could not extend file"):
        fill()
    assert events.end() == stored
    assert len(events.page(0, 9999).events) == stored
    restart(postgres, largest_file=0)
    assert len(events.add([replace(each, id=f"x-{each.id}") for each in batch])) == 100
    assert events.end() == stored + 100


def test_a_statement_that_fails_leaves_the_store_usable(url: str, events: PostgresEvents) -> None:
    with contextlib.closing(open_gmail(url)) as gmail:
        with pytest.raises(StoreUnavailable, match="null value"):
            gmail.add([GmailDay(1, "a.example", "t1", None)])  # type: ignore[arg-type]
        gmail.add([GmailDay(1, "a.example", "t1", 0.5)])
        assert len(gmail.shares(0, 9e9)) == 1
    assert events.end() == 0


def test_the_lab_says_why_a_server_does_not_start(postgres) -> None:
    postgres.stop()
    settings, postgres._settings = postgres._settings, ("no_such_setting=1",)
    try:
        with pytest.raises(LabError, match="no_such_setting"):
            postgres.start()
    finally:
        postgres._settings = settings
        postgres.start()
    assert Path(f"/proc/{postgres.pid}").exists()
