"""Rows come out in order, whatever fits into memory."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.store.external_sort import sorted_rows


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


ROWS = st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 9), st.none() | st.text()))


@given(ROWS, st.integers(1, 7))
def test_rows_come_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bytes, int, str | None]],
    run_rows: int,
) -> None:
    numbered = [(key, number, index, text) for index, (key, number, text) in enumerate(rows)]
    directory = tmp_path_factory.getbasetemp()
    assert list(sorted_rows(numbered, directory, run_rows)) == sorted(numbered)


def test_the_file_has_no_name_and_goes_with_the_reader(tmp_path: Path) -> None:
    before = _open_files()
    rows = sorted_rows(((number % 7, number) for number in range(5_000)), tmp_path, 1_000)
    assert next(rows) == (0, 0)
    assert list(tmp_path.iterdir()) == []
    assert _open_files() == before + 1
    rows.close()  # type: ignore[attr-defined]
    assert _open_files() == before


def test_nothing_is_read_ahead_of_what_fits_into_memory(tmp_path: Path) -> None:
    taken = itertools.count()
    rows = ((number, next(taken)) for number in range(10))
    assert next(sorted_rows(rows, tmp_path, 20)) == (0, 0)
    assert next(taken) == 10
