"""Check that everything in postfix-conf/ is explained, and everything that attach writes is there.

Purpose: an administrator reads postfix-conf/ to learn what attach does to main.cf and master.cf,
so no line there may stand without a reason, and no parameter may be missing.
Format: a setting is ``name = value`` (main.cf), ``-o name=value`` or the first line of a service
(master.cf), or ``/pattern/ result`` (tables). It counts as explained if the line above is a
comment, or if a comment of its paragraph names it. Continuation lines belong to the setting above
them. In systemd units it is enough that each paragraph has a comment: systemd documents its words.
Errors: exit status 1, with "file:line: name" for each that is not explained.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gatepost.postfix.parameters import LIST_HOOKS, SCALARS
from gatepost.postfix.spec import Hook

FOLDER = Path("postfix-conf")
POSTFIX = {".cf", ".pcre", ".regexp"}
UNITS = {".service", ".socket", ".target", ".timer"}

_OPTION = re.compile(r"\s+-o\s+\{?\s*([\w.]+)")
_PARAMETER = re.compile(r"([\w.]+)\s*=")
_SERVICE = re.compile(r"([\w.:\-\[\]]+)\s+(?:unix|inet|fifo|pass)\s")
_PATTERN = re.compile(r"(!?/.*/\w*)\s")


def setting(line: str) -> str | None:
    """Return the name of what a line sets, or None if it sets nothing."""
    for form in (_OPTION, _SERVICE, _PARAMETER, _PATTERN):
        if found := form.match(line):
            return found[1]
    return None


def paragraphs(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Yield the paragraphs of a file, as numbered lines."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def unexplained(path: Path) -> Iterator[str]:
    """Yield one line for each setting of a file that nothing explains."""
    for block in paragraphs(path):
        comments = " ".join(line for _, line in block if line.lstrip().startswith("#"))
        above = ""
        for number, line in block:
            name = setting(line)
            named = name is None or re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", comments)
            if not named and not above.lstrip().startswith("#"):
                yield f"{path}:{number}: {name} is not explained"
            above = line


def bare(path: Path) -> Iterator[str]:
    """Yield one line for each paragraph of a unit that has settings and no comment."""
    for block in paragraphs(path):
        settings = [number for number, line in block if setting(line) is not None]
        if len(settings) > 1 and not any(line.startswith("#") for _, line in block):
            yield f"{path}:{settings[0]}: these lines are not explained"


def missing(paths: list[Path]) -> Iterator[str]:
    """Yield one line for each parameter that attach can write and no file shows."""
    shown = {
        name
        for path in paths
        for line in path.read_text(encoding="utf-8").splitlines()
        if (name := setting(line)) is not None
    }
    written = {*SCALARS, *Hook, *(hook.parameter for hook in LIST_HOOKS)}
    for name in sorted(written - shown):
        yield f"{FOLDER}: {name} is written by attach and is not shown"


def main() -> int:
    """Print what is not explained or not shown."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in POSTFIX)
    units = sorted(path for path in FOLDER.rglob("*") if path.suffix in UNITS)
    found = [each for path in paths for each in unexplained(path)]
    found += [each for path in units for each in bare(path)]
    found += missing([path for path in paths if path.suffix == ".cf"])
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
