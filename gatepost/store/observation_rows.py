"""The rows of observations, which are the same in every database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gatepost.modes import Feature, Observation
from gatepost.store.interface import SECONDS_AN_HOUR, WhatIf
from gatepost.store.text import storable

COLUMNS = "at, tenant, feature, action, detail, queue_id, sender, recipient"


def what_if_of(sums: Iterable[Sequence[Any]], rows: Iterable[Sequence[Any]]) -> list[WhatIf]:
    """Return sums with their examples.

    Args:
        sums: Tenant, feature, action, count, first and last time.
        rows: `COLUMNS` of examples, newest first.
    """
    examples: dict[tuple[str, str, str], list[Observation]] = {}
    for at, of_tenant, of_feature, action, *rest in rows:
        examples.setdefault((of_tenant, of_feature, action), []).append(
            Observation(at, of_tenant, Feature(of_feature), action, *rest)
        )
    return [
        WhatIf(
            tenant,
            Feature(feature),
            action,
            int(n),
            first,
            last,
            tuple(examples.get((tenant, feature, action), ())),
        )
        for tenant, feature, action, n, first, last in sums
    ]


def hour_of(at: float) -> int:
    """Return the hour that holds a Unix time, as hours since 1970."""
    return int(at // SECONDS_AN_HOUR)


def observation_row(seen: Observation) -> tuple[float | str, ...]:
    """Return the `COLUMNS` of an observation."""
    texts = (
        seen.tenant,
        seen.feature.value,
        seen.action,
        seen.detail,
        seen.queue_id,
        seen.sender,
        seen.recipient,
    )
    return (seen.at, *map(storable, texts))
