"""What the suppression list in SQLite does beside its contract."""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.store import sqlite_suppression
from gatepost.store.external_sort import sorted_rows
from gatepost.store.sqlite_suppression import SqliteSuppression

NOW = 1_800_000_000.0
RULES = SuppressionRules()


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file made for a few entries."""
    monkeypatch.setattr(sqlite_suppression, "sorted_rows", partial(sorted_rows, run_rows=100))


@pytest.mark.usefixtures("small_runs")
def test_more_than_fits_into_memory_is_loaded(tmp_path: Path) -> None:
    entries = [
        Suppressed("acme", f"user{number}@example.org", Reason.MANUAL, NOW)
        for number in range(1_001)
    ]
    with contextlib.closing(SqliteSuppression(tmp_path / "gatepost.db")) as store:
        assert store.load(entries, RULES) == 1_001
        found = store.page(limit=9_999).entries
    assert sorted(each.address for each in found) == sorted(each.address for each in entries)


@pytest.mark.usefixtures("small_runs")
def test_an_import_that_finds_no_room_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_room)
    many = (
        Suppressed("acme", f"user{number}@example.org", Reason.MANUAL, NOW) for number in range(200)
    )
    with contextlib.closing(SqliteSuppression(tmp_path / "gatepost.db")) as store:
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            store.load(many, RULES)
        assert store.page().entries == ()
