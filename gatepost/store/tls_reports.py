"""What may be asked of the TLS reports that others sent.

Purpose: keep what each report says, once, and add it up by the domain that it speaks about.
Limits: a report is kept for 400 days, like all counts. The mail or file that it came in is not
kept: every field that RFC 8460 names is, so the raw form would only hold what nobody can vouch for.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: all texts are the sender's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gatepost.tls.tlsrpt.model import TlsReport

KEEP_S = 400 * 86400


class Added(StrEnum):
    """What became of a report that was handed in."""

    NEW = "new"
    KNOWN = "known"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class FailureSum:
    """Sessions that failed in one way at one domain.

    Attributes:
        result_type: Such as ``certificate-expired``; ``unspecified`` for failures that a summary
            counts and no detail explains.
        count: Sessions.
        organizations: Who reported them, sorted.
        hosts: MX hosts at which, sorted; empty ones left out.
        last_at: Begin of the latest period that has one.
        reason: A sender's own code or text, or empty.
    """

    result_type: str
    count: int
    organizations: tuple[str, ...]
    hosts: tuple[str, ...]
    last_at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DomainSum:
    """What reports say of one domain.

    Attributes:
        domain: A-label domain, empty for policies that name none.
        policy_types: Kinds of policy that were applied, sorted.
        successes: Sessions that went well.
        failures: Sessions that failed.
        reports: How many reports speak of it.
        organizations: Who sent them, sorted.
        first_at: Begin of the first period.
        last_at: Begin of the latest period.
        by_type: The failures, the most frequent first.
    """

    domain: str
    policy_types: tuple[str, ...]
    successes: int
    failures: int
    reports: int
    organizations: tuple[str, ...]
    first_at: float
    last_at: float
    by_type: tuple[FailureSum, ...] = ()


class TlsReportStore(Protocol):
    """Keeps TLS reports."""

    def add(self, report: TlsReport, received_at: float, source: str = "") -> Added:
        """Store a report, unless it is there already.

        Args:
            report: The report.
            received_at: Unix time; it stands for the period of a report that names none, or one
                that has not begun.
            source: Where it came from, such as the name of its file.

        Returns:
            Whether it was new; for one that is there with other content, `Added.DIFFERS`, and the
            first stays.
        """

    def domains(self, since: float, domain: str | None = None) -> list[DomainSum]:
        """Return sums by domain, the one with the most failures first.

        Args:
            since: Unix time; a report counts if its period begins then or later.
            domain: Only this one, or None for all.
        """

    def prune(self, before: float) -> int:
        """Delete reports whose period began before a Unix time; return how many."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
