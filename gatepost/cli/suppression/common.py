"""What the commands of the suppression lists share: options, the store, words, the audit.

Errors: a usage error leaves with status 2; trouble with the store is a `StoreUnavailable`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from gatepost.cli.common import fail
from gatepost.cli.periods import ends_as_period, seconds_of
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import account
from gatepost.errors import MalformedMessage, StoreUnavailable
from gatepost.feedback.suppression import GLOBAL, Reason, Suppressed, canonical_address
from gatepost.feedback.suppression_table import format_time, parse_time
from gatepost.runtime.feedback.known import record_list_change
from gatepost.runtime.log import clean
from gatepost.settings import Loaded
from gatepost.settings.schema import did_you_mean
from gatepost.store.open import open_suppression
from gatepost.store.suppression import SuppressionStore

TenantOption = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="The list of this tenant.")
]
GlobalOption = Annotated[
    bool, typer.Option("--global", help="The list that holds for every tenant.")
]
ReasonOption = Annotated[
    Reason | None, typer.Option("--reason", help="Only entries with this reason.")
]
ExpiresOption = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="WHEN",
        help="When it ends: a period such as 30d, or a date such as 2027-01-31; "
        "without it, manual entries hold for good and bounces as the settings say.",
    ),
]
NoteOption = Annotated[
    str, typer.Option("--note", metavar="TEXT", help="Words for yourself; senders never see them.")
]

HASHED = "(hashed)"


def one_list(tenant: str | None, is_global: bool, loaded: Loaded) -> str:  # noqa: FBT001
    """Return the list that the options name: a tenant id or `GLOBAL`."""
    if (tenant is None) is not is_global:
        fail("name the list: --tenant ID or --global")
    return GLOBAL if tenant is None else known_tenant(tenant, loaded)


def some_lists(tenant: str | None, is_global: bool, loaded: Loaded) -> str | None:  # noqa: FBT001
    """Return the list that the options name, or None for all of them."""
    if tenant is None and not is_global:
        return None
    return one_list(tenant, is_global, loaded)


def known_tenant(tenant: str, loaded: Loaded) -> str:
    """Return a tenant id that the configuration has, or leave with a usage error."""
    tenants = loaded.snapshot.tenants.by_id
    if tenant not in tenants:
        hint = did_you_mean(tenant, tenants) or "the configuration has no such tenant"
        fail(f"there is no tenant {clean(tenant, 60)}; {hint}")
    return tenant


def canonical(address: str) -> str:
    """Return an address as the lists have it; leave with a usage error if it is none."""
    try:
        return str(canonical_address(address))
    except MalformedMessage as error:
        fail(str(error))


def open_list(loaded: Loaded, *, create: bool = False) -> contextlib.closing[SuppressionStore]:
    """Return the store, for ``with``.

    Args:
        loaded: The configuration, which says where it is.
        create: Make it if there is none; otherwise say what its absence means.
    """
    opener = partial(open_suppression, local=loaded.settings.local_state)
    if create:
        return contextlib.closing(opener(loaded.settings.state))
    return contextlib.closing(open_existing(opener, loaded.settings))


def end_of(text: str | None, reason: Reason, now: float) -> float | None:
    """Return the Unix time that ``--expires`` says, or None without it."""
    if text is None:
        return None
    if not reason.may_expire:
        fail(f"an entry with the reason {reason.value} holds for good; leave --expires out")
    if ends_as_period(text):
        return now + seconds_of(text, "--expires")
    try:
        at = parse_time(text)
    except MalformedMessage:
        fail(f"--expires takes a period such as 30d or a date such as 2027-01-31, not {text!a}")
    if at <= now:
        fail(f"--expires {text} is past")
    return at


def describe(entry: Suppressed) -> str:
    """Return an entry in words, without the address."""
    until = "" if entry.expires is None else f" until {format_time(entry.expires)}"
    return f"{entry.reason.value} since {format_time(entry.at)}{until}"


def list_words(tenant: str) -> str:
    """Return the name of a list as people read it."""
    return tenant or "the global list"


def write_audit(
    loaded: Loaded, tenant: str, action: str, details: Mapping[str, str | int], address: str = ""
) -> None:
    """Store the event of a change by the operator.

    A change that was made stays made: that its event could not be stored is told, and no error.

    Args:
        loaded: The configuration.
        tenant: Whose list.
        action: ``add``, ``remove`` or ``import``.
        details: What else there is to say.
        address: The address, if it was one.
    """
    try:
        record_list_change(loaded, tenant, action, details, account(), address)
    except StoreUnavailable as error:
        typer.echo(f"gatepost: the change is made, but not its event: {error}", err=True)
