"""From the settings of shaping and of warm-up to what decisions read.

Errors: problems go to the report.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gatepost.settings.keys_shaping import (
    ShapingFile,
    ShapingRuleSection,
    ShapingSection,
    WarmupSection,
)
from gatepost.settings.kinds_shaping import STANDARD, phrase_of
from gatepost.settings.problems import Place, Report
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.tenants.model import Tenant
from gatepost.traffic import shaping as model
from gatepost.traffic.lanes import DEFAULT_LANE, Lane
from gatepost.traffic.shaping import NO_SHAPING, Group, Rule, ShapingRules
from gatepost.traffic.warmup import NO_WARMUP, Warmup, WarmupRules, day_of

_STANDARD_FILE = Path(model.__file__).with_name("shaping_rules.yaml")

Read = Callable[[Path, Place], "ShapingFile | None"]


class ShapingSettings:
    """Builds and checks both, for one load of a configuration."""

    def __init__(self, file: str, report: Report, *, log_is_read: bool) -> None:
        """Remember where problems go.

        Args:
            file: The main file.
            report: Takes problems.
            log_is_read: Whether maillog names something.
        """
        self._file = file
        self._report = report
        self._log_is_read = log_is_read

    def shaping(self, section: ShapingSection, read: Read) -> ShapingRules:
        """Return the rules of shaping.

        Args:
            section: The settings.
            read: Returns what a file holds, or None with a problem told; also takes where the
                file is named.
        """
        named = section.rules
        if named is None:
            return NO_SHAPING
        place = Place(self._file, ("shaping", "rules"))
        self._needs_log(place, "replies are read")
        path = _STANDARD_FILE if named == STANDARD else Path(self._file).parent / named
        found = read(path, place)
        if found is None:
            return NO_SHAPING
        rules = []
        for name, each in found.rules.items():
            if (rule := self._rule(name, each, str(path))) is not None:
                rules.append(rule)
        if not found.rules:
            self._report.error(Place(str(path)), "has no rules", "write one, or shaping.rules: off")
        groups = (
            Group(name, each.hosts, frozenset(each.domains))
            for name, each in found.providers.items()
        )
        return ShapingRules(True, tuple(rules), tuple(groups))

    def _rule(self, name: str, section: ShapingRuleSection, file: str) -> Rule | None:
        path = ("rules", name)
        # What was written wrong is told already.
        told = any(each.place.path[:2] == path for each in self._report.errors)
        if not (section.classes or section.text or told):
            self._report.error(
                Place(file, path),
                "no reply counts for it",
                "write classes: [rate-limited], or text:",
            )
        if section.to is None:
            return None
        return Rule(
            name,
            frozenset(section.classes),
            tuple((phrase.head, phrase.tail) for phrase in map(phrase_of, section.text)),
            frozenset(section.providers),
            section.count,
            section.within,
            section.share or 0.0,
            section.to,
            section.lasts,
            section.step,
            section.at_most,
        )

    def warmups(
        self,
        lanes: Mapping[str, WarmupSection],
        tenants: Mapping[str, tuple[WarmupSection, Place, str]],
        known: Mapping[str, Lane] | None,
    ) -> WarmupRules:
        """Return all warm-ups.

        Args:
            lanes: Those of lanes.
            tenants: Those of tenants, with where the tenant stands, and its lane.
            known: All lanes, or None if not all could be read.
        """
        of_lanes = {}
        for name, section in lanes.items():
            place = Place(self._file, ("lanes", name, "warmup"))
            if (found := self._warmup(section, place)) is None:
                continue
            if name != DEFAULT_LANE:
                of_lanes[name] = found
            else:
                self._report.error(
                    place,
                    "is for the lane of every tenant whose lane is not enforced",
                    "give the new addresses, and the warm-up, to a lane of their own",
                )
        of_tenants = {}
        for name, (section, at, lane) in tenants.items():
            place = Place(at.file, (*at.path, "warmup"))
            if (found := self._warmup(section, place)) is not None:
                of_tenants[name] = found
                self._check_lane(found, place, known, of_lanes, lane)
        for name, found in of_lanes.items():
            place = Place(self._file, ("lanes", name, "warmup"))
            self._check_lane(found, place, known, of_lanes, name)
        if not (of_lanes or of_tenants):
            return NO_WARMUP
        return WarmupRules(of_lanes, of_tenants)

    def _warmup(self, section: WarmupSection, place: Place) -> Warmup | None:
        if section.start is None or section.days is None:
            return None
        self._needs_log(place, "it is seen how much has left")
        start = dt.datetime.fromisoformat(section.start).replace(tzinfo=dt.UTC)
        return Warmup(day_of(start.timestamp()), section.days, section.lane)

    def _check_lane(
        self,
        found: Warmup,
        place: Place,
        known: Mapping[str, Lane] | None,
        warming: Mapping[str, Warmup],
        own: str,
    ) -> None:
        at = Place(place.file, (*place.path, "lane"))
        if known is not None and found.lane not in known:
            self._report.error(
                at,
                f"there is no lane {found.lane}",
                did_you_mean(found.lane, known) or there_are(known),
            )
        elif found.lane == own or found.lane in warming:
            why = "is the lane that warms up" if found.lane == own else "has a warm-up itself"
            self._report.error(at, f"{found.lane} {why}", "name a lane that may take what is above")

    def _needs_log(self, place: Place, what: str) -> None:
        if not self._log_is_read:
            self._report.warn(
                place,
                f"has no effect without Postfix's log, where {what}",
                "set maillog, as in maillog: /var/log/mail.log",
                group=what,
            )


def overflow_pairs(warmups: WarmupRules, tenants: Iterable[Tenant]) -> set[tuple[str, str]]:
    """Return the lane and profile of mail that is above a warm-up."""
    return (
        {
            (found.lane, tenant.profile)
            for tenant in tenants
            for found in (warmups.lanes.get(tenant.lane), warmups.tenants.get(tenant.id))
            if found is not None
        }
        if warmups
        else set()
    )
