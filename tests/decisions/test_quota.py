"""What a message counts for, and how a shortage is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatepost.decisions.facts import CUT
from gatepost.decisions.message import decide_message
from gatepost.decisions.quota import (
    asks_for_quota,
    claims_of,
    counts_campaigns,
    needs_end_of_message,
    opening,
)
from gatepost.modes import Mode, Modes
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import PlatformLogin
from gatepost.traffic.quota import Limit, QuotaRules, TenantQuota
from tests.world import ENFORCE, NOW, message, snapshot, tenant

LIMIT = Limit(5, 3_600)
CAMPAIGNS = QuotaRules({"acme": TenantQuota(per_campaign=(LIMIT,))})
OFF = replace(ENFORCE, quota=Mode.OFF)


def world(
    quotas: QuotaRules, modes: Modes = ENFORCE, header: str | None = "x-campaign"
) -> Snapshot:
    fields: dict[str, Any] = {"logins": ("acme",), "campaign_header": header}
    config = snapshot(tenant("acme", modes, **fields), logins=[PlatformLogin("app", None)])
    return replace(config, quotas=quotas)


def test_claims_are_those_of_tenant_login_group_and_platform() -> None:
    quotas = QuotaRules(
        {"acme": TenantQuota((LIMIT,), (Limit(1, 60),), (), "g")},
        (Limit(9, 60),),
        {"g": (Limit(7, 60), Limit(8, 600))},
    )
    config = world(quotas)
    acme = config.tenants.by_id["acme"]
    claims = claims_of(acme, "ACME", config)
    assert [(each.name, str(each.limit)) for each in claims] == [
        ("tenant acme", "5/hour"),
        ("login acme acme", "1/minute"),
        ("group g", "7/minute"),
        ("group g", "8/10m"),
        ("platform", "9/minute"),
    ]
    assert len({each.key for each in claims}) == 5
    assert "login" not in {each.name.split()[0] for each in claims_of(acme, "", config)}


def test_nobody_is_asked_about_bounces_and_mail_of_nobody() -> None:
    config = world(CAMPAIGNS)
    assert asks_for_quota("acme", "a@acme.example", config) is config.tenants.by_id["acme"]
    for who, sender in (("acme", ""), ("", "a@acme.example"), ("gone", "a@acme.example")):
        assert asks_for_quota(who, sender, config) is None


@pytest.mark.parametrize(
    ("fields", "campaign"),
    [
        ((("X-Campaign", " spring sale\t"),), "spring sale"),
        ((("X-Campaign", "a"), ("X-Campaign", "b")), "a"),
        ((("X-Campaign", "x" * 150 + CUT),), "x" * 100),
        ((("X-Campaign", " "),), ""),
        ((("X-Other", "a"),), ""),
    ],
)
def test_the_milter_asks_for_a_message_of_a_campaign(
    fields: tuple[tuple[str, str], ...], campaign: str
) -> None:
    plan = decide_message(message(*fields), world(CAMPAIGNS), NOW)
    assert plan.campaign == campaign
    assert plan.ask_admission == bool(campaign)


@pytest.mark.parametrize(
    "config",
    [
        world(QuotaRules()),
        world(QuotaRules({"acme": TenantQuota((LIMIT,))})),
        world(QuotaRules({"acme": TenantQuota(per_campaign=(LIMIT,), exempt=True)})),
        world(CAMPAIGNS, OFF),
        world(CAMPAIGNS, header=None),
    ],
)
def test_and_for_no_other(config: Snapshot) -> None:
    plan = decide_message(message(("X-Campaign", "spring")), config, NOW)
    assert (plan.campaign, plan.ask_admission) == ("", False)
    bounce = message(("X-Campaign", "spring"), sender="")
    assert not decide_message(bounce, world(CAMPAIGNS), NOW).ask_admission


def test_what_has_to_be_attached_for_it() -> None:
    assert counts_campaigns(world(CAMPAIGNS))
    assert not needs_end_of_message(world(CAMPAIGNS))
    assert not counts_campaigns(world(CAMPAIGNS, OFF))
    assert needs_end_of_message(world(QuotaRules(platform=(LIMIT,))))
    assert not needs_end_of_message(world(QuotaRules(platform=(LIMIT,)), OFF))


def test_when_it_opens_has_a_date_when_it_is_far() -> None:
    assert opening(90.5, NOW) == "08:01:31 UTC"
    assert opening(90_000, NOW) == "2027-01-16 09:00:01 UTC"
