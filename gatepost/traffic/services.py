"""Which delivery services a configuration needs: for each (lane, profile) pair in use, its sources.

Purpose: the map ``transport`` may only name services that master.cf has. `pairs_of` tells what one
tenant can need in any combination of modes, so that switching a feature from observe to enforce
is a reload and never a change of master.cf.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatepost.tenants.model import DEFAULT_PROFILE
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure, Profile
from gatepost.traffic.lanes import DEFAULT_LANE, Lane, service_name


def is_ordinary(lane: Lane, profile: Profile) -> bool:
    """Tell whether a pair is what Postfix's own default transport does anyway.

    Mail of such a pair is left to that transport, so that a tenant without wishes costs no
    service of its own and keeps whatever the operator set up. A profile that bounces needs the
    status filter of a service of its own: rules for everyone may ask for TLS under it, too.
    """
    return (
        lane == Lane(DEFAULT_LANE)
        and profile.base.level is Level.MAY
        and profile.base.min_version is None
        and not profile.exceptions.table
        and profile.on_failure is OnFailure.DEFER
    )


def pairs_of(lane: str, profile: str) -> set[tuple[str, str]]:
    """Return the pairs that a tenant with this lane and profile can need, modes aside."""
    return {(lane, profile), (lane, DEFAULT_PROFILE), (DEFAULT_LANE, profile)}


def services_for(
    wanted: Iterable[tuple[str, str]],
    lanes: Mapping[str, Lane],
    profiles: Mapping[str, Profile],
) -> dict[str, tuple[str, str]]:
    """Return service name to (lane, profile) for the pairs that need a service, in sorted order.

    Args:
        wanted: (lane, profile) as tenants point at them; names must exist in the mappings.
        lanes: All lanes by name.
        profiles: All profiles by name.
    """
    pairs: set[tuple[str, str]] = set()
    for lane, profile in set(wanted):
        pairs |= pairs_of(lane, profile)
    # Mail stays in the instance that it is in, whatever becomes of its tenant's lane and profile.
    profiles_in_use = {profile for _, profile in pairs} | {DEFAULT_PROFILE}
    pairs |= {
        (lane.name, name) for lane in lanes.values() if lane.instance for name in profiles_in_use
    }
    return {
        service_name(lane, profile, number): (lane, profile)
        for lane, profile in sorted(pairs)
        if not is_ordinary(lanes[lane], profiles[profile])
        for number in lanes[lane].numbers
    }
