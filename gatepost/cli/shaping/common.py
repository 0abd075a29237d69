"""What the commands of shaping share: the pair that is meant, and the record of what was done."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import fail
from gatepost.feedback.events import Event
from gatepost.settings import Loaded
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.snapshot import Snapshot
from gatepost.store.open import open_events

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


def tell(loaded: Loaded, event: Event) -> None:
    """Store an event of what an operator did."""
    with closing(open_events(loaded.settings.state)) as events:
        events.add([event])
