"""From the settings of lanes to what decisions read, and what they need together.

Format: addresses are paired by their order: the first IPv4 with the first IPv6 address, and so on.
Where there are fewer of one kind, they are used again from the first, so that no source of a lane
that names addresses of a kind leaves that kind to the host's own choice.
Errors: problems go to the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatepost.settings.keys_tls import LaneSection
from gatepost.settings.kinds_traffic import WeightedAddress
from gatepost.settings.problems import Place, Report
from gatepost.traffic.lanes import DEFAULT_LANE, MAX_SOURCES, Lane, Source


def build_lanes(sections: Mapping[str, LaneSection], file: str, report: Report) -> dict[str, Lane]:
    """Return the lanes by name."""
    lanes = {DEFAULT_LANE: Lane(DEFAULT_LANE)}
    for name, section in sections.items():
        place = Place(file, ("lanes", name))
        sources = _sources(section.addresses, Place(file, ("lanes", name, "addresses")), report)
        lane = Lane(name, section.concurrency, section.rate_delay, sources, section.instance)
        if name == DEFAULT_LANE and lane != lanes[name]:
            report.error(
                place,
                "is the lane of every tenant whose lane is not enforced, so it has no settings",
                "set Postfix's own parameters instead, or give the settings to another lane",
            )
        if lane.rate_delay_s and lane.concurrency and lane.concurrency > 1:
            report.warn(
                Place(file, ("lanes", name, "concurrency")),
                "has no effect, since with rate_delay Postfix delivers one message at a time",
                "remove one of the two",
            )
        lanes[name] = lane
    return lanes


def _sources(
    addresses: Sequence[WeightedAddress], place: Place, report: Report
) -> tuple[Source, ...]:
    """Return the sources that addresses make, or none beside a problem."""
    by_version: dict[int, list[WeightedAddress]] = {4: [], 6: []}
    for each in addresses:
        if each.address in {other.address for other in by_version[each.version]}:
            report.error(place, f"{each.address} stands twice in this list", "remove one")
        by_version[each.version].append(each)
    four, six = by_version[4], by_version[6]
    more, fewer = (four, six) if len(four) >= len(six) else (six, four)
    if len(more) > MAX_SOURCES:
        report.error(
            place,
            f"{len(more)} addresses of one kind are more than Postfix's queue manager should go "
            "through, since each is a service of its own for each profile",
            f"keep {MAX_SOURCES}",
        )
        return ()
    sources = []
    for index, each in enumerate(more):
        other = fewer[index % len(fewer)] if fewer else None
        weights = {found.weight for found in (each, other) if found and found.weight is not None}
        if other is not None and (len(weights) > 1 or (other.weight and len(more) > len(fewer))):
            report.error(
                place,
                f"{each.address} and {other.address} are one source, since the first IPv4 and the "
                "first IPv6 address belong together, and so on, and they differ in weight",
                f"give the weight to the {'IPv4' if more is four else 'IPv6'} addresses alone",
            )
            return ()
        pair = {found.version: found.address for found in (each, other) if found}
        sources.append(Source(pair.get(4), pair.get(6), *weights))
    return tuple(sources)
