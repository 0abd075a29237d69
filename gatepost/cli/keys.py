"""``gatepost keys``: the keys that sign tokens."""

from __future__ import annotations

import datetime as dt
from typing import Any

import typer

from gatepost.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, errors_to_exit, print_json
from gatepost.feedback.token import MAX_AGE_DAYS
from gatepost.settings import Loader
from gatepost.settings.install import rotate_key
from gatepost.settings.load import read_keys

app = typer.Typer(no_args_is_help=True, help="The keys that sign tokens.")


@app.command("list")
def list_keys(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the keys by number: which one signs, and until when each verifies. No secret is shown.

    Exit status: 0 fine; 2 configuration error, or the key file cannot be read.
    """
    with errors_to_exit(as_json=as_json):
        path, user = Loader(config).key_file()
        section = read_keys(path, user)
    today = dt.datetime.now(dt.UTC).date()
    found = [
        _key(int(name), each.until, today, signs=section.current == int(name))
        for name, each in sorted(section.keys.items(), key=lambda pair: int(pair[0]))
    ]
    if as_json:
        print_json({"file": str(path), "keys": found})
        return
    for each in found:
        print(f"{each['number']:>2}  {_words(each)}")


@app.command("rotate")
def rotate(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Add a key that signs from the next reload on.

    The keys that are there go on to verify for 61 days, until the last token that they may have
    signed has expired, so that complaints and bounces about mail that is under way still count.
    Hosts that share tenants need the same key file: copy it to all of them before the first is
    reloaded. A key that was stolen must not go on to verify: take its line out of the file, and
    what comes back with its tokens counts for nobody.

    The same as gatepost init --rotate-key.

    Exit status: 0 fine; 2 configuration error, or the file cannot be written.
    """
    with errors_to_exit(as_json=as_json):
        path, user = Loader(config).key_file()
        number = rotate_key(path, user, dt.datetime.now(dt.UTC).date())
    if as_json:
        print_json({"ok": True, "file": str(path), "number": number})
        return
    print(f"{path}: key {number} signs from the next reload on")
    print("next: gatepost reload")


def _key(number: int, until: str | None, today: dt.date, *, signs: bool) -> dict[str, Any]:
    ended = until is not None and dt.date.fromisoformat(until) < today
    return {"number": number, "signs": signs, "until": until, "ended": ended}


def _words(key: dict[str, Any]) -> str:
    if key["ended"]:
        return f"ended on {key['until']}; remove it"
    if key["signs"]:
        return f"signs; its tokens are good for {MAX_AGE_DAYS} days"
    return f"verifies until {key['until']}" if key["until"] else "verifies"
