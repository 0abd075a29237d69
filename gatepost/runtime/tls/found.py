"""Find out about a destination for a command or the API, as the policy server would.

Errors: `StoreUnavailable` never: without the store, policies are fetched anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gatepost.domains import domain_of
from gatepost.errors import StoreUnavailable
from gatepost.runtime.loop import run_in_uvloop
from gatepost.runtime.tls.lookups import discovery_for
from gatepost.settings import Loaded, Settings
from gatepost.store.mta_sts import StsStore
from gatepost.store.open import open_sights, open_sts
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.mtasts.entry import StsEntry
from gatepost.tls.nexthop import NextHop
from gatepost.tls.reachability import NO_SIGHTS, Sights
from gatepost.tls.resolver import SelfTest


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out.

    Attributes:
        knowledge: By next-hop.
        test: What is to be thought of the resolver, or None if nobody asked it.
        policies: What is known of MTA-STS policies, by policy domain.
    """

    knowledge: Mapping[NextHop, Knowledge] = field(default_factory=dict)
    test: SelfTest | None = None
    policies: Mapping[str, StsEntry] = field(default_factory=dict)


NOTHING_FOUND = Found()


def find_out(loaded: Loaded, nexthops: Iterable[NextHop]) -> Found:
    """Return what next-hops publish, as far as the configuration has us look.

    Args:
        loaded: The configuration: what to look for, and whom to ask.
        nexthops: The destinations.

    Raises:
        StartError: If the trusted roots cannot be read.
    """
    return run_in_uvloop(find_out_in_loop(loaded, list(nexthops)))


async def find_out_in_loop(loaded: Loaded, nexthops: list[NextHop]) -> Found:
    """Do as `find_out` in a loop that runs already."""
    settings, rules = loaded.settings, loaded.snapshot.tls
    if not rules.discovers:
        return NOTHING_FOUND
    async with discovery_for(
        settings, rules, _stored(settings.local_state), keep=False
    ) as discovery:
        found = await asyncio.gather(*map(discovery.learn, nexthops))
        entries = {each.domain: discovery.policies.entry(each.domain) for each in nexthops}
        known = {domain: entry for domain, entry in entries.items() if entry is not None}
        return Found(dict(zip(nexthops, found, strict=True)), discovery.test, known)


def look_up_sights(settings: Settings, recipient: str) -> Sights:
    """Return what survey and deliveries know of a recipient's domain; nothing without a store."""
    domain = domain_of(recipient)
    if domain is None:
        return NO_SIGHTS
    try:
        with contextlib.closing(open_sights(settings.local_state, create=False)) as store:
            return store.look(domain, time.time())
    except StoreUnavailable:
        return NO_SIGHTS


def _stored(url: str) -> Callable[[], StsStore] | None:
    """Return what opens the store, or None if there is none that we may read."""
    try:
        open_sts(url, create=False).close()
    except StoreUnavailable:
        return None
    return lambda: open_sts(url, create=False)
