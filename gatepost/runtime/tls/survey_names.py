"""From the names that a survey is given to the servers behind them, by DNS.

Purpose: MX records, addresses, TLSA records and the MTA-STS policy of many domains, each host
looked up once in a run however many domains name it; and whether the name that we give ourselves in
EHLO fits the address that we come from.
Source: RFC 5321 §5.1 (implicit MX), RFC 7505 (null MX), RFC 8461 §3.1; RFC 1912 §2.1 (PTR and
address must match).
Limits: of a domain its 20 most preferred hosts and of a host 20 addresses, as whoever publishes
more could have us visit thousands of strangers; addresses that are not public (MX records point at
localhost by the million) are left out, and so is IPv4 in the form of IPv6, but for networks that
the operator names.
Errors: none for domains, whose failed lookups are part of what is known; `check_name` raises
`GatepostError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gatepost.errors import GatepostError
from gatepost.runtime.tls.mx_hosts import find_tlsa
from gatepost.tls.dane import state_of
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.fetch import Fetcher
from gatepost.tls.mtasts.fetching import FetchError
from gatepost.tls.mtasts.record import LABEL, read_records
from gatepost.tls.nexthop import NextHop
from gatepost.tls.resolver import Resolver
from gatepost.tls.survey.addresses import is_public
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, ResolvedDomain, ResolvedHost, Sts
from gatepost.tls.survey.model import Target
from gatepost.tls.survey.optout import OptOut
from gatepost.tls.survey.probe import BOTH_VERSIONS

MAX_HOSTS = 20
MAX_ADDRESSES = 20
KEPT_HOSTS = 200_000
# Documentation addresses, which no packet reaches: only asked which of ours would be used.
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Found:
    """A name with its hosts.

    Attributes:
        domain: What DNS says of it.
        hosts: Those of its hosts that were looked up for it now, and not before in this run.
        targets: Whom to probe for it.
    """

    domain: ResolvedDomain
    hosts: tuple[ResolvedHost, ...]
    targets: tuple[Target, ...]


class Names:
    """Looks names up; to be used within one event loop."""

    def __init__(
        self,
        resolver: Resolver,
        fetcher: Fetcher | None,
        opt_out: OptOut,
        *,
        also: Sequence[Network] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin with nothing known.

        Args:
            resolver: Whom to ask.
            fetcher: Fetches MTA-STS policies; None to leave them out.
            opt_out: Whom not to probe.
            also: Networks whose addresses are probed though they are not public.
            clock: Tells Unix time.
        """
        self._resolver = resolver
        self._fetcher = fetcher
        self._opt_out = opt_out
        self._also = tuple(also)
        self._clock = clock
        self._hosts: OrderedDict[str, asyncio.Task[ResolvedHost]] = OrderedDict()

    async def find(self, name: NextHop) -> Found:
        """Return a name with its hosts."""
        domain = await self._domain(name)
        new: list[ResolvedHost] = []
        targets: list[Target] = []
        for mx in domain.hosts:
            task = self._hosts.get(mx.host)
            if task is None:
                task = self._hosts[mx.host] = asyncio.create_task(self._host(mx.host))
                new.append(await task)
                if len(self._hosts) > KEPT_HOSTS:
                    self._hosts.popitem(last=False)
            host = await task
            targets += [Target(each, host.host, host.records) for each in host.addresses]
        return Found(domain, tuple(new), tuple(targets))

    def welcome(self, name: NextHop) -> bool:
        """Tell whether the servers of a name may be probed on its account."""
        return not self._opt_out.covers_name(name.domain)

    def may_probe(self, target: Target) -> bool:
        """Tell whether a server may be probed."""
        if self._opt_out.covers_address(target.address):
            return False
        if self._opt_out.covers_name(target.host):
            return False
        if is_public(target.address):
            return True
        number = ipaddress.ip_address(target.address)
        return any(number in network for network in self._also)

    async def _domain(self, name: NextHop) -> ResolvedDomain:
        at = self._clock()
        if name.bracketed:
            # No MX lookup, as Postfix has it; the brackets keep it apart from a domain of the name.
            itself = (MxOf(name.domain, 0),)
            return ResolvedDomain(f"[{name.domain}]", at, MxOutcome.IMPLICIT, itself)
        mx, sts = await asyncio.gather(self._resolver.mx(name.domain), self._sts(name.domain))
        if mx.failed:
            return ResolvedDomain(name.domain, at, MxOutcome.FAILED)
        if mx.outcome is Outcome.ABSENT:
            return await self._implicit(name.domain, at, sts)
        best: dict[str, int] = {}
        for preference, host in sorted((each.preference, each.host) for each in mx.records):
            if host:
                best.setdefault(host, preference)
        hosts = tuple(MxOf(*each) for each in list(best.items())[:MAX_HOSTS])
        outcome = MxOutcome.FOUND if hosts else MxOutcome.NULL
        return ResolvedDomain(name.domain, at, outcome, hosts, mx.secure, sts)

    async def _implicit(self, domain: str, at: float, sts: Sts) -> ResolvedDomain:
        own = await self._resolver.addresses(domain)
        if own.failed:
            return ResolvedDomain(domain, at, MxOutcome.FAILED)
        if own.outcome is Outcome.ABSENT:
            return ResolvedDomain(domain, at, MxOutcome.ABSENT)
        return ResolvedDomain(domain, at, MxOutcome.IMPLICIT, (MxOf(domain, 0),), own.secure, sts)

    async def _host(self, host: str) -> ResolvedHost:
        at = self._clock()
        addresses = await self._resolver.addresses(host)
        answers = await find_tlsa(self._resolver, host, addresses)
        state, _ = state_of(addresses, answers)
        last = answers[-1] if answers else None
        records = last.records if last is not None and last.secure else ()
        found = addresses.records[:MAX_ADDRESSES]
        return ResolvedHost(host, at, addresses.outcome, found, addresses.secure, state, records)

    async def _sts(self, domain: str) -> Sts:
        if self._fetcher is None:
            return Sts.NOT_ASKED
        texts = await self._resolver.txt(f"{LABEL}.{domain}")
        if texts.failed:
            return Sts.FAILED
        announced = read_records(texts.records)
        if not announced.policy_id:
            return Sts.FAILED if announced.problem else Sts.ABSENT
        try:
            policy = await self._fetcher.fetch(domain)
        except FetchError:
            return Sts.FAILED
        return Sts(policy.mode.value)


