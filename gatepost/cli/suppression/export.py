"""``gatepost suppression export``."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    errors_to_exit,
    fail,
)
from gatepost.cli.new_file import new_file
from gatepost.cli.suppression.common import (
    GlobalOption,
    ReasonOption,
    TenantOption,
    open_list,
    some_lists,
)
from gatepost.errors import GatepostError
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.feedback.suppression_table import HEADER, row_of
from gatepost.settings import Loader
from gatepost.store.suppression import SuppressionStore

_PAGE = 2_000
_MODE = 0o640


def command(
    *,
    tenant: TenantOption = None,
    is_global: GlobalOption = False,
    reason: ReasonOption = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write there and not to standard output; no file yet."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write a suppression list, or all of them, as CSV.

    The columns are tenant (empty for the global list), address, reason, since, expires (empty for
    good), source and note; times are ISO 8601 in UTC. "gatepost suppression import" reads it again.
    Entries that change meanwhile are in it as they were or as they are.

    With feedback.privacy hashed, the store holds no addresses: such entries cannot be exported, and
    how many they are is told on standard error. To move them, copy database and suppression.key.

    Exit status: 0 everything is written; 1 entries without addresses were left out; 2 usage or
    configuration error.

    Example: gatepost suppression export --tenant acme --output acme.csv
    """
    with errors_to_exit():
        loaded = Loader(config).load()
        chosen = some_lists(tenant, is_global, loaded)
        hidden = 0
        with open_list(loaded) as store, _writer(output) as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(HEADER)
            for entry in _entries(store, chosen, reason):
                if entry.address:
                    rows.writerow(row_of(entry))
                else:
                    hidden += 1
    if hidden:
        print(f"{hidden:,} entries hold a hash and no address: left out", file=sys.stderr)
        raise typer.Exit(NO)


def _entries(
    store: SuppressionStore, tenant: str | None, reason: Reason | None
) -> Iterator[Suppressed]:
    after = ""
    while True:
        page = store.page(tenant, reason, after, _PAGE)
        yield from page.entries
        if not (after := page.after):
            return


@contextlib.contextmanager
def _writer(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        with new_file(output, _MODE) as file:
            yield file
    except FileExistsError:
        fail(f"{output} is there already; name another file")
    except OSError as error:
        raise GatepostError(f"{output}: {error.strerror}") from error
