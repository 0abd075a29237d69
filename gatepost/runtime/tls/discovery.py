"""What is known of destinations: found out when a delivery asks, and kept while it is fresh.

Purpose: between the map that has to answer at once and the network that takes its time. A fresh
answer comes from memory; others wait for one search, however many of them there are.
Source: RFC 8461 §5.1 (look for a new policy before a refusal), RFC 7672 §2.1.2 (errors).
Limits: 20 s for what DNS says, and 10 s more for an MTA-STS policy; what was found is kept for
the TTL of its records, at least 30 s and at most 1 h, 5 min where an MTA-STS policy holds, and 30 s
where something could not be looked up. 50,000 destinations of two hosts each take 31 MiB; the one
that was found out first goes first.
Errors: none; what could not be found out is part of the knowledge.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatepost.runtime.log import log_event
from gatepost.runtime.tls.mx_hosts import Hosts, find_hosts
from gatepost.runtime.tls.sts_policies import StsPolicies
from gatepost.tls.dane import TlsaState
from gatepost.tls.dns_answer import DnsAnswer, Outcome
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.mtasts.entry import StsEntry
from gatepost.tls.mtasts.record import LABEL, read_records
from gatepost.tls.nexthop import NextHop
from gatepost.tls.resolver import Resolver, SelfTest

SEARCH_S = 20.0
LEAST_S = 30.0
MOST_S = 3_600.0
# An owner who changes the policy, and whose MX hosts no longer fit the old one, waits this long.
MOST_WITH_STS_S = 300.0
MAX_DESTINATIONS = 50_000
TEST_EVERY_S = 300.0
TEST_AGAIN_S = 30.0

_log = logging.getLogger("gatepost.discovery")
_UNCERTAIN = {TlsaState.HIDDEN, TlsaState.UNREACHABLE}
# In the place of a record that nobody wants.
_NOT_ASKED: DnsAnswer[bytes] = DnsAnswer(Outcome.ABSENT, ttl_s=int(MOST_S))
_NOT_ANSWERED: DnsAnswer[bytes] = DnsAnswer(Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be found out.

    Attributes:
        dane: TLSA records.
        mta_sts: MTA-STS policies.
    """

    dane: bool
    mta_sts: bool


