"""Check that modules and functions stay small enough to be read in one sitting.

Limits: a module 500 lines, the median of all modules 180; a function 60 lines, nine in ten at most
30. Lines are counted as they stand, docstrings and comments included, but not those of a function's
signature: a command's is the table of its options. Tests have the limit on modules only: a table of
cases is long and still easy to read.
Errors: exit status 1, with one line for each thing that is too long.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 500
MEDIAN_MODULE_LINES = 180
FUNCTION_LINES = 60
P90_FUNCTION_LINES = 30

CODE = ("gatepost", "milters", "policy_server", "lab", "bench", "tools")
MODULES_ONLY = ("tests",)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield "file:line: name" and the number of lines of each function, inner ones included."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            end = node.end_lineno or node.lineno
            yield f"{path}:{node.lineno}: {node.name}", end - node.body[0].lineno + 1


def sources(folders: tuple[str, ...]) -> list[Path]:
    """Return all Python files below the folders."""
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))


def too_long() -> Iterator[str]:
    """Yield one line for each limit that is exceeded."""
    code = sources(CODE)
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in [*code, *sources(MODULES_ONLY)]
    }
    for path, count in lines.items():
        if count > MODULE_LINES:
            yield f"{path}: {count} lines; a module has at most {MODULE_LINES}"
    median = statistics.median(lines[path] for path in code)
    if median > MEDIAN_MODULE_LINES:
        yield f"the median module has {median:g} lines; at most {MEDIAN_MODULE_LINES}"

    sized = [each for path in code for each in functions(path)]
    for name, count in sized:
        if count > FUNCTION_LINES:
            yield f"{name}: {count} lines; a function has at most {FUNCTION_LINES}"
    p90 = statistics.quantiles((count for _, count in sized), n=10)[-1]
    if p90 > P90_FUNCTION_LINES:
        yield f"one function in ten has more than {p90:g} lines; at most {P90_FUNCTION_LINES}"


def main() -> int:
    """Print what is too long."""
    found = list(too_long())
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
