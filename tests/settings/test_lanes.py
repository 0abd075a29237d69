"""Which sources the addresses of a lane make."""

from __future__ import annotations

import pytest

from gatepost.settings.keys_tls import LaneSection
from gatepost.settings.kinds_traffic import SOURCE_ADDRESS
from gatepost.settings.lanes import build_lanes
from gatepost.settings.problems import Report
from gatepost.traffic.lanes import Source

A4, B4, C4 = "192.0.2.10", "192.0.2.11", "192.0.2.12"
A6, B6 = "2001:db8::10", "2001:db8::11"


@pytest.mark.parametrize(
    ("addresses", "sources"),
    [
        ([], ()),
        ([A4], (Source(A4),)),
        ([A6], (Source(None, A6),)),
        ([A4, A6], (Source(A4, A6),)),
        ([A6, A4, B4, B6], (Source(A4, A6), Source(B4, B6))),
        ([A4, B4, C4, A6], (Source(A4, A6), Source(B4, A6), Source(C4, A6))),
        ([A4, A6, B6], (Source(A4, A6), Source(A4, B6))),
        ([f"{A4} weight=3", B4], (Source(A4, None, 3), Source(B4))),
        ([f"{A4} weight=3", B4, A6, f"{B6} weight=2"], (Source(A4, A6, 3), Source(B4, B6, 2))),
        ([f"{A4} weight=3", f"{A6} weight=3"], (Source(A4, A6, 3),)),
        ([f"{A4}  weight=100"], (Source(A4, None, 100),)),
    ],
)
def test_addresses_make_sources(addresses: list[str], sources: tuple[Source, ...]) -> None:
    report = Report()
    section = LaneSection(addresses=tuple(map(SOURCE_ADDRESS.parse, addresses)))
    lanes = build_lanes({"bulk": section}, "gatepost.yaml", report)
    assert lanes["bulk"].sources == sources
    assert not report.errors
