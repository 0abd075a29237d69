"""Percentages at their ends."""

from __future__ import annotations

import pytest

from gatepost.cli.percent import percent


@pytest.mark.parametrize(
    ("count", "total", "shown"),
    [
        (0, 7, "0.0 %"),
        (7, 7, "100.0 %"),
        (1, 3, "33.3 %"),
        (1, 1_000_000, "<0.1 %"),
        (999_999, 1_000_000, ">99.9 %"),
        (9_994, 10_000, "99.9 %"),
        (9_996, 10_000, ">99.9 %"),
        (4, 10_000, "<0.1 %"),
        (6, 10_000, "0.1 %"),
        (10**16 - 1, 10**16, ">99.9 %"),
    ],
)
def test_only_nothing_is_0_and_only_all_is_100(count: int, total: int, shown: str) -> None:
    assert percent(count, total) == shown
