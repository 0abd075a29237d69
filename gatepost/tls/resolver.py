"""Ask a validating resolver, and tell what is proven from what is only said.

Purpose: the one place that sends DNS queries for decisions and for the survey.
Source: RFC 4035 §3.2.3 (AD), RFC 6840 §5.7 (AD in a query), RFC 7672 §2.1; RFC 9715 (1,232 octets
over UDP); Postfix TLS_README, "DANE TLS authentication": the resolver has to be on the host itself.
Limits: 3 s for a first try and 5 s for a second one at each server, so that a dead server costs no
more than a lookup may take; an answer of more than 100 records is a failure. 500 queries
at once.
Errors: none; whatever goes wrong is an answer whose outcome is `Outcome.FAILED`.
Security: what a server says is authentic is believed only after `Resolver.self_test`, and a server
that is not on this host can be imitated by whoever changes packets on the way.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.resolver

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.tls.dns_answer import DnsAnswer, Mx, Outcome, Tlsa

TRIES_S = (3.0, 5.0)
MAX_RECORDS = 100
QUERIES_AT_ONCE = 500
EDNS_OCTETS = 1232
PORT = 53
# The root is signed, and needs nobody's zone; the other is broken on purpose by its owner.
SIGNED = "."
BOGUS = "dnssec-failed.org"
# A TTL of 0 would have us ask for each message.
LEAST_TTL_S = 5

RecordT = TypeVar("RecordT")


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Whether a resolver validates.

    Attributes:
        validates: Whether it vouches for what is signed and refuses what is forged.
        reason: Why not, as half a sentence; empty if it does.
        local: Whether all servers are on this host.
        answered: Whether it said anything; if not, nothing is known of it.
    """

    validates: bool
    reason: str
    local: bool
    answered: bool = True