class Discovery:
    """What is known; to be used within one event loop.

    Attributes:
        resolver: Who is asked.
        policies: The MTA-STS policies.
        test: What the last test of the resolver found, or None before the first.
        generation: How often all that was known was dropped; answers made of it are worth no more.
    """

    def __init__(
        self,
        resolver: Resolver,
        policies: StsPolicies,
        wanted: Wanted,
        *,
        clock: Callable[[], float],
        count: Callable[[str], None] = lambda _: None,
        names: tuple[str, str] | None = None,
        search_s: float = SEARCH_S,
    ) -> None:
        """Make it; nothing is asked yet.

        Args:
            resolver: Whom to ask.
            policies: The MTA-STS policies.
            wanted: What is to be found out.
            clock: Unix time in seconds.
            count: Is told the result of each search: ``found`` or ``failed``.
            names: A signed name and a bogus one, by which the resolver is tested; None for its own.
            search_s: Seconds that a search may take.
        """
        self.resolver = resolver
        self.policies = policies
        self.generation = 0
        self._epoch = 0
        self.test: SelfTest | None = None
        self._wanted = wanted
        self._clock = clock
        self._count = count
        self._names = names
        self._search_s = search_s
        self._changed = asyncio.Event()
        self._tested = asyncio.Event()
        policies.on_change = self._policy_changed
        self._known: dict[NextHop, Knowledge] = {}
        self._searches: dict[NextHop, asyncio.Task[Knowledge]] = {}

    def __len__(self) -> int:
        """Return how many destinations are known."""
        return len(self._known)

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        test = self.test
        return {
            "dane": self._wanted.dane,
            "mta_sts": self._wanted.mta_sts,
            "servers": list(self.resolver.servers),
            "validates": None if test is None or not test.answered else test.validates,
            "problem": "" if test is None else test.reason,
            "destinations": len(self._known),
            "policy_domains": len(self.policies),
        }

    def want(self, wanted: Wanted) -> None:
        """Take note of what is to be found out from now on."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._drop()
            self._changed.set()

    def known(self, nexthop: NextHop) -> Knowledge | None:
        """Return what is known and fresh, or None."""
        found = self._known.get(nexthop)
        if found is None:
            return None
        now = self._clock()
        if now >= found.fresh_until:
            return None
        if now >= found.renew_at:
            self.search(nexthop)
        return found

    def search(self, nexthop: NextHop) -> asyncio.Task[Knowledge]:
        """Begin to find out, or join the search that is on."""
        task = self._searches.get(nexthop)
        if task is None:
            task = asyncio.create_task(self._search(nexthop))
            self._searches[nexthop] = task
            task.add_done_callback(lambda _: self._searches.pop(nexthop, None))
        return task

    async def learn(self, nexthop: NextHop) -> Knowledge:
        """Return what is known and fresh, after finding it out if need be."""
        found = self.known(nexthop)
        # Whoever waits may give up; the search serves the next one.
        return found if found is not None else await asyncio.shield(self.search(nexthop))

    async def self_test(self) -> SelfTest:
        """Test the resolver, and say so in the log where the result is another than before."""
        found = await self.resolver.self_test(*(self._names or ()))
        if self.test is None or found != self.test:
            if found.reason and self._wanted.dane:
                what = "does not validate DNSSEC" if found.answered else "could not be tested"
                log_event(
                    _log,
                    logging.ERROR,
                    "dane-off" if found.answered else "resolver-untested",
                    servers=" ".join(self.resolver.servers),
                    cause=f"the resolver {what}: {found.reason}",
                )
            else:
                log_event(
                    _log,
                    logging.INFO,
                    "resolver",
                    servers=" ".join(self.resolver.servers),
                    validates=found.validates,
                    local=found.local,
                )
            if self.test is not None and found.validates != self.test.validates:
                self._drop()
        self.test = found
        if found.answered:
            self._tested.set()
        return found

    def _policy_changed(self, domain: str) -> None:
        """Drop what is known of a domain whose policy is another one now."""
        known = [nexthop for nexthop in self._known if nexthop.domain == domain]
        for nexthop in known:
            del self._known[nexthop]
        if known:
            self.generation += 1

    def _drop(self) -> None:
        self._known.clear()
        self.generation += 1
        self._epoch += 1

    async def keep_testing(self) -> None:
        """Test the resolver again and again while DANE is wanted, until cancelled."""
        while True:
            again_s = None
            self._changed.clear()
            if self._wanted.dane:
                test = await self.self_test()
                again_s = TEST_AGAIN_S if test.reason else TEST_EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._changed.wait()

    async def _search(self, nexthop: NextHop) -> Knowledge:
        epoch = -1
        # What was begun before all was dropped is worth as little as what was known.
        while epoch != self._epoch:
            epoch = self._epoch
            knowledge = await self._find_out(nexthop)
        self._count("failed" if knowledge.failure else "found")
        self._known.pop(nexthop, None)
        self._known[nexthop] = knowledge
        if len(self._known) > MAX_DESTINATIONS:
            del self._known[next(iter(self._known))]
        return knowledge

    async def _find_out(self, nexthop: NextHop) -> Knowledge:
        hosts, record, dane = await self._ask_dns(nexthop)
        entry = None
        if self._wanted.mta_sts:
            # With a bound of its own: a slow policy host must not make DNS look slow.
            entry = await self.policies.wanted(nexthop.domain, read_records(record.records))
        failure = self._sts_failure(record, entry) if self._wanted.mta_sts else ""
        return self._knowledge(nexthop, hosts, entry, record.ttl_s, dane=dane, sts_failure=failure)

    async def _ask_dns(self, nexthop: NextHop) -> tuple[Hosts, DnsAnswer[bytes], bool]:
        try:
            async with asyncio.timeout(self._search_s):
                if self._wanted.dane:
                    # What an untested resolver says could be neither secure nor insecure.
                    await self._tested.wait()
                dane = self._wanted.dane and self.resolver.validates
                hosts, record = await asyncio.gather(
                    find_hosts(self.resolver, nexthop, dane=dane), self._record(nexthop)
                )
        except TimeoutError:
            failure = f"no answer within {self._search_s:g} s"
            return Hosts((), failure), _NOT_ANSWERED, self._wanted.dane
        return hosts, record, dane

    async def _record(self, nexthop: NextHop) -> DnsAnswer[bytes]:
        if not self._wanted.mta_sts:
            return _NOT_ASKED
        return await self.resolver.txt(f"{LABEL}.{nexthop.domain}")

    def _sts_failure(self, record: DnsAnswer[bytes], entry: StsEntry | None) -> str:
        """Return why it is not known whether there is a policy, where none holds."""
        if entry is not None and entry.live(self._clock()) is not None:
            return ""
        if record.failed:
            return f"the MTA-STS record cannot be looked up: {record.reason or 'no answer'}"
        if not read_records(record.records).policy_id:
            return ""
        why = "it takes too long" if entry is None or entry.failure is None else entry.reason
        return f"the MTA-STS policy cannot be fetched: {why}"

    def _knowledge(
        self,
        nexthop: NextHop,
        hosts: Hosts,
        entry: StsEntry | None,
        ttl_s: int,
        *,
        dane: bool,
        sts_failure: str,
    ) -> Knowledge:
        now = self._clock()
        policy = None if entry is None else entry.live(now)
        most_s = MOST_S if policy is None else MOST_WITH_STS_S
        if (
            hosts.failure
            or any(host.state in _UNCERTAIN for host in hosts.hosts)
            or self.policies.fetches(nexthop.domain)
        ):
            most_s = LEAST_S
        elif entry is not None and entry.failure is not None:
            most_s = MOST_WITH_STS_S
        fresh_s = max(LEAST_S, min(most_s, hosts.ttl_s, ttl_s))
        if policy is not None and entry is not None:
            fresh_s = min(fresh_s, max(0.0, entry.fetched_at + policy.max_age_s - now))
        return Knowledge(
            hosts.hosts,
            dane,
            policy,
            "" if entry is None else entry.policy_id,
            nexthop.domain,
            hosts.failure,
            now,
            now + fresh_s,
            hosts.secure,
            sts_failure,
        )
