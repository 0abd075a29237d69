"""A next-hop as Postfix writes it, taken apart.

Source: postconf(5) smtp_tls_policy_maps, transport(5): ``domain``, ``domain:port``, ``[host]`` and
``[host]:port``; brackets forbid the lookup of MX records.
Errors: none; what is no next-hop with a name is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage

# A port is a number or a name of services(5), which may hold hyphens.
_NEXTHOP = re.compile(
    r"(?:\[(?P<host>[^\[\]]+)\]|(?P<domain>[^\[\]:]+))(?::(?P<port>[\w-]+))?", re.ASCII
)
DEFAULT_PORT = "25"


@dataclass(frozen=True, slots=True)
class NextHop:
    """A next-hop that has a name.

    Attributes:
        domain: The normalised name.
        bracketed: Whether it is a host, whose MX records are not looked up.
        port: A number or a name of services(5).
    """

    domain: str
    bracketed: bool = False
    port: str = DEFAULT_PORT


def parse_nexthop(text: str) -> NextHop | None:
    """Return a next-hop taken apart, or None for an address literal or nonsense."""
    found = _NEXTHOP.fullmatch(text)
    if found is None:
        return None
    try:
        name = normalise_domain(found["host"] or found["domain"])
    except MalformedMessage:
        return None
    # "[192.0.2.1]" would pass as four labels.
    if name.rpartition(".")[2].isdigit():
        return None
    return NextHop(name, found["host"] is not None, found["port"] or DEFAULT_PORT)


def nexthop_domain(text: str) -> str | None:
    """Return the normalised name in a next-hop, or None if it has none."""
    found = parse_nexthop(text)
    return None if found is None else found.domain
