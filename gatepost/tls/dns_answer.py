"""What DNS said, in the words that DANE and MTA-STS decide by.

Purpose: decisions look at answers and never at a resolver. Of each answer they need to know whether
there is one, whether DNSSEC vouches for it, and whether its absence is proven or only a failure.
Source: RFC 7672 §2.1.1 (secure, insecure, bogus, indeterminate), §2.1.3 (CNAMEs); RFC 4035 §3.2.3.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

RecordT_co = TypeVar("RecordT_co", covariant=True)


class Outcome(StrEnum):
    """What became of a query."""

    FOUND = "found"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DnsAnswer(Generic[RecordT_co]):
    """The answer to one query.

    Attributes:
        outcome: Found; absent (no such name, or no such record at the name); or failed: SERVFAIL,
            which is also what a validating resolver says for a bogus answer, a timeout, nonsense.
        records: The records, if found.
        secure: Whether a validating resolver vouches for the answer, or for the absence, and for
            every CNAME on the way. Never true with a resolver that does not validate.
        ttl_s: Seconds for which it may be kept.
        canonical: The name at the end of the CNAMEs, a lower-case A-label name; empty if there
            was no CNAME.
        reason: What failed, in a few words.
        servfail: Whether it failed because the resolver found no valid answer, and not because it
            did not answer.
    """

    outcome: Outcome
    records: tuple[RecordT_co, ...] = ()
    secure: bool = False
    ttl_s: int = 0
    canonical: str = ""
    reason: str = ""
    servfail: bool = False

    @property
    def failed(self) -> bool:
        """Tell whether nothing is known."""
        return self.outcome is Outcome.FAILED


@dataclass(frozen=True, slots=True)
class Mx:
    """A mail exchanger.

    Attributes:
        preference: Lower is tried first.
        host: Normalised host name; empty for the null MX (RFC 7505) and for what is no host name.
    """

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1).

    Attributes:
        usage: 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
        selector: 0 the whole certificate, 1 its public key.
        matching: 0 the octets themselves, 1 SHA-256, 2 SHA-512.
        data: What is matched.
    """

    usage: int
    selector: int
    matching: int
    data: bytes
