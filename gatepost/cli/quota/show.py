"""``gatepost quota show``: how far quotas are used, and when those that are used up open."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.tenant.common import tenant_in
from gatepost.runtime.traffic.known_quotas import (
    Known,
    claims_to_show,
    document,
    known_quotas,
    lines,
)
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.traffic.quota import Claim


def command(
    *,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="TENANT",
            help="Only what this tenant's mail counts for, with its logins and campaigns.",
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show how far quotas are used, and when those that are used up open again.

    Reads the configuration as it is now, and the counters as they were last written, which is at
    most a second ago. What messages under way have reserved is not in it. Without --tenant, tenants
    with a quota of their own are shown, groups, and the platform. In mode observe, what would have
    been refused passes and is not counted, as in enforce.

    Exit status: 0 all that is shown is open; 1 some quota is used up, or the counters cannot be
    read; 2 usage or configuration error.

    Example: gatepost quota show --tenant acme
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        snapshot = loaded.snapshot
        known = known_quotas(loaded.settings)
        usages = known.usage(_claims(tenant, known, snapshot))
    closed = any(usage.opens_in_s > 0 for usage in usages)
    if as_json:
        print_json({"quotas": [document(usage) for usage in usages], "problems": known.problems})
    else:
        for line in lines(usages) or ["there are no quotas"]:
            print(line)
        for problem in known.problems:
            print(f"gatepost: {problem}", file=sys.stderr)
    if known.problems or closed:
        raise typer.Exit(NO)


def _claims(name: str | None, known: Known, snapshot: Snapshot) -> list[Claim]:
    quotas = snapshot.quotas
    if name is not None:
        return claims_to_show(tenant_in(snapshot, name), known, snapshot)
    found: dict[Claim, None] = {}
    for id_ in quotas.tenants:
        tenant = snapshot.tenants.by_id[id_]
        found |= dict.fromkeys(claims_to_show(tenant, known, snapshot))
    shared = [
        Claim(f"group {group}", each) for group, them in quotas.groups.items() for each in them
    ]
    shared += [Claim("platform", each) for each in quotas.platform]
    own = [claim for claim in found if claim not in shared]
    return own + shared
