"""Lanes: named ways out of Postfix, and the names of the services that realise them.

Purpose: one smtp(8) clone in master.cf serves one (lane, profile) pair. Postfix's concurrency
and rate settings are main.cf parameters named after the service, and its connection cache never
crosses services, so a pair shares neither queue slots nor connections with another.
Source: Postfix master(5); postconf(5) ``transport_destination_concurrency_limit``,
``transport_destination_rate_delay``, ``smtp_bind_address``.
Limits: a service name is at most 42 characters: "gp-", two names of at most 16, hyphens.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_LANE = "normal"


@dataclass(frozen=True, slots=True)
class Lane:
    """One way out.

    Attributes:
        name: ``[a-z][a-z0-9]{0,15}``.
        concurrency: Deliveries at once to one destination, or None for Postfix's default.
        rate_delay_s: Seconds between deliveries to one destination, or None for no delay.
        address4: IPv4 source address, or None for the host's own choice.
        address6: IPv6 source address, or None for the host's own choice.
    """

    name: str
    concurrency: int | None = None
    rate_delay_s: int | None = None
    address4: str | None = None
    address6: str | None = None


def service_name(lane: str, profile: str) -> str:
    """Return the master.cf name of the service for a (lane, profile) pair."""
    return f"gp-{lane}-{profile}"
