"""What the commands about a part of a tenant's mail share: which part, and whom it would stop."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gatepost.cli.common import fail
from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.feedback.status import Part, Scope, Statuses
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant

MAX_CAMPAIGN = 200

CampaignOption = Annotated[
    str,
    typer.Option(
        "--campaign",
        metavar="CAMPAIGN",
        help="Only this campaign, as the header feedback.campaign names it.",
    ),
]
DomainOption = Annotated[
    str, typer.Option("--domain", metavar="DOMAIN", help="Only mail to this recipient domain.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def part_of(tenant: Tenant, campaign: str, domain: str) -> Part:
    """Return the part that the options name; leave with a usage error if there is none such."""
    label = campaign.strip()
    if campaign and not label:
        fail("--campaign is empty")
    if len(label) > MAX_CAMPAIGN:
        fail(f"--campaign has {len(label)} characters, and no label has more than {MAX_CAMPAIGN}")
    if label and tenant.campaign_header is None:
        fail(
            f"{tenant.id} has no header that names campaigns, so none is known; "
            f"set tenants.{tenant.id}.feedback.campaign"
        )
    if not domain:
        return Part(label)
    try:
        return Part(label, normalise_domain(domain.strip()))
    except MalformedMessage as error:
        fail(f"--domain: {error}")


def confirm_pause(
    tenant: Tenant, snapshot: Snapshot, statuses: Statuses, now: float, *, yes: bool
) -> None:
    """Ask before a pause that stops more than one customer, or leave with a usage error."""
    if yes:
        return
    for trouble in troubles(tenant, snapshot, statuses, now):
        if not sys.stdin.isatty():
            fail(f"{trouble}; if that is meant, say --yes")
        print(f"gatepost: {trouble}", file=sys.stderr)
        if input("Pause it all the same? Type yes: ").strip() != "yes":
            fail("nothing was changed")


def troubles(tenant: Tenant, snapshot: Snapshot, statuses: Statuses, now: float) -> list[str]:
    """Return what else would stand still if a tenant were paused."""
    found = []
    platform = snapshot.platform
    own = {platform.bounce_domain, platform.feedback_domain} - {None}
    owned = sorted(each for each in own if each and _owns(tenant, each))
    if owned:
        found.append(
            f"{tenant.id} is the platform's own tenant: it owns the domain of {owned[0]}; "
            "notices and whatever else the platform sends from there will wait, too"
        )
    others = [each for each in snapshot.tenants.by_id if each != tenant.id]
    if others and all(_is_paused(each, statuses, now) for each in others):
        found.append(f"{tenant.id} is the last tenant that is not paused: no tenant could send")
    return found


def _owns(tenant: Tenant, domain: str) -> bool:
    """Tell whether a domain is a tenant's, or below one of its sender domains."""
    while domain:
        if tenant.owns(domain):
            return True
        domain = domain.partition(".")[2]
    return False


def _is_paused(name: str, statuses: Statuses, now: float) -> bool:
    status = statuses.get(name)
    pause = status.pause_at(now) if status is not None else None
    return pause is not None and pause.scope is Scope.ALL