class Resolver:
    """Queries to the name servers of this host.

    Attributes:
        servers: Their IP addresses, in the order in which they are asked.
        validates: Whether `self_test` found that answers may be called secure.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        port: int = PORT,
        tries_s: Sequence[float] = TRIES_S,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            servers: Name servers; those of resolv.conf if empty.
            port: Where they listen.
            tries_s: Seconds that each round of queries may take.
        """
        self.servers = tuple(servers) or nameservers()
        self.validates = False
        self._port = port
        self._tries_s = tuple(tries_s)
        self._asked = self.servers
        self._turns = asyncio.Semaphore(QUERIES_AT_ONCE)

    async def mx(self, domain: str) -> DnsAnswer[Mx]:
        """Return the mail exchangers of a domain as published; no implicit one (RFC 5321 §5.1)."""
        return await self._find(
            domain, "MX", lambda rdata: Mx(rdata.preference, host_name(rdata.exchange))
        )

    async def addresses(self, host: str) -> DnsAnswer[str]:
        """Return IPv4 and IPv6 addresses; secure only if all that was found is.

        One failure of two is no failure if the other query found something.
        """
        four, six = await asyncio.gather(
            *(self._find(host, kind, lambda rdata: str(rdata.address)) for kind in ("A", "AAAA"))
        )
        found = [answer for answer in (four, six) if answer.outcome is Outcome.FOUND]
        if not found:
            return four if four.failed else six
        return DnsAnswer(
            Outcome.FOUND,
            tuple(record for answer in found for record in answer.records),
            all(answer.secure for answer in found),
            min(answer.ttl_s for answer in found),
            found[0].canonical,
        )

    async def tlsa(self, host: str, port: int = 25) -> DnsAnswer[Tlsa]:
        """Return the TLSA records of a server (RFC 6698 §3)."""
        return await self._find(
            f"_{port}._tcp.{host}",
            "TLSA",
            lambda rdata: Tlsa(rdata.usage, rdata.selector, rdata.mtype, bytes(rdata.cert)),
        )

    async def txt(self, name: str) -> DnsAnswer[bytes]:
        """Return TXT records, the strings of each joined without a blank (RFC 8461 §3.1)."""
        return await self._find(name, "TXT", lambda rdata: b"".join(rdata.strings))

    async def cname(self, name: str) -> DnsAnswer[str]:
        """Return the alias at a name itself, which may be secure where its target is not."""
        return await self._find(name, "CNAME", lambda rdata: host_name(rdata.target))

    async def pointer(self, address: str) -> DnsAnswer[str]:
        """Return the names of an IP address."""
        reverse = ipaddress.ip_address(address).reverse_pointer
        return await self._find(reverse, "PTR", lambda rdata: host_name(rdata.target))

    async def self_test(self, signed: str = SIGNED, bogus: str = BOGUS) -> SelfTest:
        """Find out which servers validate, and from now on ask only these, if there are any.

        A server that says nothing is neither: it keeps the name that it has.

        Args:
            signed: A name in a signed zone.
            bogus: A name whose signature is wrong.
        """
        local = bool(self.servers) and all(map(_is_local, self.servers))
        if not self.servers:
            return SelfTest(self.validates, _NO_SERVER, local, answered=False)
        found = await asyncio.gather(*(self._judge(each, signed, bogus) for each in self.servers))
        verdicts = dict(zip(self.servers, found, strict=True))
        good = {server for server, reason in verdicts.items() if not reason}
        silent = {server for server, reason in verdicts.items() if reason.startswith(_SILENT)}
        if silent == set(self.servers):
            return SelfTest(self.validates, found[0], local, answered=False)
        validating = good | (silent & set(self._asked) if self.validates else set())
        self.validates = bool(validating)
        self._asked = tuple(each for each in self.servers if each in validating) or self.servers
        others = [reason for reason in found if reason and not reason.startswith(_SILENT)]
        return SelfTest(self.validates, "" if self.validates else (others or found)[0], local)

    async def _judge(self, server: str, signed: str, bogus: str) -> str:
        """Return why a server does not validate; empty if it does."""
        reply, _ = await self._ask(signed, "SOA", (server,))
        if isinstance(reply, str):
            return f'{_SILENT} for "{signed}": {reply}'
        if not reply.flags & dns.flags.AD:
            return f'{server} does not vouch for "{signed}", which is signed'
        forged, refused = await self._ask(bogus, "SOA", (server,))
        if not isinstance(forged, str):
            if forged.rcode() == dns.rcode.NOERROR:
                return f"{server} answers for {bogus}, whose signature is bad"
            return f"{server} says that there is no {bogus}, by which it could be tested"
        # Only SERVFAIL says that it has looked at the signature.
        return "" if refused else f"{_SILENT} for {bogus}: {forged}"

    async def _find(
        self, name: str, kind: str, read: Callable[[Any], RecordT]
    ) -> DnsAnswer[RecordT]:
        reply, servfail = await self._ask(name, kind, self._asked)
        if isinstance(reply, str):
            return DnsAnswer(Outcome.FAILED, reason=reply, servfail=servfail)
        try:
            return _read(reply, read, secure=self.validates)
        except (dns.exception.DNSException, ValueError) as error:
            return DnsAnswer(Outcome.FAILED, reason=f"{name} {kind}: {error}")

    async def _ask(
        self, name: str, kind: str, servers: Sequence[str]
    ) -> tuple[dns.message.QueryMessage | str, bool]:
        """Return a reply with code NOERROR or NXDOMAIN, or why there is none.

        The second value tells whether that is SERVFAIL, which is an answer of a kind.
        """
        try:
            query = dns.message.make_query(name, kind)
        except dns.exception.DNSException as error:
            return f"{name} {kind}: {error}", False
        query.use_edns(0, dns.flags.DO, EDNS_OCTETS)
        query.flags |= dns.flags.AD
        reason = f"{name} {kind}: no name server"
        for timeout_s in self._tries_s:
            for server in servers:
                try:
                    # Each query has a socket of its own; there are only so many.
                    async with self._turns:
                        reply, _ = await dns.asyncquery.udp_with_fallback(
                            query, server, timeout=timeout_s, port=self._port
                        )
                except (dns.exception.DNSException, OSError, EOFError) as error:
                    text = str(error) or type(error).__name__
                    reason = f"{name} {kind}: {server}: {text}"
                    continue
                if isinstance(reply, dns.message.QueryMessage) and reply.rcode() in _ANSWERS:
                    return reply, False
                reason = f"{name} {kind}: {dns.rcode.to_text(reply.rcode())}"
                if reply.rcode() == dns.rcode.SERVFAIL:
                    # The resolver has tried already; to ask it again only makes mail wait.
                    return reason, True
        return reason, False


_SILENT = "no answer"
_NO_SERVER = "no name server is configured"
_ANSWERS = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def nameservers() -> tuple[str, ...]:
    """Return the name servers of resolv.conf; none if it cannot be read."""
    try:
        found = dns.resolver.Resolver().nameservers
    except dns.exception.DNSException:
        return ()
    return tuple(str(each) for each in found)


def host_name(name: dns.name.Name) -> str:
    """Return a name in the form of `normalise_domain`, or empty for one that no host can have."""
    try:
        return normalise_domain(name.to_text(omit_final_dot=True))
    except MalformedMessage:
        return ""


def _read(
    reply: dns.message.QueryMessage, read: Callable[[Any], RecordT], *, secure: bool
) -> DnsAnswer[RecordT]:
    chain = reply.resolve_chaining()
    authentic = secure and bool(reply.flags & dns.flags.AD)
    ttl_s = max(LEAST_TTL_S, chain.minimum_ttl)
    canonical = host_name(chain.canonical_name) if chain.cnames else ""
    if chain.answer is None:
        return DnsAnswer(Outcome.ABSENT, (), authentic, ttl_s, canonical)
    if len(chain.answer) > MAX_RECORDS:
        return DnsAnswer(Outcome.FAILED, reason=f"more than {MAX_RECORDS} records")
    return DnsAnswer(Outcome.FOUND, tuple(map(read, chain.answer)), authentic, ttl_s, canonical)


def _is_local(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return False
