"""What the commands of shaping share: the pair that is meant, and how a slowed one reads."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Annotated, Any

import typer

from gatepost.cli.common import fail
from gatepost.feedback.events import Event
from gatepost.feedback.status import moment
from gatepost.modes import Mode
from gatepost.settings import Loaded
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.snapshot import Snapshot
from gatepost.store.open import open_events
from gatepost.traffic.shaping import Slowed, in_words

LaneArgument = Annotated[str, typer.Argument(metavar="LANE", help="The lane.")]
ProviderArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER",
        help="The provider: a name of the rules, or the domain of its MX hosts, as google.com.",
    ),
]

_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_pair(lane: str, provider: str, snapshot: Snapshot) -> None:
    """Leave with a usage error if there is no such lane, or that can be no provider."""
    if lane not in snapshot.lanes:
        known = list(snapshot.lanes)
        fail(f'there is no lane "{lane}"; {did_you_mean(lane, known) or there_are(known)}')
    if not _PROVIDER.fullmatch(provider):
        fail(f'"{provider}" can be no provider; write it in lower case, as google.com')


def effect(snapshot: Snapshot) -> str | None:
    """Return why a slowed pair has no effect, or None if it has."""
    if not snapshot.shaping.on:
        return "shaping.rules is off, so Postfix does not ask before each delivery"
    if snapshot.modes.lane is not Mode.ENFORCE:
        return f"the general mode of lane is {snapshot.modes.lane}, so nothing is held back"
    return None


def document(slowed: Slowed, now: float) -> dict[str, Any]:
    """Return a slowed pair for ``--json``."""
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


def tell(loaded: Loaded, event: Event) -> None:
    """Store an event of what an operator did."""
    with closing(open_events(loaded.settings.state)) as events:
        events.add([event])
