"""Who does not want to be probed.

Format: one entry a line: a domain (covers its sub-domains, mail exchangers and domains alike), an
IP address, or a network such as ``192.0.2.0/24``; ``#`` begins a comment.
Errors: `parse_opt_out` raises `MalformedMessage` that names the line: an entry that is not
understood is somebody who would be probed against their will.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatepost.domains import normalise_domain, parents
from gatepost.errors import MalformedMessage

_RULE = "a domain, an address or a network on each line"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class OptOut:
    """Domains and networks to leave alone.

    Attributes:
        domains: Normalised names; sub-domains are covered.
        networks: By version and length of the prefix, each as a number, for lookups in one step.
    """

    domains: frozenset[str] = frozenset()
    networks: frozenset[tuple[int, int, int]] = frozenset()
    _lengths: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    def covers_name(self, name: str) -> bool:
        """Tell whether a domain or host is left alone."""
        if not self.domains:
            return False
        return name in self.domains or any(each[1:] in self.domains for each in parents(name))

    def covers_address(self, address: str) -> bool:
        """Tell whether an address is left alone."""
        if not self._lengths:
            return False
        number = ipaddress.ip_address(address)
        return any(
            version == number.version
            and (version, length, int(number) >> (number.max_prefixlen - length)) in self.networks
            for version, length in self._lengths
        )


def parse_opt_out(lines: Iterable[str]) -> OptOut:
    """Return the list.

    Raises:
        MalformedMessage: For a line that is none of the three.
    """
    domains: set[str] = set()
    networks: set[tuple[int, int, int]] = set()
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        network = _network(entry)
        if network is not None:
            prefix = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            networks.add((network.version, network.prefixlen, prefix))
            continue
        name = _domain(entry)
        if not name:
            raise MalformedMessage(f"line {number}: {entry[:60]!a}", rule=_RULE)
        domains.add(name)
    lengths = tuple(sorted({(version, length) for version, length, _ in networks}))
    return OptOut(frozenset(domains), frozenset(networks), lengths)


def _domain(entry: str) -> str:
    try:
        name = normalise_domain(entry.lstrip("."))
    except MalformedMessage:
        return ""
    # No top-level domain is without a letter: this is a mistyped address, or a range of them.
    return name if any(map(str.isalpha, name.rpartition(".")[2])) else ""


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
