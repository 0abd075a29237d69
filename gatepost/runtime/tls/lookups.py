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
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import StartError
from gatepost.runtime.tls.discovery import Discovery, Wanted
from gatepost.runtime.tls.sts_policies import StsPolicies
from gatepost.settings import Settings
from gatepost.store.mta_sts import StsStore
from gatepost.tls.mtasts.entry import Failure
from gatepost.tls.mtasts.fetching import FetchError
from gatepost.tls.mtasts.policy import StsPolicy
from gatepost.tls.resolver import Resolver
from gatepost.tls.rules import TlsRules

if TYPE_CHECKING:
    from gatepost.tls.fetch import Fetcher


@dataclass(frozen=True, slots=True)
class Counting:
    """Where searches and fetches are counted, each by its result."""

    search: Callable[[str], None] = lambda _: None
    fetch: Callable[[str], None] = lambda _: None


NOT_COUNTED = Counting()


class _Fetcher:
    """The fetcher, made when the first policy is wanted: its HTTP library takes a while to load."""

    def __init__(self, resolver: Resolver, ca_file: Path | None) -> None:
        if ca_file is not None:
            # Told at the start, and not when the first policy is wanted.
            try:
                ssl.create_default_context(cafile=str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise StartError(f"dns.https_ca_file {ca_file} cannot be read: {error}") from error
        self._resolver = resolver
        self._ca_file = ca_file
        self._made: Fetcher | None = None

    async def fetch(self, domain: str) -> StsPolicy:
        if self._made is None:
            from gatepost.tls.fetch import Fetcher  # noqa: PLC0415  # see the class

            try:
                self._made = Fetcher(self._resolver, ca_file=self._ca_file)
            except (OSError, ssl.SSLError) as error:
                raise FetchError(Failure.FETCH, f"dns.https_ca_file: {error}") from error
        return await self._made.fetch(domain)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


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
    fetcher = _Fetcher(resolver, settings.https_ca_file)
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
        # First what is open: a fetch that was cancelled would leave its connection behind.
        await fetcher.close()
        await policies.close()
