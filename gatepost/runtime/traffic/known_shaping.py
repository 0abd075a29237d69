"""What slows the delivery of one message, for those who explain it, and how a slowed pair reads.

Purpose: ``gatepost explain``, ``gatepost shaping`` and the API say the same in the same words.
Errors: none; what cannot be read is a problem in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

from gatepost.decisions.explain import Explanation
from gatepost.decisions.shaping import lane_of_service, provider_name
from gatepost.errors import StoreUnavailable
from gatepost.feedback.status import moment
from gatepost.modes import Mode
from gatepost.settings import Loaded
from gatepost.snapshot import Snapshot
from gatepost.store.open import is_missing, open_lanes
from gatepost.tls.nexthop import nexthop_domain
from gatepost.traffic.shaping import Slowed, in_words


def slowed_for(
    result: Explanation, hosts: Iterable[str], loaded: Loaded, now: float
) -> tuple[list[Slowed], list[str]]:
    """Return what slows the delivery of a message, and what keeps that from being known.

    Where nobody knows the mail servers of the destination, all that slows the lane is returned.

    Args:
        result: What was decided about the message.
        hosts: The mail servers of its destination, as far as they are known.
        loaded: The configuration.
        now: Unix time in seconds.
    """
    snapshot = loaded.snapshot
    if result.route is None or not snapshot.shaping.on:
        return [], []
    lane = lane_of_service(result.route.service or "", snapshot)
    url = loaded.settings.local_state
    try:
        if is_missing(url):
            return [], []
        with closing(open_lanes(url, create=False)) as store:
            found = store.slowed()
    except (StoreUnavailable, OSError) as error:
        return [], [f"what slows the lane is not known: {error}"]
    held = [each for each in found if each.lane == lane and each.rate_at(now) is not None]
    domain = nexthop_domain(result.nexthop) or ""
    providers = {provider_name(domain, host, snapshot.shaping) for host in hosts}
    if (group := snapshot.shaping.group_of_domain(domain)) is not None:
        providers = {group}
    return [each for each in held if not providers or each.provider in providers], []


def effect(snapshot: Snapshot) -> str | None:
    """Return why a slowed pair has no effect, or None if it has."""
    if not snapshot.shaping.on:
        return "shaping.rules is off, so Postfix does not ask before each delivery"
    if snapshot.modes.lane is not Mode.ENFORCE:
        return f"the general mode of lane is {snapshot.modes.lane}, so nothing is held back"
    return None


def document(slowed: Slowed, now: float) -> dict[str, Any]:
    """Return a slowed pair for JSON."""
    return {
        "lane": slowed.lane,
        "provider": slowed.provider,
        "rate_per_minute": slowed.rate_at(now),
        "since": slowed.since,
        "until": slowed.until,
        "steps_per_minute": list(slowed.rates),
        "first_s": slowed.first_s,
        "step_s": slowed.every_s,
        "rule": slowed.rule,
        "by": slowed.by,
        "strikes": slowed.strikes + 1 if slowed.rule else 0,
        "before_per_minute": slowed.base if slowed.rule else None,
        "why": slowed.why,
    }


def line(slowed: Slowed, now: float) -> str:
    """Return a slowed pair as a sentence."""
    rate = slowed.rate_at(now)
    whose = f"by {slowed.by}" if slowed.by else f"by rule {slowed.rule}"
    if slowed.strikes:
        whose += f", {slowed.strikes + 1} times in a row"
    state = "free again" if rate is None else f"{in_words(rate)}, free again {moment(slowed.until)}"
    return f"{slowed.lane} to {slowed.provider}: {state} ({whose}): {slowed.why}"
