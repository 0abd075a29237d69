"""The list as it is asked while a client waits."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import GLOBAL, Reason, Suppressed
from gatepost.store.sqlite_suppression import SqliteSuppression
from gatepost.store.suppression import SuppressionStore
from gatepost.store.suppression_lookup import REFRESH_S, RETRY_S, SuppressionLookup

NOW = 1_800_000_000.0
RULES = SuppressionRules()


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gatepost.db"


@pytest.fixture
def writer(path: Path) -> Iterator[SuppressionStore]:
    with contextlib.closing(SqliteSuppression(path)) as store:
        yield store


@pytest.fixture
def lookup(path: Path, clock: Clock) -> Iterator[SuppressionLookup]:
    with contextlib.closing(SuppressionLookup(path, clock)) as asked:
        yield asked


def _entry(tenant: str = "acme", address: str = "ann@example.org") -> Suppressed:
    reason = Reason.COMPLAINT if tenant else Reason.INVALID
    return Suppressed(tenant, address, reason, NOW)


def test_it_finds_what_the_store_finds(writer: SuppressionStore, lookup: SuppressionLookup) -> None:
    entries = [_entry(), _entry(GLOBAL, "bob@example.org"), _entry("acme", "eve+a@example.org")]
    writer.add(entries, RULES)
    for rules in (RULES, SuppressionRules(fold_sub_addresses=True)):
        for tenant in ("acme", "zeta"):
            for address in ("Ann@example.org", "bob@Example.org", "eve@example.org", "nonsense"):
                found = lookup.find(tenant, address, NOW, rules)
                assert found == writer.find(tenant, address, NOW, rules)


def test_without_entries_nothing_is_read(
    writer: SuppressionStore, lookup: SuppressionLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.add([_entry()], RULES)
    assert lookup.find("zeta", "ann@example.org", NOW, RULES) is None
    monkeypatch.setattr("gatepost.store.suppression_lookup.find_row", _must_not_be_called)
    assert lookup.find("zeta", "ann@example.org", NOW, RULES) is None
    with pytest.raises(AssertionError):
        lookup.find("acme", "ann@example.org", NOW, RULES)


def test_it_knows_for_whom_there_is_anything_to_look_up(
    writer: SuppressionStore, lookup: SuppressionLookup, clock: Clock, path: Path
) -> None:
    assert not lookup.may_hold("acme")
    writer.add([_entry()], RULES)
    clock.now += REFRESH_S
    assert lookup.may_hold("acme")
    assert not lookup.may_hold("zeta")
    writer.add([_entry(GLOBAL)], RULES)
    clock.now += REFRESH_S
    assert lookup.may_hold("zeta")
    path.unlink()
    clock.now += REFRESH_S
    # There is something to be said: that nobody knows.
    assert lookup.may_hold("zeta")
    with pytest.raises(StoreUnavailable):
        lookup.find("zeta", "ann@example.org", NOW, RULES)


def _must_not_be_called(*_arguments: object, **_more: object) -> None:
    raise AssertionError


def test_a_first_entry_is_seen_after_a_moment_and_others_at_once(
    writer: SuppressionStore, lookup: SuppressionLookup, clock: Clock
) -> None:
    assert lookup.find("acme", "ann@example.org", NOW, RULES) is None
    writer.add([_entry()], RULES)
    clock.now += REFRESH_S
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == _entry()
    writer.add([_entry("acme", "bob@example.org")], RULES)
    assert lookup.find("acme", "bob@example.org", NOW, RULES) is not None
    writer.remove("acme", "ann@example.org", RULES)
    assert lookup.find("acme", "ann@example.org", NOW, RULES) is None


def test_a_writer_is_not_waited_for(
    writer: SuppressionStore, lookup: SuppressionLookup, path: Path
) -> None:
    writer.add([_entry()], RULES)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        assert lookup.find("acme", "ann@example.org", NOW, RULES) == _entry()
        other.execute("rollback")


def test_trouble_is_said_at_once_until_it_is_time_to_try_again(
    writer: SuppressionStore, lookup: SuppressionLookup, path: Path, clock: Clock
) -> None:
    writer.add([_entry()], RULES)
    assert lookup.find("acme", "ann@example.org", NOW, RULES) is not None
    key = path.with_name("suppression.key")
    kept = key.read_bytes()
    key.unlink()
    moved = path.rename(path.with_name("moved.db"))
    for _ in range(2):
        clock.now += REFRESH_S + RETRY_S
        with pytest.raises(StoreUnavailable, match="No such file"):
            lookup.find("acme", "ann@example.org", NOW, RULES)
    assert lookup.problem is not None
    # The file is back, without its key.
    moved.rename(path)
    with pytest.raises(StoreUnavailable, match="No such file"):
        lookup.find("acme", "ann@example.org", NOW, RULES)
    clock.now += RETRY_S
    with pytest.raises(StoreUnavailable, match="is missing"):
        lookup.find("acme", "ann@example.org", NOW, RULES)
    key.write_bytes(kept)
    clock.now += RETRY_S
    assert lookup.find("acme", "ann@example.org", NOW, RULES) == _entry()
    assert lookup.problem is None


def test_a_file_in_the_place_of_the_old_one_is_read(
    writer: SuppressionStore, lookup: SuppressionLookup, path: Path, clock: Clock
) -> None:
    writer.add([_entry()], RULES)
    assert lookup.find("acme", "ann@example.org", NOW, RULES) is not None
    writer.close()
    for each in path.parent.iterdir():
        each.unlink()
    with contextlib.closing(SqliteSuppression(path)) as new:
        new.add([_entry("acme", "bob@example.org")], RULES)
        clock.now += REFRESH_S
        assert lookup.find("acme", "ann@example.org", NOW, RULES) is None
        assert lookup.find("acme", "bob@example.org", NOW, RULES) is not None


def test_a_broken_database_is_trouble_and_no_empty_list(
    path: Path, lookup: SuppressionLookup
) -> None:
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        lookup.find("acme", "ann@example.org", NOW, RULES)
