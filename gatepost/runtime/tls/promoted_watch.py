"""Watch the destinations of promoted rules: one that drops TLS is told, once, and counted.

Purpose: ``gatepost tls promote`` finds it as well, but only when somebody runs it, and mail to such
a destination waits meanwhile.
Format of the log lines: ``promoted-dropped domain=… asked=… downgrade=… why="…"`` and, when it
offers TLS again, ``promoted-recovered domain=…``.
Limits: those of `gatepost.runtime.hourly`.
Errors: none; a store that is not available is tried again an hour later, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from gatepost.maillog.evidence import DeliveryStore
from gatepost.runtime.hourly import EVERY_S, FIRST_S, Hourly
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.tls.promotion import lost
from gatepost.store.survey import SurveyStore
from gatepost.tls.history import Finding
from gatepost.tls.promoted import PromotedRule

_log = logging.getLogger("gatepost.promoted")


class PromotedWatch(Hourly):
    """Looks again and again, until `stop`."""

    def __init__(
        self,
        rules: Callable[[], Mapping[str, PromotedRule]],
        open_deliveries: Callable[[], DeliveryStore],
        open_survey: Callable[[], SurveyStore],
        metrics: Metrics,
        *,
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        """Start.

        Args:
            rules: Returns the rules of the configuration in force.
            open_deliveries: Opens the store of deliveries, on the thread that uses it.
            open_survey: Opens the store of the survey, likewise.
            metrics: Where failures are counted, and destinations that dropped TLS.
            first_s: Seconds until the first look.
            every_s: Seconds between two.
        """
        self._rules = rules
        self._open_deliveries = open_deliveries
        self._open_survey = open_survey
        self._dropped: dict[str, Finding] = {}
        metrics.watch_promoted(lambda: len(self._dropped))
        super().__init__(
            "promoted",
            lambda: self.look(time.time()),
            metrics,
            first_s=first_s,
            every_s=every_s,
        )

    def dropped(self) -> list[str]:
        """Return a sentence for each destination that dropped TLS, for ``gatepost status``."""
        return [
            f"{domain} no longer offers what its promoted rule asks for; run gatepost tls promote"
            for domain in sorted(self._dropped)
        ]

    def look(self, now: float) -> None:
        """Look once, and tell what is new.

        Args:
            now: Unix time in seconds.

        Raises:
            StoreUnavailable: If a store cannot be read.
        """
        rules = self._rules()
        found: dict[str, Finding] = {}
        # Without rules there is nothing to open a store for.
        if rules:
            with (
                contextlib.closing(self._open_deliveries()) as deliveries,
                contextlib.closing(self._open_survey()) as survey,
            ):
                found = {each.domain: each for each in lost(deliveries, survey, rules, now)}
        for domain in sorted(found.keys() - self._dropped.keys()):
            _tell(found[domain])
        for domain in sorted(self._dropped.keys() - found.keys()):
            log_event(_log, logging.INFO, "promoted-recovered", domain=domain)
        self._dropped = found


def _tell(finding: Finding) -> None:
    rule = finding.rule
    assert rule is not None
    log_event(
        _log,
        logging.WARNING,
        "promoted-dropped",
        domain=finding.domain,
        asked=rule.requirement.level.keyword,
        downgrade=rule.downgrade.value,
        why=finding.why,
    )
