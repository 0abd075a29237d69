"""What ``gatepost explain`` and the API say of one message: everything that the decisions need.

Purpose: gather what the live processes have at hand, run the decisions, and give one document.
Errors: as of `gather`; what cannot be found out is part of the answer.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from gatepost.decisions.actions import describe
from gatepost.decisions.explain import Case, Explanation, explain
from gatepost.decisions.recipient import nexthop_of
from gatepost.postfix_version import PostfixVersion
from gatepost.runtime.feedback.known import known_statuses, lookup_for
from gatepost.runtime.installed import look_at_postfix
from gatepost.runtime.tls.found import NOTHING_FOUND, find_out, find_out_in_loop, look_up_sights
from gatepost.runtime.traffic.known_quotas import QuotaReport, quota_report
from gatepost.runtime.traffic.known_shaping import document as slowed_document
from gatepost.runtime.traffic.known_shaping import line, slowed_for
from gatepost.runtime.traffic.reading import SheetTraffic, unknown_traffic
from gatepost.settings import Loaded
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.nexthop import NextHop, parse_nexthop
from gatepost.traffic.shaping import Slowed


@dataclass(frozen=True, slots=True)
class Explained:
    """What becomes of a message.

    Attributes:
        result: What was decided.
        version: The Postfix that would ask.
        quotas: How far its quotas are used.
        slowed: What slows the delivery, by lane and provider.
        problems: Why Postfix would not do what is explained, or what is not known.
    """

    result: Explanation
    version: PostfixVersion
    quotas: QuotaReport
    slowed: list[Slowed]
    problems: list[str]

    @property
    def accepted(self) -> bool:
        """Tell whether it is neither refused nor has to wait."""
        result = self.result
        return not (result.refused or result.waits is not None or self.quotas.refuses)

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        document = _document(self.result, self.version)
        now = time.time()
        return document | {
            "quotas": self.quotas.document,
            "slowed": [slowed_document(each, now) for each in self.slowed],
            "postfix_problems": self.problems,
        }

    def slowed_lines(self) -> list[str]:
        """Return what slows the delivery, in sentences."""
        return [line(each, time.time()) for each in self.slowed]


def gather(case: Case, loaded: Loaded) -> Explained:
    """Return what becomes of a message; asks DNS and the policy host where the settings say so.

    Args:
        case: The message.
        loaded: The configuration.

    Raises:
        StartError: If the trusted roots cannot be read.
    """
    nexthop = _nexthop(case)
    found = find_out(loaded, [nexthop]) if nexthop else NOTHING_FOUND
    return decide(case, loaded, found.knowledge.get(nexthop) if nexthop else None)


async def look_for(case: Case, loaded: Loaded) -> Knowledge | None:
    """Return what the destination of a message publishes, as `gather` finds out, in a loop."""
    nexthop = _nexthop(case)
    if nexthop is None:
        return None
    return (await find_out_in_loop(loaded, [nexthop])).knowledge.get(nexthop)


def decide(case: Case, loaded: Loaded, knowledge: Knowledge | None) -> Explained:
    """Return what becomes of a message.

    Args:
        case: The message.
        loaded: The configuration.
        knowledge: What was found out about its destination, or None.
    """
    version, operator, problems = look_at_postfix(loaded)
    statuses, unknown = known_statuses(loaded.settings)
    problems += unknown
    traffic = SheetTraffic(loaded.settings.run_dir)
    problems += unknown_traffic(traffic, loaded.snapshot)
    sights = look_up_sights(loaded.settings, case.recipient)
    result = explain(
        case,
        loaded.snapshot,
        version,
        time.time(),
        operator,
        knowledge,
        sights,
        statuses=statuses,
        suppressed=lookup_for(case.recipient, loaded, problems),
        traffic=traffic,
    )
    campaign = "" if result.plan is None else result.plan.campaign
    quotas = quota_report(loaded, result.tenant, case.sender, case.client.login, campaign)
    known = [each.name for each in knowledge.hosts] if knowledge is not None else []
    hosts = known or [each.host for each in sights.hosts]
    slowed, unread = slowed_for(result, hosts, loaded, time.time())
    return Explained(result, version, quotas, slowed, problems + quotas.problems + unread)


def _nexthop(case: Case) -> NextHop | None:
    return parse_nexthop(case.nexthop or nexthop_of(case.recipient))


def _document(result: Explanation, version: PostfixVersion) -> dict[str, Any]:
    document = asdict(result)
    if result.route is not None and result.route.tenant is not None:
        document["route"]["tenant"] = result.route.tenant.id
    requirement = result.tls.requirement
    if requirement is not None and requirement.match is not None:
        document["tls"]["requirement"]["match"] = sorted(requirement.match)
    for opinion, kept in zip(document["tls"]["opinions"], result.tls.opinions, strict=True):
        if kept.requirement.match is not None:
            opinion["requirement"]["match"] = sorted(kept.requirement.match)
    if result.plan is not None:
        document["plan"]["actions"] = [describe(action) for action in result.plan.actions]
        del document["plan"]["steps"]
        document["plan"]["reasons"] = result.plan.reasons
    return {**document, "refused": result.refused, "postfix_version": str(version)}
