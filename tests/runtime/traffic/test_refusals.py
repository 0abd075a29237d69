"""Refusals from the log to the store, through an outage of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime.traffic.refusals import RefusalBook
from gatepost.store.open import open_quotas


def test_it_is_kept_and_after_an_outage_kept_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/below/gatepost.db"
    book = RefusalBook(lambda: open_quotas(url), lambda: 5.0)
    with pytest.raises(StoreUnavailable):
        book.add(["4A"])
    (tmp_path / "below").mkdir()
    book.add(["4A", "4B"])
    with contextlib.closing(open_quotas(url)) as store:
        assert store.refused(0) == [(1, "4A"), (2, "4B")]
