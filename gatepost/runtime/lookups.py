"""Resolver, policies and discovery, put together from the settings.

Purpose: the policy server and the command line have to find out the same.
Errors: `StartError` for a file of trusted roots that cannot be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gatepost.errors import StartError
from gatepost.runtime.discovery import Discovery, Wanted
from gatepost.runtime.sts_policies import StsPolicies
from gatepost.settings import Settings
from gatepost.store.mta_sts import StsStore
from gatepost.tls.fetch import Fetcher
from gatepost.tls.resolver import Resolver
from gatepost.tls.rules import TlsRules


@dataclass(frozen=True, slots=True)
class Counting:
    """Where searches and fetches are counted, each by its result."""

    search: Callable[[str], None] = lambda _: None
    fetch: Callable[[str], None] = lambda _: None


NOT_COUNTED = Counting()


def wanted_by(rules: TlsRules) -> Wanted:
    """Return what a configuration has us find out."""
    return Wanted(rules.dane, rules.mta_sts)


@contextlib.asynccontextmanager
async def discovery_for(
    settings: Settings,
    rules: TlsRules,
    open_store: Callable[[], StsStore] | None,
    counting: Counting = NOT_COUNTED,
    *,
    keep: bool = True,
) -> AsyncIterator[Discovery]:
    """Give what finds out about destinations, with a tested resolver and the stored policies.

    Args:
        settings: Name servers, names to test them by, trusted roots.
        rules: What is to be found out.
        open_store: Opens the store of policies; None for no store.
        counting: Where results are counted.
        keep: Whether to refresh and write policies and to test the resolver again, as long as the
            block runs; a command that looks once does not.

    Raises:
        StartError: If the trusted roots cannot be read.
    """
    resolver = Resolver(settings.dns_servers)
    try:
        fetcher = Fetcher(resolver, ca_file=settings.https_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"dns.https_ca_file {settings.https_ca_file} cannot be read: {error}"
        ) from error
    policies = StsPolicies(fetcher, open_store, clock=time.time, count=counting.fetch)
    discovery = Discovery(
        resolver,
        policies,
        wanted_by(rules),
        clock=time.time,
        count=counting.search,
        names=(settings.dns_signed, settings.dns_bogus),
    )
    if rules.mta_sts:
        await policies.load()
    tasks = []
    if keep:
        tasks = [
            asyncio.create_task(discovery.keep_testing()),
            asyncio.create_task(policies.run()),
        ]
    elif rules.dane:
        await discovery.self_test()
    try:
        yield discovery
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await policies.close()
        await fetcher.close()
