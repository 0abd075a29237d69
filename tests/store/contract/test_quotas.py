"""What every store must do with the counters of quotas."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from gatepost.store.open import open_quotas
from gatepost.store.quotas import ClockMark, QuotaStore
from gatepost.traffic.counters import Row
from gatepost.traffic.quota import MAX_COUNT

AT = 1_800_000_000.25
MARK = ClockMark("boot", 12.5, AT, AT + 3)
ROW = Row(("tenant acme", "messages", 60), ((9, 1), (12, MAX_COUNT)), AT + 62)
OTHER = Row(("login acme Bücher\udcff", "recipients", 3_600), (), AT + 5)


@pytest.fixture
def quotas(url: str) -> Iterator[QuotaStore]:
    with contextlib.closing(open_quotas(url)) as opened:
        yield opened


def test_nothing_was_kept_yet(quotas: QuotaStore) -> None:
    assert quotas.load() == (None, [])


def test_what_is_written_is_loaded(quotas: QuotaStore, url: str) -> None:
    quotas.write(MARK, [ROW, OTHER])
    with contextlib.closing(open_quotas(url)) as again:
        mark, rows = again.load()
    assert mark == MARK
    assert ROW in rows
    assert len(rows) == 2


def test_the_last_word_counts(quotas: QuotaStore) -> None:
    quotas.write(MARK, [ROW])
    later = ClockMark("next", 1.0, AT + 9, AT + 9)
    row = Row(ROW.key, ((30, 2),), AT + 70)
    quotas.write(later, [row])
    assert quotas.load() == (later, [row])
    quotas.write(MARK, [])
    assert quotas.load() == (MARK, [row])


def test_what_counts_nothing_any_more_is_deleted(quotas: QuotaStore) -> None:
    quotas.write(MARK, [ROW, OTHER])
    assert quotas.prune(AT + 5, AT) == 1
    assert quotas.load()[1] == [ROW]
    assert quotas.prune(AT + 5, AT) == 0


def test_what_others_refused_is_kept_for_a_while(quotas: QuotaStore) -> None:
    assert (quotas.refused(0), quotas.last_refused()) == ([], 0)
    quotas.refuse(["4A", "4B"], AT)
    quotas.refuse(["4C"], AT + 10)
    assert quotas.refused(0) == [(1, "4A"), (2, "4B"), (3, "4C")]
    assert quotas.refused(2) == [(3, "4C")]
    quotas.prune(0.0, AT + 3_605)
    assert quotas.refused(0) == [(3, "4C")]
    quotas.prune(0.0, AT + 9_999)
    # Numbers do not come again.
    assert quotas.last_refused() == 3
    quotas.refuse(["4D"], AT)
    assert quotas.refused(3) == [(4, "4D")]


@pytest.mark.parametrize(
    ("counts", "window"),
    [
        ("nonsense", 60),
        ("[[1]]", 60),
        ("[1, 2]", 60),
        ("[[1, -1]]", 60),
        (f"[[1, {MAX_COUNT + 1}]]", 60),
        (f"[{','.join(['[1, 1]'] * 99)}]", 60),
        ("[[1, 1]]", 0),
    ],
)
def test_what_cannot_be_read_is_left_out(quotas: QuotaStore, counts: str, window: int) -> None:
    quotas.write(MARK, [ROW])
    with quotas._writing() as db:
        db.execute(
            "insert into quota_counters values ('tenant x', 'messages', ?, ?, 1)", [window, counts]
        )
    assert quotas.load() == (MARK, [ROW])
