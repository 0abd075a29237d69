"""From the settings of quotas to what decisions read, and what they need of one another.

Errors: problems go to the report; of two quotas for one window the first is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from gatepost.settings.keys_tenants import GroupSection, TenantSection
from gatepost.settings.problems import Place, Report, StepPath
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.tenants.model import Tenant
from gatepost.traffic.quota import (
    NO_QUOTA,
    Limit,
    OverQuota,
    QuotaRules,
    TenantQuota,
)

if TYPE_CHECKING:
    from gatepost.settings.keys import MainFile
    from gatepost.settings.tenants import TenantBuilder

_LISTS = (("quota", "limits"), ("login_quota", "per_login"), ("campaign_quota", "per_campaign"))


def tenant_quota(section: TenantSection) -> TenantQuota:
    """Return the quotas of a tenant; those without any share one object."""
    limits, over = section.quota, section.over_quota
    per_login, per_campaign = section.login_quota, section.campaign_quota
    own = limits or per_login or per_campaign or section.group or section.quota_exempt
    if not own and over is OverQuota.DEFER:
        return NO_QUOTA
    return TenantQuota(limits, per_login, per_campaign, section.group, section.quota_exempt, over)


def load_quotas(
    main: MainFile,
    file: str,
    builder: TenantBuilder,
    broken: AbstractSet[str],
    unsure: AbstractSet[str],
    report: Report,
) -> QuotaRules:
    """Return the quotas of a configuration.

    Args:
        main: The main file.
        file: Its name.
        builder: The tenants.
        broken: Tenants with settings that could not be read.
        unsure: Sections that could not be read as a whole.
        report: Takes problems.
    """
    known = "groups" not in unsure
    quotas = QuotaSettings(main.platform.quota, main.groups, file, report, groups_known=known)
    for id_, quota in builder.quotas.items():
        if id_ not in broken:
            quotas.check(builder.by_id[id_], quota, builder.place(id_))
    return quotas.rules(builder.quotas)


class QuotaSettings:
    """Checks quotas, and gathers those that tenants share."""

    def __init__(
        self,
        platform: tuple[Limit, ...],
        groups: Mapping[str, GroupSection],
        file: str,
        report: Report,
        *,
        groups_known: bool,
    ) -> None:
        """Check what tenants share.

        Args:
            platform: The quotas of all tenants together.
            groups: The groups.
            file: Where both stand.
            report: Takes problems.
            groups_known: Whether all groups could be read.
        """
        self._report = report
        self._groups_known = groups_known
        self._distinct(platform, file, ("platform", "quota"))
        for name, group in groups.items():
            self._distinct(group.quota, file, ("groups", name, "quota"))
            if not group.quota and groups_known:
                self._report.error(
                    Place(file, ("groups", name)),
                    "has no quota, so there is nothing to share",
                    "write quota: [5000/hour], or remove the group",
                )
        self._platform = platform
        self._groups = {name: each.quota for name, each in groups.items()}

    def rules(self, tenants: Mapping[str, TenantQuota]) -> QuotaRules:
        """Return all quotas, given those of tenants."""
        return QuotaRules(tenants, self._platform, self._groups)

    def check(self, tenant: Tenant, quota: TenantQuota, at: Place) -> None:
        """Check the quotas of one tenant.

        Args:
            tenant: The tenant.
            quota: Its quotas.
            at: Where it stands.
        """
        for name, attribute in _LISTS:
            limits: tuple[Limit, ...] = getattr(quota, attribute)
            self._distinct(limits, at.file, (*at.path, name))
            if limits and quota.exempt:
                self._report.warn(
                    Place(at.file, (*at.path, name)),
                    "has no effect, as the tenant's mail is not counted",
                    "remove it, or quota_exempt",
                    group="quota while exempt",
                )
        known = self._groups
        if quota.group is not None and quota.group not in known and self._groups_known:
            self._report.error(
                Place(at.file, (*at.path, "group")),
                f"there is no group {quota.group}",
                did_you_mean(quota.group, known) or there_are(known),
            )
        if quota.per_campaign and tenant.campaign_header is None:
            self._report.error(
                Place(at.file, (*at.path, "campaign_quota")),
                "needs to know which campaign a message belongs to",
                "name the header in feedback.campaign",
            )

    def _distinct(self, limits: tuple[Limit, ...], file: str, path: StepPath) -> None:
        seen: dict[tuple[int, str], Limit] = {}
        for limit in limits:
            other = seen.setdefault((limit.window_s, limit.unit), limit)
            if other is not limit:
                self._report.error(
                    Place(file, path),
                    f"{other} and {limit} are for the same window",
                    "keep one of the two",
                )
