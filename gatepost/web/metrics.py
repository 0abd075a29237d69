"""The metrics of all roles in one Prometheus document.

Purpose: one address to scrape. The role that serves it asks the others over their control sockets.
Source: Prometheus, "Exposition formats".
Format: text format 0.0.4. ``gatepost_up{role=…}`` is 1 for a role that answered and 0 for one that
did not; the others' families are joined by name.
Limits: a role gets 2 s to answer, below the 10 s that Prometheus waits by default.
Errors: none; a role that does not answer is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.errors import StartError
from gatepost.runtime.control import ask
from gatepost.runtime.metrics import PREFIX, Family, Metrics
from gatepost.runtime.paths import ROLES, control_path

Ask = Callable[[Path, str], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the roles said.

    Attributes:
        text: The metrics.
        down: Roles that did not answer, with the reason.
    """

    text: bytes
    down: Mapping[str, str]


class AllMetrics:
    """Collects the metrics of all roles."""

    def __init__(self, own: Metrics, run_dir: Path, roles: Sequence[str] = ROLES) -> None:
        """Remember where to ask.

        Args:
            own: The metrics of the role that this runs in.
            run_dir: Where the control sockets of the others are.
            roles: All roles that should run.
        """
        self._own = own
        self._roles = tuple(roles)
        self._run_dir = run_dir

    def scrape(self) -> Scrape:
        """Ask everybody now."""
        others = [role for role in self._roles if role != self._own.role]
        families: list[Family] = self._own.families()
        down: dict[str, str] = {}
        with ThreadPoolExecutor(len(others)) as pool:
            for role, answer in zip(others, pool.map(self._ask, others), strict=True):
                if isinstance(answer, StartError):
                    down[role] = str(answer)
                else:
                    families += answer
        return Scrape(generate_latest(_Joined(families, down, self._roles)), down)

    def down(self) -> dict[str, str]:
        """Return the roles that do not answer, with the reason."""
        return dict(self.scrape().down)

    def _ask(self, role: str) -> list[Family] | StartError:
        try:
            found: list[Family] = ask(control_path(self._run_dir, role), "metrics")["families"]
        except StartError as error:
            return error
        except KeyError:
            return StartError("the answer holds no metrics")
        return found


class _Joined(Collector):
    """Families of several roles, each family once."""

    def __init__(
        self, families: Iterable[Family], down: Mapping[str, str], roles: Sequence[str]
    ) -> None:
        self._families = families
        self._roles = roles
        self._down = down

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        joined: dict[str, Metric] = {}
        for name, text, kind, samples in self._families:
            metric = joined.setdefault(name, Metric(name, text, kind))
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
        yield from joined.values()
        up = GaugeMetricFamily(f"{PREFIX}up", "Whether the role answers.", labels=["role"])
        for role in self._roles:
            up.add_metric([role], float(role not in self._down))
        yield up
