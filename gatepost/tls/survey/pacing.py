"""Whom to probe next, so that nobody is hit more often than agreed.

Purpose: at least so many seconds between two connections to one network (/24, /48) and between two
to one provider (the registered domain of the MX host's name); never two at once to one address.
Format: `add` takes targets, `take` gives the next one whose turn it is, `wait_s` tells when to come
again. The caller tells `ended` when a probe is over.
Limits: time and memory grow with the targets that wait and the networks that were just visited, not
with all that were seen; one step costs the logarithm of that.
Errors: none.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from gatepost.tls.survey.model import Target

# Providers of one network among which a target is looked for, and which it then waits for.
_LOOK_AT = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """What was agreed.

    Attributes:
        network_s: Seconds between two connections to one network.
        provider_s: Seconds between two connections to one provider.
        prefix4: Length of the prefix that makes a network, IPv4.
        prefix6: The same, IPv6.
    """

    network_s: float = 30.0
    provider_s: float = 30.0
    prefix4: int = 24
    prefix6: int = 48


@dataclass(slots=True)
class _Network:
    """The targets that wait in a network, by provider; the providers in their order."""

    waiting: dict[str, list[Target]] = field(default_factory=dict)
    # Whether it is among those that are looked at next.
    placed: bool = False
    # The providers in whose queues it stands, and those whose turn brought it to the front.
    parked_for: tuple[str, ...] = ()
    called_for: tuple[str, ...] = ()


class Forecast:
    """How long it will take: the network or provider with the most targets decides."""

    def __init__(self, pace: Pace, provider_of: Callable[[str], str]) -> None:
        """Begin with nothing."""
        self._pace = pace
        self._provider_of = provider_of
        self._networks: Counter[tuple[int, int]] = Counter()
        self._providers: Counter[str] = Counter()

    def add(self, target: Target) -> None:
        """Count a target."""
        self._networks[network_of(target.address, self._pace)] += 1
        self._providers[self._provider_of(target.host)] += 1

    def longest(self) -> tuple[float, str]:
        """Return the seconds that pacing alone takes, and who takes that long."""
        found = [(0.0, "")]
        for key, count in self._networks.most_common(1):
            found.append(
                ((count - 1) * self._pace.network_s, f"network {_network_text(key, self._pace)}")
            )
        for name, count in self._providers.most_common(1):
            found.append(((count - 1) * self._pace.provider_s, f"provider {name}"))
        seconds, who = max(found)
        return seconds, who if seconds else ""


class Pacer:
    """Holds what waits; not for several threads."""

    def __init__(self, pace: Pace, provider_of: Callable[[str], str]) -> None:
        """Begin with nothing.

        Args:
            pace: What was agreed.
            provider_of: From a host name to what is called its provider.
        """
        self._pace = pace
        self._provider_of = provider_of
        self._networks: dict[tuple[int, int], _Network] = {}
        self._ready: deque[tuple[int, int]] = deque()
        self._parked: dict[str, deque[tuple[int, int]]] = {}
        self._resting: set[tuple[int, int]] = set()
        self._busy: set[str] = set()
        # When a network or provider has rested: (time, serial, key).
        self._timers: list[tuple[float, int, tuple[int, int] | str]] = []
        self._serial = 0
        self._in_flight: set[str] = set()
        self._held: dict[str, Target] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many targets wait."""
        return self._count

    def add(self, target: Target) -> None:
        """Let a target wait for its turn."""
        self._count += 1
        key = network_of(target.address, self._pace)
        network = self._networks.get(key)
        if network is None:
            network = self._networks[key] = _Network()
        network.waiting.setdefault(self._provider_of(target.host), []).append(target)
        self._place(key, network)

    def visited(self, target: Target, at: float) -> None:
        """Take note, before anything is added, that somebody was connected to."""
        self._rest(network_of(target.address, self._pace), self._provider_of(target.host), at)

    def ended(self, address: str) -> None:
        """Take note that the probe of an address is over."""
        self._in_flight.discard(address)
        held = self._held.pop(address, None)
        if held is not None:
            self._count -= 1
            self.add(held)

    def take(self, now: float) -> Target | None:
        """Return a target to connect to now, or None if it is nobody's turn."""
        self._wake(now)
        while self._ready:
            key = self._ready.popleft()
            network = self._networks[key]
            network.placed = False
            called_for, network.called_for = network.called_for, ()
            target = self._choose(key, network, now)
            for provider in called_for:
                # It went another way, so that the next one that waits for this provider may go.
                if provider not in self._busy:
                    self._release(provider)
            if target is not None:
                return target
        return None

    def wait_s(self, now: float) -> float | None:
        """Return how long nobody's turn comes; None if that depends on `add` or `ended` alone."""
        if self._ready:
            return 0.0
        return max(0.0, self._timers[0][0] - now) if self._timers else None

    def _choose(self, key: tuple[int, int], network: _Network, now: float) -> Target | None:
        busy = []
        for provider in islice(network.waiting, _LOOK_AT):
            if provider not in self._busy:
                return self._start(key, network, provider, now)
            busy.append(provider)
        if not busy:
            del self._networks[key]
        for provider in busy:
            if provider not in network.parked_for:
                self._parked.setdefault(provider, deque()).append(key)
                network.parked_for += (provider,)
        return None

    def _start(
        self, key: tuple[int, int], network: _Network, provider: str, now: float
    ) -> Target | None:
        waiting = network.waiting[provider]
        target = waiting.pop()
        # A provider that still has targets goes to the end, so that all get their turn.
        del network.waiting[provider]
        if waiting:
            network.waiting[provider] = waiting
        if target.address in self._in_flight:
            # It has come back by another way while its probe goes on.
            if target.address in self._held:
                self._count -= 1
            self._held[target.address] = target
            self._place(key, network)
            return None
        self._count -= 1
        self._in_flight.add(target.address)
        self._rest(key, provider, now)
        return target

    def _rest(self, key: tuple[int, int], provider: str, at: float) -> None:
        if self._pace.network_s > 0:
            self._resting.add(key)
            self._timer(at + self._pace.network_s, key)
        elif key in self._networks:
            self._place(key, self._networks[key])
        if self._pace.provider_s > 0:
            self._busy.add(provider)
            self._timer(at + self._pace.provider_s, provider)

    def _place(self, key: tuple[int, int], network: _Network) -> None:
        if not network.placed and key not in self._resting:
            network.placed = True
            self._ready.append(key)

    def _timer(self, at: float, key: tuple[int, int] | str) -> None:
        self._serial += 1
        heapq.heappush(self._timers, (at, self._serial, key))

    def _wake(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, key = heapq.heappop(self._timers)
            if isinstance(key, str):
                self._wake_provider(key)
            else:
                self._wake_network(key)

    def _wake_provider(self, provider: str) -> None:
        self._busy.discard(provider)
        self._release(provider)

    def _release(self, provider: str) -> None:
        """Call one of the networks that wait for a provider: only one can go to it."""
        parked = self._parked.get(provider)
        while parked:
            key = parked.popleft()
            network = self._networks.get(key)
            if network is None or provider not in network.parked_for:
                continue
            network.parked_for = tuple(each for each in network.parked_for if each != provider)
            # A network that rests comes by itself when it has rested.
            if provider in network.waiting and key not in self._resting:
                network.called_for += (provider,)
                if not network.placed:
                    network.placed = True
                    self._ready.appendleft(key)
                break
        if not parked:
            self._parked.pop(provider, None)

    def _wake_network(self, key: tuple[int, int]) -> None:
        self._resting.discard(key)
        network = self._networks.get(key)
        if network is None:
            return
        if network.waiting:
            self._place(key, network)
        elif not network.placed:
            del self._networks[key]


def network_of(address: str, pace: Pace) -> tuple[int, int]:
    """Return the network of an address: the version, and the prefix as a number."""
    if ":" not in address:
        # Millions of times: ipaddress takes ten times as long.
        a, b, c, d = address.split(".")
        number = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
        return 4, number >> (32 - pace.prefix4)
    return 6, int(ipaddress.IPv6Address(address)) >> (128 - pace.prefix6)


def _network_text(key: tuple[int, int], pace: Pace) -> str:
    version, prefix = key
    if version == 4:
        start: object = ipaddress.IPv4Address(prefix << (32 - pace.prefix4))
        return f"{start}/{pace.prefix4}"
    start = ipaddress.IPv6Address(prefix << (128 - pace.prefix6))
    return f"{start}/{pace.prefix6}"
