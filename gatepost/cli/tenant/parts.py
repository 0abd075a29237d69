"""What the commands about a part of a tenant's mail share: which part, and whom it would stop."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gatepost.cli.common import fail
from gatepost.decisions.pausing import troubles
from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.feedback.status import Part, Statuses
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
