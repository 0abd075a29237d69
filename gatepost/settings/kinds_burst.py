"""Kinds of values that only the settings of bursts and backlogs have; see `kinds`.

Errors: each parser raises `Rejected`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gatepost.settings.kinds_traffic import QUOTA
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar, did_you_mean
from gatepost.traffic.burst import Cap
from gatepost.traffic.quota import Limit, Unit

MAX_BACKLOG: Final = 100_000_000
_MAX_WINDOW_S: Final = 3600
_CAP = re.compile(r"([0-9]{1,9})(?: +([a-z]+))?")
_UNITS = {unit.value: unit for unit in Unit}


def _rate(text: str) -> Limit:
    try:
        limit = QUOTA.parse(text)
    except Rejected as error:
        raise Rejected(
            error.problem.replace("is not a quota", "is no rate"), error.remedy
        ) from None
    if limit.window_s > _MAX_WINDOW_S:
        raise Rejected(
            f"{quoted(text)} looks at more than an hour",
            "write a rate per second, minute or hour; for longer times there is quota",
        )
    return limit


def _cap(text: str) -> Cap:
    found = _CAP.fullmatch(text)
    if found is None or not 1 <= (count := int(found[1])) <= MAX_BACKLOG:
        raise Rejected(
            f"{quoted(text)} is no number of messages from 1 to {MAX_BACKLOG}",
            "write one such as 20000, or 20000 recipients",
        )
    unit = found[2] or Unit.MESSAGES.value
    if unit not in _UNITS:
        raise Rejected(
            f"{quoted(unit)} is nothing that is counted",
            did_you_mean(unit, _UNITS) or "write messages, which may be left out, or recipients",
        )
    return Cap(count, _UNITS[unit])


def half(limit: Limit) -> Limit:
    """Return half a rate, and at least one in its window."""
    return replace(limit, count=max(limit.count // 2, 1))


RATE = Scalar("a rate, as in 20/second or 600/minute recipients", _rate, "20/second")
CAP = Scalar("a number of messages or recipients", _cap, "20000")
