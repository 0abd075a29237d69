"""docs/operations.md names a test for each thing that fails, and it exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = re.compile(r"^\| what fails \|.*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)


def test_each_row_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = TABLE.search(text)
    assert found is not None
    rows = found[1].splitlines()
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[^`]+)`", row.rstrip("|").rpartition("|")[2])
        assert named, row
        assert [name for name in named if not (ROOT / name).is_file()] == [], row
