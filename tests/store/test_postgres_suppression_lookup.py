"""The check at RCPT TO on a server: right, quick, and never waiting for long."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import GLOBAL, Reason, Suppressed
from gatepost.store import postgres_suppression_lookup as module
from gatepost.store.open import open_lookup, open_suppression, sqlite_path
from gatepost.store.postgres_server import CHECK_S, Connection
from gatepost.store.postgres_suppression import PostgresSuppression
from gatepost.store.postgres_suppression_lookup import REFRESH_S, RETRY_S, PostgresSuppressionLookup
from gatepost.store.suppression import SuppressionStore

NOW = 1_800_000_000.0
RULES = SuppressionRules()
ENTRY = Suppressed("acme", "ann@example.org", Reason.COMPLAINT, NOW, None, "ev1", "n\u00f6te")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(postgres) -> str:
    postgres.empty()
    return postgres.url


@pytest.fixture
def writer(url: str, local: str) -> Iterator[SuppressionStore]:
    with contextlib.closing(open_suppression(url, local=local)) as opened:
        yield opened


@pytest.fixture
def lookup(
    writer: SuppressionStore, url: str, local: str, clock: Clock
) -> Iterator[PostgresSuppressionLookup]:
    # The one who writes has made the key.
    assert writer.lists() == []
    path = sqlite_path(local)
    assert path is not None
    with contextlib.closing(PostgresSuppressionLookup(url, path.parent, clock)) as asked:
        yield asked


def reconnected(lookup: PostgresSuppressionLookup, clock: Clock) -> bool:
    """Let the time of a retry pass, and the connection be made."""
    clock.now += RETRY_S
    lookup.may_hold("acme")
    assert lookup._thread is not None
    lookup._thread.join(10)
    clock.now += RETRY_S
    lookup.may_hold("acme")
    return lookup.problem is None


def test_it_finds_what_the_store_finds(writer, lookup, clock) -> None:
    assert not lookup.may_hold("acme")
    assert lookup.find("acme", "ann@example.org", NOW, RULES) is None
    entries = [
        ENTRY,
        Suppressed("acme", "bob+x@example.org", Reason.HARD_BOUNCE, NOW, NOW + 9, "ev2"),
        Suppressed(GLOBAL, "carl@example.org", Reason.INVALID, NOW, None),
    ]
    writer.add(entries, RULES)
    clock.now += REFRESH_S
    assert lookup.may_hold("acme")
    fold = SuppressionRules(fold_sub_addresses=True)
    for tenant in ("acme", "other"):
        for address in ("Ann@EXAMPLE.org", "bob@example.org", "bob+x@example.org",
                        "carl@example.org", "nobody@example.org", "no address"):  # fmt: skip
            for now in (NOW, NOW + 9):
                for rules in (RULES, fold):
                    assert lookup.find(tenant, address, now, rules) == writer.find(
                        tenant, address, now, rules
                    )
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY


def test_what_another_node_adds_is_found_at_once(writer, lookup, clock) -> None:
    writer.add([ENTRY], RULES)
    clock.now += REFRESH_S
    assert lookup.find("acme", "bob@example.org", NOW, RULES) is None
    writer.add([Suppressed("acme", "bob@example.org", Reason.MANUAL, NOW)], RULES)
    assert lookup.find("acme", "bob@example.org", NOW, RULES) is not None
    writer.remove("acme", "bob@example.org", RULES)
    assert lookup.find("acme", "bob@example.org", NOW, RULES) is None


def test_a_list_that_was_begun_before_another_and_stored_after_it_is_found(
    writer, lookup, clock, url, local
) -> None:
    writer.add([Suppressed("first", "ann@example.org", Reason.MANUAL, NOW)], RULES)
    begun, seen = threading.Event(), threading.Event()

    class Slow(PostgresSuppression):
        @contextlib.contextmanager
        def _writing(self) -> Iterator[Connection]:
            with super()._writing() as db:
                yield db
                begun.set()
                # The other one has to wait for this one, or is seen first.
                seen.wait(0.5)

    def add() -> None:
        path = sqlite_path(local)
        assert path is not None
        with contextlib.closing(Slow(url, key_dir=path.parent)) as store:
            store.add([ENTRY], RULES)

    thread = threading.Thread(target=add)
    thread.start()
    assert begun.wait(10)
    writer.add([Suppressed("other", "bob@example.org", Reason.MANUAL, NOW)], RULES)
    clock.now += REFRESH_S
    assert lookup.may_hold("other")
    seen.set()
    thread.join()
    clock.now += REFRESH_S
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY


def test_an_older_program_asks_no_more_after_a_step_that_it_must_know(
    writer, lookup, clock, postgres
) -> None:
    writer.add([ENTRY], RULES)
    clock.now += REFRESH_S
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY
    step = "insert into gatepost_schema values (99, 'other keys', 99, 'newer', 0)"
    postgres.sql(step, "gatepost")
    try:
        clock.now += CHECK_S + REFRESH_S
        with pytest.raises(StoreUnavailable, match="for programs that know at least 99 steps"):
            lookup.find("acme", "ann@example.org", NOW, RULES)
        assert not reconnected(lookup, clock)
        assert "at least 99 steps" in (lookup.problem or "")
    finally:
        postgres.sql("delete from gatepost_schema where version = 99", "gatepost")
    assert reconnected(lookup, clock)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_without_the_server_it_says_so_at_once_and_comes_back(
    writer, lookup, clock, postgres, how: int
) -> None:
    writer.add([ENTRY], RULES)
    clock.now += REFRESH_S
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY
    postgres.stop(how)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="postgresql://gatepost@/gatepost: "):
            lookup.find("acme", "ann@example.org", NOW, RULES)
    # Nobody knows whether a tenant has a list.
    assert lookup.may_hold("other")
    assert not reconnected(lookup, clock)
    postgres.start()
    assert reconnected(lookup, clock)
    assert not lookup.may_hold("other")
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY


def test_a_server_that_does_not_answer_is_not_waited_for(
    writer, lookup, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    writer.add([ENTRY], RULES)
    clock.now += REFRESH_S
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY
    backend = lookup._connection.info.backend_pid
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    waits: list[float] = []

    class Poll:
        def __init__(self) -> None:
            self._poll = select.poll()
            self.register = self._poll.register

        def poll(self, timeout_ms: float) -> list[tuple[int, int]]:
            waits.append(timeout_ms)
            return self._poll.poll(timeout_ms)

    monkeypatch.setattr(module, "select", SimpleNamespace(poll=Poll, POLLIN=select.POLLIN))
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="no answer within 50 ms"):
            lookup.find("acme", "ann@example.org", NOW, RULES)
        with pytest.raises(StoreUnavailable, match="no answer within 50 ms"):
            lookup.find("acme", "ann@example.org", NOW, RULES)
        # The first waits for what is left of its time, the second not at all.
        assert len(waits) == 1
        assert 0 < waits[0] <= 50
    finally:
        os.kill(backend, signal.SIGCONT)
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    assert reconnected(lookup, clock)
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY


def test_a_process_starts_without_the_server(url, local, clock, postgres) -> None:
    postgres.stop()
    with contextlib.closing(open_lookup(url, clock, local=local)) as asked:
        assert "postgresql://gatepost@/gatepost: " in (asked.problem or "")
        assert asked.may_hold("acme")
        with pytest.raises(StoreUnavailable):
            asked.find("acme", "ann@example.org", NOW, RULES)
        postgres.start()
        assert reconnected(asked, clock)
        assert asked.find("acme", "ann@example.org", NOW, RULES) is None


def test_without_the_key_of_the_list_nothing_passes_for_clear(writer, lookup, clock, local) -> None:
    writer.add([ENTRY], RULES)
    key = sqlite_path(local).with_name("suppression.key")
    kept = key.read_bytes()
    key.unlink()
    clock.now += REFRESH_S
    with pytest.raises(StoreUnavailable, match=r"suppression.key is missing; copy it from"):
        lookup.find("acme", "ann@example.org", NOW, RULES)
    key.write_bytes(kept)
    assert reconnected(lookup, clock)
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == ENTRY


def test_connecting_keeps_nobody_waiting(writer, lookup, clock, monkeypatch) -> None:
    writer.add([ENTRY], RULES)
    clock.now += REFRESH_S
    lookup.find("acme", "ann@example.org", NOW, RULES)
    lookup._drop()
    goes_on = threading.Event()
    connect = module.connect

    def slowly(where: str) -> object:
        assert goes_on.wait(10)
        return connect(where)

    monkeypatch.setattr(module, "connect", slowly)
    clock.now += REFRESH_S
    assert lookup.may_hold("acme")
    with pytest.raises(StoreUnavailable, match="connecting"):
        lookup.find("acme", "ann@example.org", NOW, RULES)
    goes_on.set()
    assert reconnected(lookup, clock)
