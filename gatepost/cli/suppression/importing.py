"""``gatepost suppression import``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.suppression.common import (
    ExpiresOption,
    GlobalOption,
    NoteOption,
    TenantOption,
    end_of,
    one_list,
    open_list,
    write_audit,
)
from gatepost.cli.suppression.reading import SHOWN, Reading
from gatepost.feedback.suppression import GLOBAL, MAX_NOTE, Reason
from gatepost.feedback.suppression_table import Defaults
from gatepost.runtime.log import clean
from gatepost.settings import Loaded, Loader


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV, or an address a line; - is standard input.")
    ],
    *,
    tenant: TenantOption = None,
    is_global: GlobalOption = False,
    reason: Annotated[
        Reason | None,
        typer.Option("--reason", help="The reason of all entries, whatever the file says."),
    ] = None,
    expires: ExpiresOption = None,
    note: NoteOption = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Store nothing if any line is bad.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, and store nothing.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put the addresses in a file on a suppression list.

    The file is a bare list, one address a line, or CSV with a header. Columns, in any order:
    address (or email, recipient, EmailAddress), and if they are there tenant, reason (or type),
    since (or created, created_at, LastUpdateTime), expires, source, note; others are passed over.
    What "gatepost suppression export" writes can be read, and so can the exports of SendGrid (with
    --reason, as their column of that name holds other things), Amazon SES and Mailgun (with
    --reason, one file for each kind). Times are ISO 8601, as in mail, or Unix time.

    Without a reason, an entry is manual, or invalid on the global list. Without --tenant and
    --global, the file must have a column tenant, empty for the global list. Lines that are no entry
    are named with their number, and left out, or with --strict make the whole import fail before
    anything is stored. Bounces that would have ended by now are left out, too.

    Entries are merged with those that are there: nothing is made shorter, and the same file again
    changes nothing. So an import that was broken off is simply done again. First all of the file is
    read and sorted, beside the database, where it needs some 100 octets of disk for each line; then
    it is stored in short steps, in between which mail and other commands go on.

    Exit status: 0 all lines are stored; 1 some were bad and left out; 2 usage or configuration
    error, or with --strict, a bad line.

    Example: gatepost suppression import bounces.csv --tenant acme --reason hard-bounce
    """
    now = time.time()
    if len(note) > MAX_NOTE:
        fail(f"--note takes at most {MAX_NOTE} characters")
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        named = tenant is not None or is_global
        chosen = one_list(tenant, is_global, loaded) if named else None
        if chosen == GLOBAL and reason not in {None, Reason.INVALID}:
            fail("the global list takes addresses with the reason invalid alone")
        defaults = Defaults(
            chosen,
            loaded.snapshot.tenants.by_id,
            reason,
            end_of(expires, reason or Reason.MANUAL, now),
            f"import of {Path(file).name}",
            note,
            now,
            loaded.snapshot.suppression,
        )
        reading = Reading(file, strict)
        begun = time.monotonic()
        changed = _run(reading, defaults, loaded, dry_run=dry_run)
        seconds = time.monotonic() - begun
        if not dry_run:
            for each, count in reading.taken.items():
                write_audit(loaded, each, "import", {"file": reading.name, "entries": count})
    _report(reading, changed, seconds, dry_run=dry_run, as_json=as_json)
    if reading.bad_count:
        raise typer.Exit(NO)


def _run(reading: Reading, defaults: Defaults, loaded: Loaded, *, dry_run: bool) -> int:
    """Read and store; return how many entries were new or changed something."""
    with _bars(reading) as stored:
        entries = reading.entries(defaults)
        if dry_run:
            for _ in entries:
                pass
            return 0
        with open_list(loaded, create=True) as store:
            return store.load(entries, defaults.rules, stored)


@contextlib.contextmanager
def _bars(reading: Reading) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is, how fast, and how long it will take."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    hidden = not sys.stderr.isatty()
    begun = time.monotonic()
    with Progress(
        *columns, console=Console(stderr=True), disable=hidden, transient=True
    ) as progress:
        read = progress.add_task("reading", total=None, words="")
        store = progress.add_task("storing", total=None, words="", visible=False)
        done, storing_since = 0, 0.0

        def words(count: int, since: float) -> str:
            rate = count / max(time.monotonic() - since, 0.001)
            return f"{count:,} entries, {rate:,.0f}/s"

        def tell() -> None:
            count = reading.taken.total()
            progress.update(
                read, total=reading.size, completed=reading.place, words=words(count, begun)
            )

        def stored(count: int) -> None:
            nonlocal done, storing_since
            storing_since = storing_since or time.monotonic()
            done += count
            progress.update(
                store,
                visible=True,
                total=reading.taken.total(),
                completed=done,
                words=words(done, storing_since),
            )

        reading.tell = tell
        yield stored


def _report(
    reading: Reading, changed: int, seconds: float, *, dry_run: bool, as_json: bool
) -> None:
    total = reading.taken.total()
    if as_json:
        print_json(
            {
                "file": reading.name,
                "dry_run": dry_run,
                "entries": total,
                "changed": changed,
                "ended": reading.ended,
                "bad": reading.bad_count,
                "bad_lines": [{"line": b.line, "problem": b.problem} for b in reading.bad],
                "seconds": round(seconds, 1),
            }
        )
        return
    for each in reading.bad[:SHOWN]:
        print(clean(f"{reading.name}:{each.line}: {each.problem}"), file=sys.stderr)
    if reading.bad_count > SHOWN:
        print(f"and {reading.bad_count - SHOWN:,} more such lines", file=sys.stderr)
    left_out = [f"{reading.bad_count:,} bad lines left out"] if reading.bad_count else []
    left_out += [f"{reading.ended:,} had ended"] if reading.ended else []
    if dry_run:
        print("; ".join([f"{total:,} entries would be stored", *left_out]))
        return
    rate = total / max(seconds, 0.001)
    found = f"{total:,} entries, {changed:,} of them new or changed"
    print("; ".join([f"{found}, in {seconds:.1f} s ({rate:,.0f}/s)", *left_out]))
