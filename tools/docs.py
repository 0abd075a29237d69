"""Write the generated documents, or check with ``--check`` that they are up to date.

Errors: with ``--check``, exit status 1 and the difference for each document that is out of date.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import cli_docs

from gatepost.settings import document

DOCUMENTS = {
    Path("docs/cli.md"): cli_docs.markdown,
    Path("docs/config.md"): document.markdown,
}


def main(arguments: list[str]) -> int:
    """Write or compare all documents."""
    status = 0
    for path, generate in DOCUMENTS.items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = generate()
        if there == wanted:
            continue
        if arguments == ["--check"]:
            lines = difflib.unified_diff(
                there.splitlines(), wanted.splitlines(), str(path), "generated", lineterm="", n=1
            )
            print(f"{path} is out of date; run ./dev docs", *lines, sep="\n")
            status = 1
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"{path} written")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
