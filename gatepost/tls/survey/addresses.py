"""Which addresses belong to servers of the public Internet, and are what they seem to be.

Source: IANA's registries of special-purpose addresses, as Python's ipaddress has them; RFC 4291
§2.5.5 (IPv4 within IPv6), RFC 6052 §2.1 (64:ff9b::/96), RFC 8215, RFC 3056 (6to4), RFC 4380
(Teredo).
Errors: ValueError for what is no address.
Security: a connection to ``::ffff:192.0.2.1`` goes to 192.0.2.1. Whoever publishes such an AAAA
record would have an address visited twice, or one that has opted out.
"""

from __future__ import annotations

import ipaddress

# All but the first two lead back to IPv4 only by way of a translator or relay.
_DISGUISED = tuple(
    map(
        ipaddress.IPv6Network,
        ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    )
)


def is_public(address: str) -> bool:
    """Tell whether an address is a public one, and no IPv4 address in the form of another."""
    number = ipaddress.ip_address(address)
    if not number.is_global or number.is_multicast:
        return False
    return number.version == 4 or not any(number in network for network in _DISGUISED)
