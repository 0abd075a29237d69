"""What is remembered of one policy domain, and what is to be done about it now.

Purpose: every rule of RFC 8461 about time, as functions of an entry and a clock. Who fetches, and
when, is decided here; `fetch` and the runtime only carry it out.
Source: RFC 8461 §3.1 (a missing record does not end a cached policy), §3.3 (validity, refresh,
5 minutes after a failed fetch), §5.1 (look for a new id before a refusal), §10.2 (daily refresh).
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from gatepost.tls.mtasts.policy import StsPolicy

REFRESH_S = 86_400
# §3.3: "after a failed attempt … wait for a period of five minutes or longer".
AFTER_FAILURE_S = 300


class Failure(StrEnum):
    """Why a policy could not be had; the words are the result types of RFC 8460 §4.3."""

    FETCH = "sts-policy-fetch-error"
    INVALID = "sts-policy-invalid"
    WEBPKI = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class StsEntry:
    """What is remembered.

    Attributes:
        domain: The policy domain.
        policy: The last policy that was fetched, or None.
        policy_id: The id that was announced when it was fetched.
        fetched_at: Unix time of that fetch; 0 without a policy.
        failed_at: Unix time of the last fetch, if it failed; else 0.
        failed_id: The id that was announced then.
        failure: The kind of that failure, or None.
        reason: What it was, in a few words.
        failures: How many fetches in a row have failed.
    """

    domain: str
    policy: StsPolicy | None = None
    policy_id: str = ""
    fetched_at: float = 0.0
    failed_at: float = 0.0
    failed_id: str = ""
    failure: Failure | None = None
    reason: str = ""
    failures: int = 0

    def live(self, now: float) -> StsPolicy | None:
        """Return the policy that holds at a time: the last one fetched, until its max_age."""
        if self.policy is None or now >= self.fetched_at + self.policy.max_age_s:
            return None
        return self.policy

    def wants_fetch(self, policy_id: str, now: float) -> bool:
        """Tell whether the policy is to be fetched, as a mail is waiting to be sent.

        Args:
            policy_id: The id that the domain announces now; empty if it announces none.
            now: Unix time in seconds.
        """
        if not policy_id or self._rests(policy_id, now):
            return False
        return self.live(now) is None or policy_id != self.policy_id

    def wants_refresh(self, now: float) -> bool:
        """Tell whether a policy that holds is to be fetched anew, whatever is announced."""
        if self.live(now) is None or self._rests("", now):
            return False
        return now - self.fetched_at >= REFRESH_S

    def fetched(self, policy: StsPolicy, policy_id: str, now: float) -> StsEntry:
        """Return the entry after a fetch that went well.

        Args:
            policy: The policy.
            policy_id: The id that was announced; empty keeps the one that is known, for a refresh
                without a record.
            now: Unix time in seconds.
        """
        return StsEntry(self.domain, policy, policy_id or self.policy_id, now)

    def failed(self, failure: Failure, reason: str, policy_id: str, now: float) -> StsEntry:
        """Return the entry after a fetch that failed; the policy that holds goes on holding."""
        return replace(
            self,
            failed_at=now,
            failed_id=policy_id,
            failure=failure,
            reason=reason,
            failures=self.failures + 1,
        )

    def _rests(self, policy_id: str, now: float) -> bool:
        """Tell whether a failure is too recent; another id than the one that failed is news."""
        if self.failure is None or now - self.failed_at >= AFTER_FAILURE_S:
            return False
        return not policy_id or policy_id == self.failed_id
