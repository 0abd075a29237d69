"""Whether the resolver that Postfix uses validates DNSSEC.

Purpose: with a resolver that does not, DANE is off without a word, and whoever can forge an answer
chooses the server that mail goes to. This module sends DNS queries.
Source: RFC 4035 §3.2.3 (the AD bit), §5.5 (SERVFAIL for what does not validate); TLS_README,
"DANE TLS authentication", for why the resolver has to be on the host itself.
Limits: 5 s for each query.
Errors: none are raised: a query without an answer is a finding.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.resolver

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene

TIMEOUT_S = 5.0
# The root is signed, and needs nobody's zone; the other is broken on purpose by its owner.
SIGNED = "."
BOGUS = "dnssec-failed.org"

_USE_UNBOUND = (
    "apt-get install unbound",
    "make 127.0.0.1 the only nameserver in /etc/resolv.conf",
    "postfix reload",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resolver said.

    Attributes:
        rcode: Response code.
        authentic: Whether it vouches for the answer (the AD bit).
    """

    rcode: int
    authentic: bool


def nameservers() -> list[str]:
    """Return the name servers of resolv.conf; none if it cannot be read."""
    try:
        found = dns.resolver.Resolver().nameservers
    except dns.exception.DNSException:
        return []
    return [str(each) for each in found]


def ask(server: str, name: str, timeout_s: float = TIMEOUT_S) -> Answer | None:
    """Return what a name server says about a name, or None if it says nothing."""
    query = dns.message.make_query(dns.name.from_text(name), "SOA", want_dnssec=True)
    query.flags |= dns.flags.AD
    try:
        reply, _ = dns.query.udp_with_fallback(query, server, timeout=timeout_s)
    except (dns.exception.DNSException, OSError):
        return None
    return Answer(int(reply.rcode()), bool(reply.flags & dns.flags.AD))


def check(scene: Scene) -> Iterator[Finding]:
    """Look at each name server of the host."""
    signed, bogus = scene.dns_names or (SIGNED, BOGUS)
    servers = nameservers()
    if not servers:
        yield problem(
            "No name server is configured in /etc/resolv.conf.",
            "Postfix cannot find the servers of any domain.",
            *_USE_UNBOUND,
        )
    for server in servers:
        yield from _judge(scene, server, signed, bogus)


def _judge(scene: Scene, server: str, signed: str, bogus: str) -> Iterator[Finding]:
    answer = ask(server, signed)
    if answer is None:
        yield problem(
            f"The name server {server} does not answer.",
            "Each look-up waits for it before the next one is asked; mail is slow or waits.",
            "look at /etc/resolv.conf",
        )
        return
    if answer.rcode == dns.rcode.NOERROR and not answer.authentic:
        yield _not_validating(scene, server, f'it does not vouch for "{signed}", which is signed')
        return
    forged = ask(server, bogus)
    if forged is not None and forged.rcode == dns.rcode.NOERROR:
        yield _not_validating(scene, server, f"it answers for {bogus}, whose signature is bad")
    elif not _on_this_host(server):
        yield warning(
            f"The name server {server} is not on this host.",
            "It says that answers are authentic, and whoever can change packets on the way can say "
            "so as well.",
            *_USE_UNBOUND,
        )


def _not_validating(scene: Scene, server: str, how: str) -> Finding:
    dane = scene.level.startswith("dane") or (scene.snapshot and scene.snapshot.tls.dane)
    return (problem if dane else warning)(
        f"The name server {server} does not validate DNSSEC: {how}.",
        "DANE is off without a word, and for verify the name of the server to be verified comes "
        "from answers that can be forged.",
        *_USE_UNBOUND,
    )


def _on_this_host(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return False
