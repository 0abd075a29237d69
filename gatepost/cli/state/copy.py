"""``gatepost state copy``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gatepost.cli.common import JsonOption, errors_to_exit, fail, print_json
from gatepost.settings.kinds_store import STORE, without_password
from gatepost.settings.problems import Rejected
from gatepost.store.open import is_postgres, sqlite_path


def command(
    *,
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="The file, as in sqlite:////path.")
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="The server, as in postgresql://host/name.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at both and count, and copy nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy what nodes share from a file of SQLite to PostgreSQL.

    For a platform that gets a second node: events with their counts and positions, webhooks, the
    suppression lists, the status of tenants, the message book, what came back, what observe would
    have done, tenants and tokens of the API. What is one host's alone stays in the file, which
    becomes local_state.

    Copy while the platform runs, which may take long; then stop Gatepost, copy again, which brings
    what has changed, set state to the server and local_state to the file, and start. Mail waits
    between the two, for as long as the second copy reads. Doing it again changes nothing; a copy
    that was broken off is simply done again. A server that holds anything else is refused.

    Exit status: 0 everything is there; 1 it is not; 2 usage error.

    Example: gatepost state copy --from sqlite:////var/lib/gatepost/gatepost.db --to
    postgresql://gatepost@db.example.net/gatepost
    """
    path = sqlite_path(source)
    if path is None:
        fail(f"--from takes a file, as in sqlite:////var/lib/gatepost/gatepost.db, not {source!a}")
    if not is_postgres(target):
        fail(f"--to takes a server, as in postgresql://host/name, not {target!a}")
    try:
        STORE.parse(target)
    except Rejected as error:
        fail(f"--to: {error.problem}; {error.remedy}")
    # Loads a driver that no other command needs without a server.
    from gatepost.store.copying import Copied, copy_state  # noqa: PLC0415

    def say(copied: Copied) -> None:
        if not as_json:
            done = "" if dry_run else f", {copied.changed:,} new or different"
            print(f"{copied.table}: {copied.rows:,} rows{done}", flush=True)

    with errors_to_exit(as_json=as_json):
        found = copy_state(path, target, say, dry_run=dry_run)
    if as_json:
        tables = [asdict(each) for each in found]
        print_json({"to": without_password(target), "dry_run": dry_run, "tables": tables})
