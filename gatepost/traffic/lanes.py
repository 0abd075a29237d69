"""Lanes: named ways out of Postfix, and the names of the services that realise them.

Purpose: one smtp(8) clone in master.cf serves one (lane, profile) pair from one source. Postfix's
concurrency and rate settings are main.cf parameters named after the service, and its connection
cache never crosses services, so a service shares neither queue slots nor connections with another.
Source: Postfix master(5); postconf(5) ``transport_destination_concurrency_limit``,
``transport_destination_rate_delay``, ``smtp_bind_address``.
Limits: a service name is at most 39 characters: "gp-", two names of at most 16, a number of two
digits, hyphens. A lane has at most 32 sources: each is a service for each profile, and qmgr(8)
goes through its services one after the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

DEFAULT_LANE = "normal"
MAX_SOURCES = 32
MAX_WEIGHT = 100
HAND_OVER_SOCKET = "gatepost"
_SERVICE = "gp-"

# 2**64 divided by the golden ratio: its multiples spread over the range more evenly than those of
# any other number, however many there are.
_STRIDE = 0x9E3779B97F4A7C15
_RANGE = 1 << 64


@dataclass(frozen=True, slots=True)
class Source:
    """Where connections of a lane come from.

    Attributes:
        address4: IPv4 source address, or None for the host's own choice.
        address6: IPv6 source address, or None for the host's own choice.
        weight: Its share of the lane's mail, 1 to `MAX_WEIGHT`, in proportion to the others'.
    """

    address4: str | None = None
    address6: str | None = None
    weight: int = 1


NO_SOURCE = Source()


@dataclass(frozen=True, slots=True)
class Lane:
    """One way out.

    Attributes:
        name: ``[a-z][a-z0-9]{0,15}``.
        concurrency: Deliveries at once to one destination, or None for Postfix's default. Of a
            lane with several sources, each has as many.
        rate_delay_s: Seconds between deliveries to one destination, or None for no delay.
        sources: Where its connections come from; empty for the host's own choice.
        instance: Whether it is a Postfix instance of its own, with a queue of its own.
    """

    name: str
    concurrency: int | None = None
    rate_delay_s: int | None = None
    sources: tuple[Source, ...] = ()
    instance: bool = False

    def source(self, number: int) -> Source:
        """Return one of its sources.

        Args:
            number: From 1.
        """
        return self.sources[number - 1] if self.sources else NO_SOURCE

    @property
    def numbers(self) -> range:
        """Return the numbers of its sources; without any, there is one that Postfix chooses."""
        return range(1, max(len(self.sources), 1) + 1)


def service_name(lane: str, profile: str, number: int = 1) -> str:
    """Return the master.cf name of the service for a lane, a profile and a source of the lane.

    Args:
        lane: Name of the lane.
        profile: Name of the profile.
        number: Which source, from 1; the first one's service bears no number.
    """
    return f"{_SERVICE}{lane}-{profile}" + (f"-{number}" if number > 1 else "")


def profile_of(service: str) -> str | None:
    """Return the profile that a service of ours carries, or None for another service."""
    # Neither lanes nor profiles have hyphens in their names.
    parts = service.split("-")
    return parts[2] if service.startswith(_SERVICE) and len(parts) > 2 else None


def hand_over_name(lane: str) -> str:
    """Return the name of the service by which mail is handed to a lane's own instance."""
    return f"{_SERVICE}{lane}"


def instance_name(lane: str) -> str:
    """Return the name of a lane's own instance, by which postmulti(1) and the log know it."""
    return f"postfix-{_SERVICE}{lane}"


def beside(name: str, lane: str) -> str:
    """Return the last part of a directory of a lane's own instance.

    Args:
        name: Last part of the main instance's directory, beside which it stands.
        lane: Name of the lane.
    """
    return f"{name}-{_SERVICE}{lane}"


def hand_over(lane: str, queue: str) -> str:
    """Return service and next-hop by which mail is handed to a lane's own instance.

    Args:
        lane: Name of the lane.
        queue: Last part of the queue directory of the main instance, which the path is relative to.
    """
    return f"{hand_over_name(lane)}:unix:../{beside(queue, lane)}/private/{HAND_OVER_SOCKET}"


def pick_source(lane: Lane, key: str | None, spread: int) -> int:
    """Return the number, from 1, of the source for a message, by the weights.

    Args:
        lane: The lane.
        key: What no other message has, such as a token address: the message then has the same
            source at each attempt. None where many messages would have the same.
        spread: Decides without a key: any whole number, such as a time in seconds. Those that
            follow one another spread over the sources as evenly as their weights allow.
    """
    if len(lane.sources) < 2:
        return 1
    if key is None:
        point = spread * _STRIDE % _RANGE
    else:
        point = int.from_bytes(
            hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8).digest()
        )
    left = point * sum(source.weight for source in lane.sources) // _RANGE
    for number, source in enumerate(lane.sources, 1):
        left -= source.weight
        if left < 0:
            return number
    raise AssertionError(point)
