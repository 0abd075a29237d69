"""Find the mail exchangers of a next-hop and what their TLSA records are, by DNS.

Purpose: the lookups of RFC 7672 §2.2, in its order; what follows from them is for
`gatepost.tls.dane` to say.
Source: RFC 5321 §5.1 (MX, and the implicit one), RFC 7505 (null MX), RFC 7672 §2.2.2 (addresses
before TLSA, and no TLSA lookup for insecure ones), §2.2.3 (the name behind a CNAME first).
Limits: 8 hosts at once; a destination of more than 100 MX records is a failed lookup.
Errors: none; a lookup that failed is part of what was found.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from gatepost.tls.dane import MxHost, state_of
from gatepost.tls.dns_answer import DnsAnswer, Outcome, Tlsa
from gatepost.tls.nexthop import NextHop
from gatepost.tls.resolver import Resolver

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Hosts:
    """What was found.

    Attributes:
        hosts: The mail exchangers, the most preferred first.
        failure: Why they could not be found, or empty.
        ttl_s: Seconds for which all of it may be kept.
        secure: Whether the list is authentic.
    """

    hosts: tuple[MxHost, ...] = ()
    failure: str = ""
    ttl_s: int = 0
    secure: bool = True


async def find_hosts(resolver: Resolver, nexthop: NextHop, *, dane: bool) -> Hosts:
    """Return the mail exchangers of a next-hop.

    Args:
        resolver: Whom to ask.
        nexthop: The next-hop.
        dane: Whether to look for TLSA records.
    """
    names, found = await _names(resolver, nexthop)
    if found.failed:
        return Hosts((), found.reason, found.ttl_s)
    if not dane:
        return Hosts(tuple(map(MxHost, names)), "", found.ttl_s, found.secure)
    port = port_number(nexthop.port)
    if port is None:
        return Hosts((), f"port {nexthop.port} is in no services(5)", found.ttl_s)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> tuple[MxHost, int]:
        async with turns:
            return await _host(resolver, name, port)

    each = await asyncio.gather(*map(one, names))
    ttls = [ttl_s for _, ttl_s in each]
    hosts = tuple(host for host, _ in each)
    return Hosts(hosts, "", min([found.ttl_s, *ttls]), found.secure)


def port_number(port: str) -> int | None:
    """Return the number of a port, or None for a name that services(5) does not have."""
    try:
        return int(port) if port.isdecimal() else socket.getservbyname(port, "tcp")
    except (OSError, ValueError):
        return None


async def _names(resolver: Resolver, nexthop: NextHop) -> tuple[list[str], DnsAnswer[object]]:
    if nexthop.bracketed:
        return [nexthop.domain], DnsAnswer(Outcome.FOUND, secure=True, ttl_s=_NO_LIMIT_S)
    answer = await resolver.mx(nexthop.domain)
    if answer.outcome is Outcome.ABSENT:
        return [nexthop.domain], answer
    # What is no host name, the null MX included, is passed over, as Postfix does; so is an address
    # literal in the place of a name, which no certificate and no TLSA record can be for.
    names = [
        mx.host
        for mx in sorted(answer.records, key=lambda mx: (mx.preference, mx.host))
        if mx.host and not mx.host.rpartition(".")[2].isdigit()
    ]
    return list(dict.fromkeys(names)), answer


_NO_LIMIT_S = 2**31


async def _host(resolver: Resolver, name: str, port: int) -> tuple[MxHost, int]:
    addresses = await resolver.addresses(name)
    answers = await find_tlsa(resolver, name, addresses, port)
    state, reason = state_of(addresses, answers)
    return MxHost(name, state, reason), min(each.ttl_s for each in (addresses, *answers))


async def find_tlsa(
    resolver: Resolver, name: str, addresses: DnsAnswer[str], port: int = 25
) -> list[DnsAnswer[Tlsa]]:
    """Return the TLSA lookups for a host, up to the first that is more than an absence.

    Args:
        resolver: Whom to ask.
        name: The host.
        addresses: What is known of its addresses; insecure ones have no TLSA records.
        port: Where the server listens.
    """
    answers: list[DnsAnswer[Tlsa]] = []
    for base in await _bases(resolver, name, addresses):
        answers.append(await resolver.tlsa(base, port))
        if answers[-1].outcome is not Outcome.ABSENT:
            break
    return answers


async def _bases(resolver: Resolver, name: str, addresses: DnsAnswer[str]) -> list[str]:
    """Return the TLSA base domains of a host, in the order in which they are tried."""
    if addresses.outcome is not Outcome.FOUND:
        return []
    if addresses.secure:
        return [each for each in (addresses.canonical, name) if each]
    # An alias may be secure although what it points at is not (RFC 7672 §2.2.2).
    if addresses.canonical and (await resolver.cname(name)).secure:
        return [name]
    return []
