"""The maps ``tls`` and ``tls-<profile>``: from a next-hop to a TLS policy.

Purpose: each delivery service asks with the name of its profile in the map name; Postfix's default
transport asks the map ``tls``, which knows only the rules for everyone.
Source: postconf(5) smtp_tls_policy_maps; socketmap_table(5): each request names its map.
Errors: `Unavailable` where mail must wait: an unknown profile, rules that exclude each other, or
too little knowledge of the destination.
Security: no opinion is None, which leaves Postfix at the level of the service; it is never a
weaker level. While the default mode of the feature ``tls`` is not enforce, neither the map ``tls``
nor that of the default profile has any opinion.
"""

from __future__ import annotations

from dataclasses import replace

from gatepost.errors import Unavailable
from gatepost.modes import Mode
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import DEFAULT_PROFILE
from gatepost.tls.answer import NO_OPINION, TlsAnswer, decide_tls
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.policy import format_policy
from gatepost.tls.rules import Profile
from gatepost.traffic.lanes import DEFAULT_LANE

TLS_MAP = "tls"
PROFILE_PREFIX = "tls-"
LANE_MARK = "@"


def lane_of_map(map_name: str) -> tuple[str, str | None]:
    """Return a map's name without the lane, and the lane of the service that asks.

    Services ask ``tls-<profile>@<lane>``, so that what is known of a lane can meet the destination.
    Those that attach wrote while shaping was off ask ``tls-<profile>``, and do not tell. The map
    ``tls`` is asked by Postfix's own service, which is the lane of everybody.
    """
    if map_name == TLS_MAP:
        return map_name, DEFAULT_LANE
    name, _, lane = map_name.partition(LANE_MARK)
    return name, lane or None


def profile_of(map_name: str, snapshot: Snapshot) -> Profile | None:
    """Return the profile that a map name carries, or None for the map ``tls``.

    Raises:
        Unavailable: If the profile is not configured: master.cf has a service that the
            configuration no longer knows, and its mail must wait and not go out anyhow.
    """
    if map_name == TLS_MAP:
        return None
    profile = snapshot.tls.profiles.get(map_name.removeprefix(PROFILE_PREFIX))
    if profile is None:
        raise Unavailable(f"map {map_name} names no configured profile")
    return profile


def is_silent(map_name: str, snapshot: Snapshot) -> bool:
    """Tell whether a map has no opinion about any destination.

    Rules for everyone change the mail of people who are no tenants: they follow the default mode.
    Services of the default profile deliver also for tenants that enforce their lane and only
    observe TLS; those of other profiles only for tenants that enforce.

    Raises:
        Unavailable: As of `profile_of`.
    """
    profile = profile_of(map_name, snapshot)
    for_anybody = profile is None or profile.name == DEFAULT_PROFILE
    return for_anybody and snapshot.modes.tls is not Mode.ENFORCE


def answer_tls(
    map_name: str,
    nexthop: str,
    snapshot: Snapshot,
    operator: OperatorTls = ASKS_NOTHING,
    knowledge: Knowledge | None = None,
    now: float = 0.0,
) -> TlsAnswer:
    """Return the joined answer for a next-hop on one of the TLS maps.

    Args:
        map_name: ``tls`` or ``tls-<profile>``.
        nexthop: The key as Postfix sent it.
        snapshot: The configuration.
        operator: What Postfix itself asks for.
        knowledge: What was found out about the destination, or None if nobody looked.
        now: Unix time in seconds, for rules that end; at 0 none has ended.

    Raises:
        Unavailable: If the map's profile is not configured.
    """
    if is_silent(map_name, snapshot):
        return NO_OPINION
    profile = profile_of(map_name, snapshot)
    able = operator.dns and (profile is not None or operator.dnssec)
    if knowledge is not None and knowledge.dane and not able:
        # A service that knows of no TLSA record could not carry it out.
        knowledge = replace(knowledge, dane=False)
    return decide_tls(profile, nexthop, snapshot.tls, operator, knowledge, now)


def decide_policy(
    map_name: str,
    nexthop: str,
    snapshot: Snapshot,
    version: PostfixVersion,
    operator: OperatorTls = ASKS_NOTHING,
    knowledge: Knowledge | None = None,
    now: float = 0.0,
) -> str | None:
    """Return the policy for a next-hop, or None for no opinion.

    Args:
        map_name: ``tls`` or ``tls-<profile>``.
        nexthop: The key as Postfix sent it.
        snapshot: The configuration.
        version: The Postfix that asks.
        operator: What it asks for itself.
        knowledge: What was found out about the destination, or None if nobody looked.
        now: Unix time in seconds, for rules that end; at 0 none has ended.

    Raises:
        Unavailable: If the profile is unknown, the rules exclude each other, the destination
            cannot be delivered to as its own policy asks, or too little is known of it.
    """
    answer = answer_tls(map_name, nexthop, snapshot, operator, knowledge, now)
    if answer.waits:
        raise Unavailable(f"{nexthop}: {answer.waits}")
    if answer.requirement is None:
        return None
    return format_policy(answer.requirement, version, answer.sts)