def own_addresses(
    sources: Sequence[str],
    also: Sequence[Network] = (),
    versions: Collection[int] = BOTH_VERSIONS,
) -> list[str]:
    """Return the addresses that probes come from: those chosen, or else the kernel's choice.

    Args:
        sources: Addresses that were chosen.
        also: Networks that are probed beside the public ones.
        versions: IP versions that are used.
    """
    have = {ipaddress.ip_address(each).version for each in sources}
    elsewhere = [*_ELSEWHERE, *(str(network[1]) for network in also if network.num_addresses > 1)]
    found = list(sources)
    for address in elsewhere:
        version = ipaddress.ip_address(address).version
        if version in have or version not in versions:
            continue
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        # No route for this version, and nobody is probed over it.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 25))
            found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))


async def check_name(resolver: Resolver, name: str, addresses: Sequence[str]) -> None:
    """Make sure that our name and our addresses vouch for each other.

    Args:
        resolver: Whom to ask.
        name: What we say in EHLO, normalised.
        addresses: What we connect from.

    Raises:
        GatepostError: If they do not; says what to do.
    """
    remedy = (
        f"have the PTR record of the address say {name}, or name the host that it says with --ehlo "
        "or another of our addresses with --source; --force-ehlo goes on all the same, and "
        "some servers will refuse us or list us"
    )
    if not addresses:
        raise GatepostError("this host has no address with a route to the Internet")
    forward = await resolver.addresses(name)
    for address in addresses:
        pointer = await resolver.pointer(address)
        if name not in pointer.records:
            said = ", ".join(pointer.records[:3]) or pointer.reason or "nothing"
            raise GatepostError(f"the PTR record of {address} says {said}, not {name}; {remedy}")
        if address not in forward.records:
            said = ", ".join(forward.records[:3]) or forward.reason or "no address"
            raise GatepostError(f"{name} has {said}, not {address}; {remedy}")
