"""``gatepost attach``: make the changes to main.cf and master.cf, or show them."""

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
from gatepost.postfix.attach import Options, attach
from gatepost.postfix.instances.life import GIVE_BACK_S
from gatepost.postfix.render import describe, document
from gatepost.postfix.services import attach_spec
from gatepost.settings import Loader


def command(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the exact change with its reasons, do nothing.")
    ] = False,
    postfix_config: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Configuration directory of the Postfix instance; "
            "without it, postfix.config_dir of the configuration.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Leave this parameter as it is, now and in later runs; repeat for more.",
        ),
    ] = None,
    no_reload: Annotated[
        bool, typer.Option("--no-reload", help="Do not tell Postfix to read the new files.")
    ] = False,
    even_if_not_running: Annotated[
        bool,
        typer.Option(
            "--even-if-not-running",
            help="Attach although Gatepost does not answer; Postfix refuses mail until it does.",
        ),
    ] = False,
    wait: WaitOption = GIVE_BACK_S,
    as_json: JsonOption = False,
) -> None:
    """Attach to Postfix, or bring what is attached up to date with the configuration.

    Edits main.cf and master.cf in place: one marked block in each, a reference to ours in front of
    your own lists, nothing else. Before anything is written, postconf has to confirm on a copy that
    just that changes, and each socket has to be answered. The old files are kept in
    gatepost-backup; if postfix check objects, they come back. Then Postfix is told to reload.
    Attaching again changes nothing; after a change of lanes or profiles it updates the services. A
    lane with "instance: yes" gets a Postfix instance of its own beside this one, started before it
    is handed mail; one that the configuration no longer names gives its mail back and is removed.

    Exit status: 0 done, or nothing to do; 2 refused, or failed and rolled back.

    Example: gatepost attach --dry-run
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        outcome = attach(
            attach_spec(loaded.snapshot, loaded.settings.socket_dir),
            postfix_config or loaded.settings.postfix_config_dir,
            Options(dry_run, not no_reload, even_if_not_running, frozenset(keep or ()), wait),
        )
    if as_json:
        print_json(document(outcome))
    else:
        options = options_of(config, postfix_config)
        for line in describe(outcome, "attach", dry_run=dry_run, options=options):
            print(line)
