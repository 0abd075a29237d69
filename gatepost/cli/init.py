"""``gatepost init``: write a first configuration and its keys."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from gatepost.cli.common import DEFAULT_CONFIG, JsonOption, errors_to_exit, fail, print_json
from gatepost.settings import Loader
from gatepost.settings.document import starter
from gatepost.settings.install import (
    CONFIG_MODE,
    KEY_MODE,
    account_exists,
    make_directory,
    rotate_key,
    write_new,
)
from gatepost.settings.keyring import new_key_file


def command(
    *,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to write.")
    ] = DEFAULT_CONFIG.parent,
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate-key", help="Add a key that signs from the next reload on; write nothing else."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration with every setting, and the keys that sign tokens.

    A file that is there already is kept as it is. The configuration passes gatepost check as it
    is written; everything is in mode observe, and there are no tenants yet.

    Exit status: 0 fine; 2 something could not be written, or is wrong already.
    """
    config = directory / DEFAULT_CONFIG.name
    with errors_to_exit(as_json=as_json):
        if rotate:
            path, user = Loader(config).key_file()
            number = rotate_key(path, user, dt.datetime.now(dt.UTC).date())
            written = [path]
            steps = [f"{path}: key {number} signs from the next reload on", "next: gatepost reload"]
        else:
            written, kept, user = _write(config)
            steps = [f"kept {path}, which is there already" for path in kept]
            steps += _next_steps(config, user)
    if as_json:
        print_json({"ok": True, "written": [str(path) for path in written], "next": steps})
        return
    for path in written:
        print(f"wrote {path}")
    print("\n".join(steps))


def _write(config: Path) -> tuple[list[Path], list[Path], str]:
    """Return what was written, what was kept, and the account of the service."""
    directory = config.parent
    if directory.exists() and not directory.is_dir():
        fail(f"{directory}: is no directory; choose another with --dir")
    make_directory(directory)
    wrote_config = write_new(config, starter(), CONFIG_MODE)
    keys, user = Loader(config).key_file()
    wrote_keys = write_new(keys, new_key_file(), KEY_MODE, user)
    files = ((config, wrote_config), (keys, wrote_keys))
    return [path for path, new in files if new], [path for path, new in files if not new], user


def _next_steps(config: Path, user: str) -> list[str]:
    option = "" if config == DEFAULT_CONFIG else f" --config {config}"
    steps = []
    if not account_exists(user):
        keys, _ = Loader(config).key_file()
        steps += [
            f"next: there is no account {user} yet; make it, and give it the keys:",
            f"  adduser --system --group --no-create-home {user}",
            f"  chown {user} {keys}",
        ]
    return [
        *steps,
        f"next: put your tenants into {config}",
        f"next: gatepost check{option}",
        f"next: gatepost attach --dry-run{option}",
    ]
