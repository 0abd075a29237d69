"""``gatepost detach``: take out of main.cf and master.cf exactly what attach put in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.remedies import WaitOption, options_of
from gatepost.errors import GatepostError
from gatepost.postfix.attach import Options, detach
from gatepost.postfix.instances.life import GIVE_BACK_S
from gatepost.postfix.render import describe, document
from gatepost.settings import Loader


def command(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the exact change, do nothing.")
    ] = False,
    postfix_config: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Configuration directory of the Postfix instance; "
            "without it, postfix.config_dir of the configuration.",
        ),
    ] = None,
    no_reload: Annotated[
        bool, typer.Option("--no-reload", help="Do not tell Postfix to read the new files.")
    ] = False,
    wait: WaitOption = GIVE_BACK_S,
    as_json: JsonOption = False,
) -> None:
    """Detach from Postfix: take out what attach wrote, and nothing else.

    Works from main.cf and master.cf alone: the configuration may have mistakes, and with
    --postfix-config it need not be there. What you have changed since stays, also inside the marked
    block. A file that nobody has touched since comes back byte for byte. The files as they were are
    kept in gatepost-backup. Mail in the queue is then delivered by Postfix's own services, without
    tenants' TLS rules.

    Postfix instances of lanes give their mail back and are removed. One that still has mail then
    stays, with what it needs in both files, and goes on giving back; detach again later.

    Exit status: 0 done, or nothing to do; 2 refused, or failed and rolled back.

    Example: gatepost detach --dry-run
    """
    with errors_to_exit(as_json=as_json):
        outcome = detach(
            postfix_config or _config_dir(config), Options(dry_run, not no_reload, wait_s=wait)
        )
    if as_json:
        print_json(document(outcome))
    else:
        options = options_of(config, postfix_config)
        for line in describe(outcome, "detach", dry_run=dry_run, options=options):
            print(line)


def _config_dir(config: Path) -> Path:
    if not config.exists():
        raise GatepostError(
            f"{config} does not exist, so nothing tells which Postfix instance is meant; name its "
            "directory: gatepost detach --postfix-config /etc/postfix"
        )
    # Taking it out must work as well when the configuration has mistakes.
    return Loader(config).settings().postfix_config_dir
