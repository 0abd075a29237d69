"""What the operator's own Postfix asks of every delivery: one more opinion in the join.

Purpose: Postfix takes a policy map's answer in place of ``smtp_tls_security_level``, also where the
answer asks for less. So that an answer of ours never does, the operator's level is joined to it.
Source: postconf(5) smtp_tls_security_level, smtp_tls_secure_cert_match (nexthop, dot-nexthop);
TLS_README, "Client TLS security levels".
Errors: none.
Not handled: ``fingerprint`` asks for something that no level of ours includes, and so do ``dane``
and ``dane-only`` unless ``tls.dane`` has us look at TLSA records ourselves. With them, answers of
ours need the operator's word, ``tls.without_dane``.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.tls.levels import Dane, Level, Requirement

BEYOND_JOINING = frozenset({"dane", "dane-only", "fingerprint"})


@dataclass(frozen=True, slots=True)
class OperatorTls:
    """The level of the service that delivers by default.

    Attributes:
        level: ``smtp_tls_security_level`` in force there, in lower case; empty if it is not set.
        dns: Whether Postfix looks up DNS as DANE needs it.
        dnssec: Whether the service asks for DNSSEC, so that it can carry out DANE itself; ours do.
        relays: Whether mail goes to a relay host and not to the MX hosts of its recipients.
    """

    level: str = ""
    dns: bool = True
    dnssec: bool = False
    relays: bool = False

    @property
    def dane(self) -> Dane:
        """Return what it asks of TLSA records."""
        return {"dane": Dane.OPPORTUNISTIC, "dane-only": Dane.ONLY}.get(self.level, Dane.OFF)

    def requirement(self, domain: str | None) -> Requirement | None:
        """Return what it asks for at a next-hop, or None if that is no more than opportunistic TLS.

        Args:
            domain: The normalised name in the next-hop, or None for an address literal.
        """
        if self.level == "encrypt":
            return Requirement(Level.ENCRYPT)
        if self.level == "verify":
            return Requirement(Level.VERIFY)
        if self.level == "secure":
            # A certificate carries no name for an address literal, so nothing passes; as with
            # Postfix's own secure.
            names = {domain, f".{domain}"} if domain else set()
            return Requirement(Level.VERIFY, match=frozenset(filter(None, names)) or None)
        return None


ASKS_NOTHING = OperatorTls()
