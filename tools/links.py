"""Check that each link from one of our documents to a file or a heading leads somewhere.

Source: GitHub's rule for the anchor of a heading: lower case, punctuation dropped, blanks to "-".
Not handled: links to the web, which a check that must work without a network cannot follow.
Errors: exit status 1, with "file:line: link" for each that is broken.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"#{1,6} +(.*)")
_FENCE = "```"


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line outside code blocks, with `code` left out."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith(_FENCE):
            fenced = not fenced
        elif not fenced:
            yield number, line


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a document."""
    found = set()
    for _, line in prose(path):
        if heading := _HEADING.fullmatch(line):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(words.replace(" ", "-"))
    return found


def broken(path: Path) -> Iterator[str]:
    """Yield one line for each broken link of a document."""
    for number, line in prose(path):
        for target in _LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            linked = path.parent / name if name else path
            if not linked.exists():
                yield f"{path}:{number}: {target}: there is no such file"
            elif anchor and anchor not in anchors(linked):
                yield f"{path}:{number}: {target}: there is no such heading"


def main() -> int:
    """Print the broken links of all documents."""
    documents = [*Path().glob("*.md"), *Path("docs").rglob("*.md"), *Path("tests").rglob("*.md")]
    found = [each for path in sorted(documents) for each in broken(path)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
