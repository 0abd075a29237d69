"""``gatepost api token``: make, list and revoke tokens."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, Any, Final

import typer

from gatepost.cli.commands import Commands, group
from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import account, tenant_in
from gatepost.feedback.suppression_table import format_time
from gatepost.runtime.api_token import digest_of, new_token
from gatepost.runtime.log import clean
from gatepost.settings import Loader
from gatepost.store.api_tokens import PLATFORM, ApiToken
from gatepost.store.open import open_api_tokens

COMMANDS: Final[Commands] = {
    "create": ("gatepost.cli.api.token", "create"),
    "list": ("gatepost.cli.api.token", "list_tokens"),
    "revoke": ("gatepost.cli.api.token", "revoke"),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TENANT = "tenant:"


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the group; ``words`` as of `gatepost.cli.app.build`."""
    return group(COMMANDS, words, "Tokens of the HTTP API.")


def create(
    *,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the log calls it, such as billing.")
    ],
    scope: Annotated[
        str,
        typer.Option(
            metavar="SCOPE", help="platform for everything, or tenant:ID for what is a tenant's."
        ),
    ],
    read_only: Annotated[
        bool, typer.Option("--read-only", help="It may look, and change nothing.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="PERIOD", help="Ends by itself after so long: 24h, 90d.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, once: only a hash of it is kept.

    Whoever has the token may do what its scope says; docs/api.md has the table. It holds on all
    hosts that share the database.

    Exit status: 0 made; 2 usage or configuration error, or the name is taken.

    Example: gatepost api token create --name billing --scope tenant:acme --read-only --expires 90d
    """
    if not _NAME.fullmatch(name):
        fail("--name takes at most 64 letters, digits, dots, hyphens and underscores")
    now = time.time()
    until = None if expires is None else now + seconds_of(expires, "--expires")
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = PLATFORM
        if scope.startswith(_TENANT):
            tenant = tenant_in(loaded.snapshot, scope.removeprefix(_TENANT)).id
        elif scope != "platform":
            fail("--scope takes platform, or tenant: with the id of a tenant")
        token = new_token()
        entry = ApiToken(name, tenant, read_only, now, account(), until)
        with closing(open_api_tokens(loaded.settings.state)) as store:
            if not store.add(entry, digest_of(token)):
                fail(f"there is a token {name} already; revoke it, or choose another name")
    if as_json:
        print_json({**_document(entry, now), "token": token})
    else:
        print(token)


def list_tokens(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the tokens, without what nobody has kept: the tokens themselves.

    Exit status: 0, also if there are none; 2 usage or configuration error, or no database.

    Example: gatepost api token list
    """
    now = time.time()
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        with closing(open_existing(open_api_tokens, settings)) as store:
            tokens = store.all()
    if as_json:
        print_json([_document(each, now) for each in tokens])
        return
    for each in tokens:
        print(clean(_line(each, now)))
    if not tokens:
        print("there are no tokens")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Revoke a token, at once and on all hosts that share the database.

    Exit status: 0 revoked; 1 there is none of that name; 2 usage or configuration error.

    Example: gatepost api token revoke billing
    """
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        with closing(open_existing(open_api_tokens, settings)) as store:
            was_there = store.revoke(name)
    if as_json:
        print_json({"name": name, "revoked": was_there})
    else:
        print(clean(f"{name}: {'revoked' if was_there else 'there is no such token'}"))
    if not was_there:
        raise typer.Exit(NO)


def _scope(token: ApiToken) -> str:
    return "platform" if token.tenant == PLATFORM else f"{_TENANT}{token.tenant}"


def _document(token: ApiToken, now: float) -> dict[str, Any]:
    return {
        "name": token.name,
        "scope": _scope(token),
        "read_only": token.read_only,
        "created": format_time(token.created),
        "by": token.by,
        "expires": None if token.expires is None else format_time(token.expires),
        "holds": token.holds(now),
    }


def _line(token: ApiToken, now: float) -> str:
    what = "reads" if token.read_only else "reads and writes"
    end = ""
    if token.expires is not None:
        verb = "until" if token.holds(now) else "ended"
        end = f", {verb} {format_time(token.expires)}"
    made = f"made {format_time(token.created)} by {token.by}"
    return f"{token.name:<20} {_scope(token):<24} {what}, {made}{end}"
