"""Periods of time as commands take them: 30m, 24h, 7d, 4w."""

from __future__ import annotations

import re

from gatepost.cli.common import fail

_PERIOD = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def ends_as_period(text: str) -> bool:
    """Tell whether a text that may be a period or a time is meant as a period."""
    return text[-1:] in _UNITS_S


def seconds_of(period: str, option: str = "--since") -> int:
    """Return the length of a period in seconds; leave with a usage error if it is none."""
    found = _PERIOD.fullmatch(period)
    if found is None:
        fail(f'{option} takes a period such as 30m, 24h, 7d or 4w, and not "{period}"')
    return int(found[1]) * _UNITS_S[found[2]]
