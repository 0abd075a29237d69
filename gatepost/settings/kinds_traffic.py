"""Kinds of values that only the settings of how much, how fast have; see `kinds`.

Limits: counts and windows as in `gatepost.traffic.quota`.
Errors: each parser raises `Rejected`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.settings.kinds import ADDRESS
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar, did_you_mean
from gatepost.traffic.lanes import MAX_WEIGHT
from gatepost.traffic.quota import MAX_COUNT, MAX_WINDOW_S, NAMED_WINDOWS, Limit, Unit

_LIMIT = re.compile(r"([0-9]+)/([0-9]{1,7}[smhd]|[a-z]+)(?: +([a-z]+))?")
_SIZES = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_UNITS = {unit.value: unit for unit in Unit}
_DIGITS = len(str(MAX_COUNT))


def _quota(text: str) -> Limit:
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise Rejected(
            f"{quoted(text)} is not a quota",
            "write a number per window, as in 100/minute, 300/15m or 5000/hour recipients",
        )
    number, window, unit = found.groups()
    if len(number) > _DIGITS or not 1 <= (count := int(number)) <= MAX_COUNT:
        raise Rejected(
            f"{quoted(text)} does not allow 1 to {MAX_COUNT} of anything",
            "write another number; to let nothing pass, pause the tenant",
        )
    if window[0].isdigit():
        seconds = int(window[:-1]) * _SIZES[window[-1]]
    elif window in NAMED_WINDOWS:
        seconds = NAMED_WINDOWS[window]
    else:
        raise Rejected(
            f"{quoted(window)} is no window of time",
            did_you_mean(window, NAMED_WINDOWS)
            or "write second, minute, hour, day or week, or a time such as 15m",
        )
    if not 1 <= seconds <= MAX_WINDOW_S:
        raise Rejected(
            f"{quoted(text)} has a window that is not from 1s to 31d", "write one such as 1d"
        )
    if unit is not None and unit not in _UNITS:
        raise Rejected(
            f"{quoted(unit)} is nothing that is counted",
            did_you_mean(unit, _UNITS) or "write messages, which may be left out, or recipients",
        )
    return Limit(count, seconds, _UNITS.get(unit or "", Unit.MESSAGES))


QUOTA = Scalar("a quota, as in 100/minute or 5000/hour recipients", _quota, "100/minute")


@dataclass(frozen=True, slots=True)
class WeightedAddress:
    """An address to send from.

    Attributes:
        version: 4 or 6.
        address: The address.
        weight: Its share, or None where none is given.
    """

    version: int
    address: str
    weight: int | None = None


def _weighted_address(text: str) -> WeightedAddress:
    address, blank, tail = text.partition(" ")
    version, address = ADDRESS.parse(address)
    if not blank:
        return WeightedAddress(version, address)
    word, equals, number = tail.strip().partition("=")
    if (
        (word, equals) == ("weight", "=")
        and re.fullmatch(r"[0-9]{1,3}", number)
        and 1 <= int(number) <= MAX_WEIGHT
    ):
        return WeightedAddress(version, address, int(number))
    raise Rejected(
        f"{quoted(tail.strip())} is not a weight from 1 to {MAX_WEIGHT}",
        f"write one such as {address} weight=3",
    )


SOURCE_ADDRESS = Scalar(
    "an IP address, with or without a weight", _weighted_address, "192.0.2.10 weight=3"
)
