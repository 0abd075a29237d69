"""What a store must do for the survey and for those who build upon what it found.

Purpose: the reading side for `tls promote`, the check at RCPT time and reports is
`gatepost.tls.survey.knowledge.SurveyKnowledge`; the writing side, for the survey itself, is
`SurveyRecord` there. This module joins the two and adds what only the survey's commands need.
Limits: one row for each address, mail exchanger and domain; changes are kept for 400 days.
Errors: every method raises `StoreUnavailable` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.tls.survey.knowledge import SurveyKnowledge, SurveyRecord
from gatepost.tls.survey.model import Target

KEEP_CHANGES_S = 400 * 86400


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that is no longer what it was.

    Attributes:
        at: Unix time of the probe that saw it.
        kind: ``tls`` for what the server offers, ``certificate`` for what its certificate is worth.
        address: The server.
        host: The name it was asked for.
        was: The word before.
        now: The word since.
    """

    at: float
    kind: str
    address: str
    host: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the survey.

    Attributes:
        id: Its number.
        started_at: Unix time.
        ended_at: Unix time; None if it was broken off or is running.
        source: Where its domains came from, for people.
    """

    id: int
    started_at: float
    ended_at: float | None
    source: str


class SurveyStore(SurveyKnowledge, SurveyRecord, Protocol):
    """All that is kept of the survey."""

    def known_targets(
        self, domains: Sequence[str], resolved_since: float, not_since: float, now: float
    ) -> tuple[set[str], list[Target]]:
        """Return which domains need no new DNS lookup, and whom of theirs to probe.

        Args:
            domains: Normalised names.
            resolved_since: Domains that were looked up since this Unix time, together with all
                their hosts, are known.
            not_since: Addresses whose last probe began after this Unix time are left out.
            now: Unix time. What is dated more than a day later was written by a wrong clock.
        """

    def begun_since(self, since: float) -> list[tuple[Target, float]]:
        """Return whose probe began after a Unix time, and when."""

    def last_begun(self, addresses: Sequence[str]) -> dict[str, float]:
        """Return when the last probe of each of some addresses began; nothing for a new one."""

    def interrupted(self, since: float) -> int:
        """Return how many probes began after a Unix time and never ended."""

    def changes(self, since: float) -> list[Change]:
        """Return what changed since a Unix time, the oldest first."""

    def run_begins(self, at: float, source: str) -> int:
        """Write down that a run begins; return its number."""

    def run_ends(self, run: int, at: float) -> None:
        """Write down that a run has ended, and forget changes that are too old."""

    def runs(self, count: int) -> list[Run]:
        """Return the last runs, the newest first."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
