"""What was found out about one destination: mail exchangers, TLSA records, MTA-STS policy.

Purpose: the facts that `answer` joins to the rules. It holds what the network said and decides
nothing; the runtime finds it out, keeps it for a while, and hands it to decisions.
Source: RFC 8461 §3.4 (the policy domain is that of the next-hop), RFC 7672 §2.2.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.tls.dane import MxHost
from gatepost.tls.mtasts.policy import StsPolicy

# From this share of its time on, an answer is found out anew beside being given.
AHEAD = 0.8


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of one destination.

    Attributes:
        hosts: Its mail exchangers, the most preferred first; the next-hop itself where Postfix
            looks up no MX records for it.
        dane: Whether TLSA records were looked for, with a resolver that validates.
        sts: The MTA-STS policy in force, or None.
        sts_id: The id under which it was announced.
        sts_domain: The policy domain.
        failure: Why too little is known: the lookup of MX records failed; else empty.
        learned_at: Unix time in seconds.
        fresh_until: Unix time until which it may be used without another look.
        mx_secure: Whether the list of hosts is authentic; true without a list.
        sts_failure: Why it is not known whether there is an MTA-STS policy, where none holds: the
            TXT record could not be looked up, or what it announces could not be fetched; else
            empty. RFC 8461 §3.1 and §3.3 have a sender go on as without one.
    """

    hosts: tuple[MxHost, ...] = ()
    dane: bool = False
    sts: StsPolicy | None = None
    sts_id: str = ""
    sts_domain: str = ""
    failure: str = ""
    learned_at: float = 0.0
    fresh_until: float = 0.0
    mx_secure: bool = True
    sts_failure: str = ""

    @property
    def renew_at(self) -> float:
        """Return from when on it is to be found out anew, beside being used."""
        return self.learned_at + AHEAD * (self.fresh_until - self.learned_at)
