"""From the settings of the platform to what decisions read, and what they need together.

Errors: problems go to the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gatepost.modes import Mode, Modes
from gatepost.settings.keys import PlatformSection
from gatepost.settings.problems import OTHER, Place, Report
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.snapshot import Platform, Unknown
from gatepost.tenants.model import TenantIndex

# What each domain of the platform receives.
_CONTENT = {"bounce_domain": "bounces", "feedback_domain": "reports"}


def build_platform(section: PlatformSection, file: str, modes: Modes, report: Report) -> Platform:
    """Return the platform part of a snapshot.

    Args:
        section: The settings.
        file: Where they stand.
        modes: The general modes.
        report: Takes problems.
    """
    if section.tenant_header.lower() == section.token_header.lower():
        report.error(
            Place(file, ("platform", "token_header")),
            f"{section.token_header} is the tenant_header too",
            "choose two names",
        )
    inbound = frozenset(section.inbound) | frozenset(
        filter(None, [section.bounce_domain, section.feedback_domain])
    )
    if section.unknown is Unknown.REJECT:
        place = Place(file, ("platform", "unknown"))
        if modes.sender is Mode.OFF:
            report.warn(
                place,
                "reject does nothing while the mode of sender is off",
                "set modes.sender to observe or enforce",
            )
        elif not inbound:
            report.warn(
                place,
                "reject refuses mail from outside, too, unless this host receives none",
                "list under platform.inbound the domains that this Postfix receives mail for",
            )
    return Platform(
        section.sender_id or "",
        section.tenant_header,
        section.token_header,
        section.bounce_domain,
        section.unknown,
        inbound,
        section.null_sender_profile,
        section.feedback_domain,
        section.unsubscribe_url,
    )


def check_null_sender_profile(
    platform: Platform, profiles: Mapping[str, object], file: str, report: Report
) -> None:
    """Check that the profile for mail with an empty sender is one of those there are."""
    name = platform.null_sender_profile
    if name is not None and name not in profiles:
        report.error(
            Place(file, ("platform", "null_sender_profile")),
            f"there is no profile {name}",
            did_you_mean(name, profiles) or there_are(profiles),
        )


def check_own_domains(
    platform: Platform,
    index: TenantIndex,
    senders_of: Callable[[str], Place],
    file: str,
    report: Report,
) -> None:
    """Check that nobody else's mail comes to the domains of the platform.

    Args:
        platform: The platform.
        index: All tenants.
        senders_of: Returns where the senders of a tenant stand.
        file: Where the settings of the platform stand.
        report: Takes problems.
    """
    for what, content in _CONTENT.items():
        domain: str | None = getattr(platform, what)
        if domain is not None and (owner := index.owner(domain)) is not None:
            report.error(
                Place(file, ("platform", what)),
                f"{domain} belongs to the senders of tenant {owner.id}, {OTHER}",
                f"give {content} a domain that no tenant may send from",
                senders_of(owner.id),
            )
