"""DANE for SMTP: what the TLSA records of a destination's mail exchangers ask for.

Purpose: Postfix decides DANE host by host, at the levels ``dane`` and ``dane-only``, but it takes
one of these levels for the whole destination. This module chooses it, so that no host is sent to
with less than its records and the profile ask.
Source: RFC 7672 §2.1.2 (errors), §2.2 (per host), §2.2.1 (MX), §3.1 (usages); RFC 6698 §2.1;
Postfix src/smtp/smtp_tls_policy.c, dane_init: without records ``dane`` falls to ``may``, with
unusable ones to ``encrypt``, and ``dane-only`` makes the host invalid in both cases.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gatepost.tls.dns_answer import DnsAnswer, Outcome, Tlsa
from gatepost.tls.levels import Dane, Level

_DIGEST_OCTETS = {1: 32, 2: 64}


class TlsaState(StrEnum):
    """What is known of one mail exchanger."""

    USABLE = "usable"
    UNUSABLE = "unusable"
    NONE = "none"
    HIDDEN = "hidden"
    UNREACHABLE = "unreachable"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class MxHost:
    """One mail exchanger of a destination.

    Attributes:
        name: Normalised host name.
        state: Usable TLSA records; only unusable ones; none, proven or insecure; hidden: the
            lookup failed, so there may be some; unreachable: the resolver could not find its
            addresses; absent: it has no address.
        reason: Why it is hidden or unreachable, else empty.
    """

    name: str
    state: TlsaState = TlsaState.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DaneDemand:
    """What the mail exchangers ask for together.

    Attributes:
        dane: Which of Postfix's levels serves all of them.
        why: In a few words; empty if they ask for nothing.
        unknown: Whether too little is known for the level that is required, and `why` says what.
    """

    dane: Dane
    why: str = ""
    unknown: bool = False


NO_DEMAND = DaneDemand(Dane.OFF)


def is_usable(record: Tlsa) -> bool:
    """Tell whether a record can authenticate a server (RFC 7672 §3.1; RFC 6698 §2.1)."""
    if record.usage not in {2, 3} or record.selector not in {0, 1}:
        # PKIX-TA(0) and PKIX-EE(1) do not apply to SMTP (RFC 7672 §3.1.3).
        return False
    if record.matching == 0:
        return bool(record.data)
    return len(record.data) == _DIGEST_OCTETS.get(record.matching, -1)


def state_of(addresses: DnsAnswer[str], tlsa: Iterable[DnsAnswer[Tlsa]]) -> tuple[TlsaState, str]:
    """Return what is known of a host, and why, if that is not much.

    Args:
        addresses: Its addresses.
        tlsa: The TLSA lookups that were made, in the order of RFC 7672 §2.2.3: none for a host
            with insecure addresses, the expanded name before the original one.
    """
    if addresses.failed:
        # With SERVFAIL from the resolver that Postfix asks as well, Postfix cannot reach the host
        # either; a timeout may be ours alone.
        state = TlsaState.UNREACHABLE if addresses.servfail else TlsaState.HIDDEN
        return state, addresses.reason
    if addresses.outcome is Outcome.ABSENT:
        return TlsaState.ABSENT, ""
    for answer in tlsa:
        if answer.failed:
            return TlsaState.HIDDEN, answer.reason
        if answer.outcome is Outcome.FOUND and answer.secure:
            usable = any(map(is_usable, answer.records))
            return (TlsaState.USABLE if usable else TlsaState.UNUSABLE), ""
    return TlsaState.NONE, ""


def demand_of(hosts: Sequence[MxHost], required: Level, *, mx_secure: bool = True) -> DaneDemand:
    """Return which level serves all hosts of a destination.

    Args:
        hosts: Its mail exchangers; empty if it has none, or if DANE is off.
        required: The level that everybody else asks for.
        mx_secure: Whether the list of them is authentic. If not, Postfix refuses every host at
            dane-only, and whoever forges the list chooses the hosts (RFC 7672 §2.2.1).
    """
    by_state = {state: [h for h in hosts if h.state is state] for state in TlsaState}
    usable, hidden = by_state[TlsaState.USABLE], by_state[TlsaState.HIDDEN]
    strict = required > Level.MAY
    if strict and not mx_secure:
        return NO_DEMAND
    # Postfix decides host by host, which is safe where its fall to may is allowed.
    by_host = Dane.OFF if strict else Dane.OPPORTUNISTIC
    if usable:
        why = f"usable TLSA records at {len(usable)} of {len(hosts)} MX hosts"
        # At level may, Postfix decides anew at each delivery, so that an owner who withdraws the
        # records does not hold up mail. Where TLS is required, its fall to may is not allowed.
        return DaneDemand(Dane.ONLY if strict else Dane.OPPORTUNISTIC, why)
    if hidden:
        why = f"TLSA lookup of {hidden[0].name} failed: {hidden[0].reason}"
        return DaneDemand(by_host, why, unknown=strict)
    if by_state[TlsaState.UNUSABLE]:
        why = "TLSA records, none of them usable"
        # All that they ask for is encryption (RFC 7672 §2.2), which is required anyhow.
        return NO_DEMAND if strict else DaneDemand(by_host, why)
    lost = by_state[TlsaState.UNREACHABLE]
    if not lost:
        return NO_DEMAND
    why = f"addresses of {lost[0].name} not found: {lost[0].reason}"
    return DaneDemand(by_host, why, unknown=strict and not by_state[TlsaState.NONE])
