"""What all commands share: the options, the exit status, and the way errors are printed.

Source: exit status 0 fine, 1 the answer is no, 2 usage or configuration error; 3, from
`gatepost.cli.output`, what the command had to do is done, and its output could not be written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gatepost.errors import ConfigErrors, GatepostError

DEFAULT_CONFIG = Path("/etc/gatepost/gatepost.yaml")

OK = 0
NO = 1
USAGE = 2

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="GATEPOST_CONFIG",
        help="The configuration to read.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]


def number(count: int, what: str) -> str:
    """Return a count with its noun, which takes an s in the plural."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    json.dump(document, sys.stdout, indent=2, sort_keys=False, default=str)
    sys.stdout.write("\n")


def fail(message: str, status: int = USAGE) -> NoReturn:
    """Print one error on standard error and leave with a status."""
    print(f"gatepost: {message}", file=sys.stderr)
    raise typer.Exit(status)


@contextmanager
def errors_to_exit(*, as_json: bool = False) -> Iterator[None]:
    """Turn `GatepostError` into a message and an exit status; anything else is a bug and shows."""
    try:
        yield
    except ConfigErrors as error:
        if as_json:
            print_json(
                {
                    "ok": False,
                    "errors": [
                        {
                            "file": e.file,
                            "line": e.line,
                            "path": e.path,
                            "problem": e.problem,
                            "remedy": e.remedy,
                        }
                        for e in error.errors
                    ],
                }
            )
        else:
            for each in error.errors:
                print(each, file=sys.stderr)
        raise typer.Exit(USAGE) from error
    except GatepostError as error:
        if as_json:
            print_json({"ok": False, "error": str(error)})
            raise typer.Exit(USAGE) from error
        fail(str(error))
