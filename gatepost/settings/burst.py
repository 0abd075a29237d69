"""From the settings of bursts and backlogs to what decisions read, and what they need.

Errors: problems go to the report; a burst with an error is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatepost.settings.keys_burst import BurstSection, TrafficSection
from gatepost.settings.keys_tenants import TenantSection
from gatepost.settings.kinds_burst import half
from gatepost.settings.problems import Place, Report
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.tenants.model import Tenant
from gatepost.traffic.burst import STAY_S, Burst, BurstRules, Cap
from gatepost.traffic.quota import Limit

if TYPE_CHECKING:
    from gatepost.settings.keys import MainFile
    from gatepost.settings.tenants import TenantBuilder

_TOO_EARLY = "mail would come back before it left"
_FIELDS = ("above", "backlog", "lane", "below", "backlog_below", "stay")


@dataclass(frozen=True, slots=True)
class OwnTraffic:
    """What one tenant's settings say.

    Attributes:
        burst: The section, or None where it is empty.
        cap: Its cap, or None.
        exempt: Whether the cap of all does not hold for it.
    """

    burst: BurstSection | None
    cap: Cap | None
    exempt: bool


def own_traffic(section: TenantSection) -> OwnTraffic | None:
    """Return what a tenant's settings say, or None if they say nothing."""
    burst = section.burst if _is_given(section.burst) else None
    if burst is None and section.backlog is None and not section.quota_exempt:
        return None
    return OwnTraffic(burst, section.backlog, section.quota_exempt)


class BurstSettings:
    """Checks bursts, and gathers them."""

    def __init__(
        self,
        traffic: TrafficSection,
        file: str,
        lanes: Collection[str] | None,
        report: Report,
        *,
        log_is_read: bool,
    ) -> None:
        """Check what holds for all.

        Args:
            traffic: What holds for all tenants.
            file: Where it stands.
            lanes: The lanes, or None if not all could be read.
            report: Takes problems.
            log_is_read: Whether Postfix's log is.
        """
        self._general = traffic.burst
        self._lanes = lanes
        self._report = report
        self._log_is_read = log_is_read
        self._cap = traffic.backlog
        self._made: dict[Burst, Burst] = {}
        self._burst: Burst | None = None
        at = Place(file, ("traffic",))
        if _is_given(traffic.burst):
            self._burst = self._build(traffic.burst, at)
        self._needs_log(at, traffic.burst, traffic.backlog)

    def rules(
        self,
        tenants: Mapping[str, Tenant],
        own: Mapping[str, OwnTraffic],
        place: Callable[[str], Place],
    ) -> BurstRules:
        """Return when tenants are moved, and how much of their mail may be outstanding.

        Args:
            tenants: All tenants by id.
            own: What the settings of some say.
            place: Returns where these stand.
        """
        bursts: dict[str, Burst | None] = {}
        caps: dict[str, Cap | None] = {}
        for id_, said in own.items():
            if said.burst is not None:
                bursts[id_] = self._build(said.burst, place(id_))
            if said.cap is not None or (said.exempt and self._cap is not None):
                caps[id_] = said.cap
            self._needs_log(place(id_), said.burst, said.cap)
        for id_, tenant in tenants.items():
            burst = bursts.get(id_, self._burst)
            if burst is not None and burst.lane == tenant.lane:
                bursts[id_] = None
        return BurstRules(self._burst, self._cap, bursts, caps)

    def _build(self, section: BurstSection, at: Place) -> Burst | None:
        """Return what a section means, filled up with what holds for all, or None if nothing."""
        found = {name: getattr(section, name) for name in _FIELDS}
        if section is not self._general:
            # Who has a threshold of its own does not take the way back of the general one.
            kept = {"below": found["above"] is None, "backlog_below": found["backlog"] is None}
            for name in _FIELDS:
                if found[name] is None and kept.get(name, True):
                    found[name] = getattr(self._general, name)
        above: Limit | None = found["above"]
        backlog: int | None = found["backlog"]
        if not self._is_good(found, above, backlog, at):
            return None
        below = found["below"] or (None if above is None else half(above))
        lower = found["backlog_below"]
        if lower is None and backlog is not None:
            lower = backlog // 2
        burst = Burst(found["lane"], above, backlog, below, lower, found["stay"] or STAY_S)
        # Equal ones are one object, of which there may be a hundred thousand.
        return self._made.setdefault(burst, burst)

    def _is_good(
        self, found: Mapping[str, Any], above: Limit | None, backlog: int | None, at: Place
    ) -> bool:
        """Check what belongs together, and tell whether it does."""
        name, lane = "", found["lane"]
        if above is None and backlog is None:
            wrong = "has no threshold", "add above: 20/second, or backlog: 2000"
        elif lane is None:
            wrong = "names no lane", "add lane: NAME, where mail is moved to"
        elif self._lanes is not None and lane not in self._lanes:
            name, remedy = "lane", did_you_mean(lane, self._lanes) or there_are(self._lanes)
            wrong = f"there is no lane {lane}", remedy
        elif (below := found["below"]) is not None and (odd := _odd(below, above)) is not None:
            name, wrong = "below", odd
        elif backlog is not None and (found["backlog_below"] or 0) > backlog:
            name, remedy = "backlog_below", f"write {backlog // 2}, or leave it out"
            wrong = f"{found['backlog_below']} is more than {backlog}: {_TOO_EARLY}", remedy
        else:
            return True
        steps = ("burst", name) if name else ("burst",)
        self._report.error(Place(at.file, (*at.path, *steps)), *wrong)
        return False

    def _needs_log(self, at: Place, burst: BurstSection | None, cap: Cap | None) -> None:
        by_backlog = burst is not None and burst.backlog is not None
        if self._log_is_read or not (cap or by_backlog):
            return
        steps = ("backlog",) if cap else ("burst", "backlog")
        self._report.warn(
            Place(at.file, (*at.path, *steps)),
            "has no effect, as only Postfix's log tells what is outstanding",
            "set maillog",
            group="backlog without a log",
        )


def _is_given(section: BurstSection) -> bool:
    return any(getattr(section, name) is not None for name in _FIELDS)


def _odd(below: Limit, above: Limit | None) -> tuple[str, str] | None:
    """Return what is wrong with a rate for the way back, and the remedy, or None."""
    if above is None:
        return "goes with above, which is not set", "remove it"
    if below.unit is not above.unit:
        return f"counts {below.unit}, and above {above.unit}", "count the same in both"
    if below.count * above.window_s > above.count * below.window_s:
        return (
            f"{below} is more than {above}: {_TOO_EARLY}",
            f"write {half(above)}, or leave it out",
        )
    return None


def load_bursts(
    main: MainFile,
    file: str,
    builder: TenantBuilder,
    lanes: Collection[str],
    broken: AbstractSet[str],
    unsure: AbstractSet[str],
    report: Report,
) -> BurstRules:
    """Return the bursts and backlogs of a configuration.

    Args:
        main: The main file.
        file: Its name.
        builder: The tenants.
        lanes: The lanes.
        broken: Tenants with settings that could not be read.
        unsure: Sections that could not be read as a whole.
        report: Takes problems.
    """
    log_is_read = main.maillog is not None or "maillog" in unsure
    known = None if "lanes" in unsure else lanes
    bursts = BurstSettings(main.traffic, file, known, report, log_is_read=log_is_read)
    own = {id_: each for id_, each in builder.traffic.items() if id_ not in broken}
    return bursts.rules(builder.by_id, own, builder.place)
