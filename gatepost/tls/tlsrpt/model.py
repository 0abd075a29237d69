"""What a TLS report says, in one form whatever its sender made of the standard.

Source: RFC 8460 §4.4 (fields), §4.3 (result types), §4.2 (policy types).
Format: counts are sessions, not messages. Times are Unix seconds.
Security: every text comes from whoever sent the report; nothing in it is proved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# Failures that the summary counts and no detail explains.
UNSPECIFIED = "unspecified"
NO_POLICY = "no-policy-found"


@dataclass(frozen=True, slots=True)
class FailureDetail:
    """Sessions that failed in one way.

    Attributes:
        result_type: Such as ``certificate-expired``; words that RFC 8460 does not list stay.
        count: Sessions.
        sending_ip: Address that they came from, or empty.
        receiving_host: Name of the MX host, or empty.
        receiving_helo: What it said in its greeting, or empty.
        receiving_ip: Its address, or empty.
        reason: The sender's own code or text, or empty.
        information: Where the sender says more, a URI as a rule, or empty.
    """

    result_type: str
    count: int
    sending_ip: str = ""
    receiving_host: str = ""
    receiving_helo: str = ""
    receiving_ip: str = ""
    reason: str = ""
    information: str = ""


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What became of sessions under one policy of one domain of ours.

    Attributes:
        domain: A-label domain that the policy is for, or empty where nothing tells.
        policy_type: ``sts``, ``tlsa``, ``no-policy-found``, or another word of the sender's.
        successes: Sessions that went well.
        failures: Sessions that failed.
        details: How they failed.
        strings: The policy as the sender had it: lines of the MTA-STS file, or TLSA records.
        mx_hosts: MX patterns of the policy.
    """

    domain: str
    policy_type: str
    successes: int
    failures: int
    details: tuple[FailureDetail, ...] = ()
    strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()

    @property
    def unexplained(self) -> int:
        """Return how many failures no detail speaks of."""
        return max(0, self.failures - sum(detail.count for detail in self.details))


@dataclass(frozen=True, slots=True)
class TlsReport:
    """One report: one organization, one period, one or more policies.

    Attributes:
        organization: Who reports, as it calls itself.
        report_id: Its own identifier of the report.
        start: Begin of the period, or None where nothing tells.
        end: End of the period, or None.
        contact: Address for questions, or empty.
        policies: The results.
        deviations: What was not as RFC 8460 wants it, and how it was read.
    """

    organization: str
    report_id: str
    start: float | None
    end: float | None
    contact: str
    policies: tuple[PolicyResult, ...]
    deviations: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """Return the domains that it speaks about, sorted."""
        return tuple(sorted({policy.domain for policy in self.policies}))

    @property
    def key(self) -> str:
        """Return what tells this report from all others.

        Organization and report-id should do (RFC 8460 §4.4). Some senders take the day as the id
        for every domain, or start counting anew; begin and domains keep these apart.
        """
        start = "" if self.start is None else str(int(self.start))
        parts = (self.organization.casefold(), self.report_id, start, *self.domains)
        joined = "\0".join(parts).encode("utf-8", "backslashreplace")
        return hashlib.sha256(joined).hexdigest()[:32]
