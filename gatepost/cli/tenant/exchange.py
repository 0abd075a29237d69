"""``gatepost tenant export``, ``import`` and ``delete``: from and to the store of the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    number,
    print_json,
)
from gatepost.cli.tenant.common import account
from gatepost.errors import GatepostError
from gatepost.runtime import installation
from gatepost.runtime.api_tenants import ApiTenantKeeper
from gatepost.runtime.api_token import revoke_of
from gatepost.runtime.log import clean
from gatepost.runtime.tenant_writer import NeedsAttach, TenantWriter
from gatepost.settings import Loader
from gatepost.settings.api_tenants import read_tenants
from gatepost.settings.schema import did_you_mean
from gatepost.store.api_tenants import ApiTenant, TenantChange
from gatepost.store.open import open_api_tokens


def export(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="TENANT…", help="Which; without any, see --api.")
    ] = None,
    *,
    api: Annotated[
        bool, typer.Option("--api", help="All tenants that were made through the API.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Print tenants that were made through the API as a file for tenants_dir.

    To move a tenant into a file: export it into place, do not reload, and run gatepost tenant
    delete; the processes then take in both at once. While the database is away, what was known last
    is printed.

    Exit status: 0 printed; 2 usage or configuration error, or one of them is none of the API.

    Example: gatepost tenant export acme > tenants.d/acme.yaml
    """
    if bool(names) is api:
        fail("name tenants, or say --api for all that were made through it")
    with errors_to_exit():
        known = dict(ApiTenantKeeper().load(Loader(config).settings()).rows)
    wanted = list(known) if api else list(dict.fromkeys(names or ()))
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known) or "gatepost tenant list shows all tenants"
            fail(f"{name} is no tenant that was made through the API; {hint}")
    settings = {name: json.loads(known[name]) for name in wanted}
    yaml.safe_dump({"tenants": settings}, sys.stdout, sort_keys=False, allow_unicode=True)


def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file as of tenants_dir.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace tenants of the API that are there already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check it, and store nothing.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Store the tenants of a file as tenants of the API, all of them or none.

    They are checked with all of the configuration, as a reload would, and with what Postfix has: a
    delivery service that is missing is named, and nothing is stored. In force within two seconds on
    all hosts that share the database.

    To move a tenant here from a file: save its lines, take them out there, do not reload, and
    import them; the processes then take in both at once.

    Exit status: 0 stored, or --dry-run and it could be; 1 refused; 2 usage or configuration error.

    Example: gatepost tenant import customers.yaml
    """
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        given = read_tenants(file)
    writer = TenantWriter(config, settings, installation.validator(settings))
    stored: list[str] = []

    def decide(known: Mapping[str, ApiTenant]) -> Sequence[TenantChange]:
        there = sorted(known.keys() & given.keys())
        if there and not replace:
            raise GatepostError(f"{there[0]} was made through the API already; see --replace")
        changes = [
            TenantChange(name, text)
            for name, text in given.items()
            if name not in known or known[name].settings != text
        ]
        stored[:] = [change.id for change in changes]
        return changes

    with errors_to_exit(as_json=as_json):
        present = Loader(config, ApiTenantKeeper().load).load().snapshot
        try:
            if dry_run:
                writer.check(decide, present)
            else:
                writer.change(decide, account(), present)
                # For the commands that come next, if no process runs that would do it.
                ApiTenantKeeper().load(settings)
        except NeedsAttach as error:
            fail(str(error), NO)
    _report(file, given, stored, dry_run=dry_run, as_json=as_json)


def delete(
    name: Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Delete a tenant that was made through the API, and revoke its tokens.

    Mail of it that is still queued goes on as mail of nobody, by Postfix's own TLS level, unless it
    stands in a file now: first pause it, and wait until nothing is queued, or purge it. What keeps
    a reload from working without it keeps it from being deleted, such as a platform login that
    names it.

    Exit status: 0 deleted; 2 usage or configuration error, or it is none of the API.

    Example: gatepost tenant delete acme
    """

    def decide(known: Mapping[str, ApiTenant]) -> Sequence[TenantChange]:
        if name not in known:
            hint = did_you_mean(name, known) or "gatepost tenant list shows all tenants"
            raise GatepostError(
                f"{clean(name, 60)} is no tenant that was made through the API; {hint}"
            )
        return [TenantChange(name, None)]

    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        # Of Postfix it needs nothing that was not there.
        TenantWriter(config, settings, lambda _snapshot: []).change(decide, account())
        with closing(open_api_tokens(settings.state)) as tokens:
            revoked = revoke_of(tokens, name)
        ApiTenantKeeper().load(settings)
    if as_json:
        print_json({"tenant": name, "deleted": True, "revoked": revoked})
        return
    more = f"; revoked: {', '.join(revoked)}" if revoked else ""
    print(f"{name}: deleted{more}")


def _report(
    file: Path, given: Mapping[str, Any], stored: Sequence[str], *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        print_json({"ok": True, "tenants": list(given), "changed": stored, "dry_run": dry_run})
        return
    what = "would be stored" if dry_run else "stored"
    unchanged = len(given) - len(stored)
    more = f", {unchanged} unchanged" if unchanged else ""
    print(f"{file}: {number(len(stored), 'tenant')} {what}{more}")
