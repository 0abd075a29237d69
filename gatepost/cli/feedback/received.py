"""``gatepost feedback received``: what came back, and what was made of it."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
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
from gatepost.feedback.report import Kind
from gatepost.feedback.suppression_table import format_time
from gatepost.feedback.trust import Result
from gatepost.runtime.log import clean
from gatepost.settings import Loader
from gatepost.store.open import open_received
from gatepost.store.received import Received


def command(
    *,
    kind: Annotated[
        Kind | None, typer.Option(metavar="KIND", help="Only this kind, such as complaint.")
    ] = None,
    result: Annotated[
        Result | None,
        typer.Option(metavar="RESULT", help="Only this result, such as unauthenticated."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="At most N, the latest.")
    ] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the reports that came back, the latest first, and why each was or was not acted on.

    Each line has the time, kind, format, result, who reported, the tenant and message (the id of
    its token, as in events), and the reason. Results: believed (both proofs were there: it was
    acted on); unauthenticated (a token of ours, and nobody whose word counts); no-token (no token
    of ours with the purpose that this kind needs); neither; not-sent (a token of ours, for a
    message or recipient that is not in the message book); repeated (acted on before); counted
    (nothing follows from this kind); tls-report (see gatepost tls reports).

    A complaint of your own provider that is always unauthenticated: the reason names what was wrong
    with the signature. If its domain is not known to Gatepost, add it to feedback.reporters.

    Reports that were acted on are listed for 62 days, others for feedback.keep_reports.

    Exit status: 0, also if there are none; 2 usage or configuration error, or no database to read.

    Example: gatepost feedback received --kind complaint --result unauthenticated
    """
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        with contextlib.closing(open_existing(open_received, settings)) as store:
            found = store.latest(limit, kind and kind.value, result and result.value)
    if as_json:
        print_json({"reports": [asdict(each) for each in found]})
        return
    for each in found:
        print(clean(_line(each)))
    if not found:
        print("nothing came back", file=sys.stderr)


def _line(found: Received) -> str:
    at = format_time(found.at)
    by = found.reporter or "-"
    about = f"{found.tenant or '-'} {found.message or '-'}"
    return f"{at} {found.kind} {found.format} {found.result} {by} {about}: {found.reason}"
