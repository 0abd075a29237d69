"""``gatepost tenant list``: all tenants and their status."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import document, in_words, is_active
from gatepost.feedback.status import NORMAL
from gatepost.settings import Loader
from gatepost.store.open import open_statuses


def command(
    *,
    held: Annotated[
        bool, typer.Option("--held", help="Only those that are paused or on a step of the ladder.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List all tenants of the configuration with their status.

    A status has two parts, and both must allow: what the operator has set with gatepost tenant
    pause, and the step that the ladder has taken by itself for complaints or bounces: warn, slow,
    pause-marketing or pause-all. A step acts in mode enforce of the feature ladder only; in
    observe it is computed and shown here, and has no effect.

    Exit status: 0 fine; 2 usage or configuration error, or no database to read.

    Example: gatepost tenant list --held
    """
    now = time.time()
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            statuses = store.all()
    rows = [
        (tenant, statuses.get(name, NORMAL))
        for name, tenant in sorted(loaded.snapshot.tenants.by_id.items())
    ]
    if held:
        rows = [row for row in rows if not is_active(row[1], now)]
    if as_json:
        print_json([document(tenant.id, status, tenant, now) for tenant, status in rows])
        return
    width = max((len(tenant.id) for tenant, _ in rows), default=0)
    for tenant, status in rows:
        for index, line in enumerate(in_words(status, tenant, now)):
            print(f"{'' if index else tenant.id:<{width}}  {line}")
    if not rows:
        print("no tenant is paused or on a step of the ladder" if held else "no tenant")
