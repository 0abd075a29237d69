"""Which mail server a next-hop leads to, found out while somebody waits for it.

Purpose: a map is asked with a next-hop, and a provider is known by its MX hosts. smtp(8) has just
asked the same resolver the same question, so the answer is in its cache.
Limits: `WAIT_S` for an answer; it is kept for as long as its records say, from 30 s to 1 h, and a
failure for 30 s; `MAX_KNOWN` next-hops, of which those known for the longest go first.
Errors: none; what cannot be found out is None, and then nothing is held back for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gatepost.runtime.tls.mx_hosts import find_hosts
from gatepost.tls.nexthop import NextHop, parse_nexthop
from gatepost.tls.resolver import Resolver

WAIT_S = 5.0
LEAST_S = 30.0
MOST_S = 3_600.0
MAX_KNOWN = 50_000


class MxBook:
    """The preferred MX host of next-hops; to be used within one event loop."""

    def __init__(self, resolver: Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing known.

        Args:
            resolver: Whom to ask.
            clock: Seconds of a clock that only goes forward.
        """
        self._resolver = resolver
        self._clock = clock
        self._known: dict[str, tuple[str | None, float]] = {}
        self._searches: dict[str, asyncio.Task[str | None]] = {}

    async def host_of(self, key: str) -> str | None:
        """Return the preferred host of a next-hop in lower case, or None.

        Args:
            key: The next-hop as Postfix writes it.
        """
        nexthop = parse_nexthop(key)
        if nexthop is None:
            # An address in brackets is its own host, as the log has it.
            return key[1 : key.index("]")].lower() if key[:1] == "[" and "]" in key else None
        if nexthop.bracketed:
            return nexthop.domain
        known = self._known.get(nexthop.domain)
        if known is not None and self._clock() < known[1]:
            return known[0]
        search = self._searches.get(nexthop.domain)
        if search is None:
            search = asyncio.ensure_future(self._search(nexthop))
            self._searches[nexthop.domain] = search
        return await asyncio.shield(search)

    async def _search(self, nexthop: NextHop) -> str | None:
        host, keep_s = None, LEAST_S
        try:
            async with asyncio.timeout(WAIT_S):
                found = await find_hosts(self._resolver, nexthop, dane=False)
            if found.hosts:
                host = found.hosts[0].name.lower()
                keep_s = min(max(found.ttl_s, LEAST_S), MOST_S)
        except TimeoutError:
            pass
        finally:
            del self._searches[nexthop.domain]
        self._known.pop(nexthop.domain, None)
        self._known[nexthop.domain] = (host, self._clock() + keep_s)
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return host
