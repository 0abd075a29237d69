"""What a measurement says: rows with a value, what it is compared with, and the goal.

Purpose: every number of ``./dev bench`` is printed beside the one that it is compared with,
measured in the same run, since times on a shared machine mean little by themselves.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value.

    Attributes:
        what: What was measured.
        value: The value with its unit.
        beside: What it is compared with, measured in the same run, or empty.
        goal: The bound that it should keep, or empty.
        met: Whether it did, or None without a goal.
    """

    what: str
    value: str
    beside: str = ""
    goal: str = ""
    met: bool | None = None


def print_rows(title: str, rows: list[Row]) -> None:
    """Print rows as a table on standard output."""
    table = Table(title=title, title_justify="left", show_lines=False)
    for heading in ("measured", "value", "beside", "goal", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        table.add_row(row.what, row.value, row.beside, row.goal, verdict)
    Console(width=118).print(table)
