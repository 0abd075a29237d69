"""RFC 7672: which of Postfix's levels serves all hosts of a destination."""

from __future__ import annotations

from itertools import product

import pytest

from gatepost.tls.dane import (
    NO_DEMAND,
    DaneDemand,
    MxHost,
    TlsaState,
    demand_of,
    is_usable,
    state_of,
)
from gatepost.tls.dns_answer import DnsAnswer, Outcome, Tlsa
from gatepost.tls.levels import Dane, Level

GOOD = Tlsa(3, 1, 1, bytes(32))
SHA512 = Tlsa(2, 0, 2, bytes(64))
FOUND = DnsAnswer(Outcome.FOUND, ("192.0.2.1",), True)
TLSA = DnsAnswer(Outcome.FOUND, (GOOD,), True)
FORGED = DnsAnswer(Outcome.FOUND, (GOOD,), False)
PKIX = DnsAnswer(Outcome.FOUND, (Tlsa(1, 1, 1, bytes(32)),), True)
NONE: DnsAnswer[Tlsa] = DnsAnswer(Outcome.ABSENT, (), True)
FAILED: DnsAnswer[Tlsa] = DnsAnswer(Outcome.FAILED, reason="SERVFAIL")


@pytest.mark.parametrize(
    ("record", "usable"),
    [
        (GOOD, True),
        (SHA512, True),
        (Tlsa(3, 0, 0, b"certificate"), True),
        (Tlsa(3, 0, 0, b""), False),
        # RFC 7672 §3.1.3: usages 0 and 1 do not apply to SMTP.
        (Tlsa(0, 1, 1, bytes(32)), False),
        (Tlsa(1, 1, 1, bytes(32)), False),
        (Tlsa(4, 1, 1, bytes(32)), False),
        (Tlsa(3, 2, 1, bytes(32)), False),
        (Tlsa(3, 1, 3, bytes(32)), False),
        (Tlsa(3, 1, 1, bytes(31)), False),
        (Tlsa(3, 1, 2, bytes(32)), False),
    ],
)
def test_which_records_are_usable(record: Tlsa, usable: bool) -> None:  # noqa: FBT001
    assert is_usable(record) is usable


@pytest.mark.parametrize(
    ("addresses", "tlsa", "state"),
    [
        (FOUND, [TLSA], TlsaState.USABLE),
        (FOUND, [PKIX], TlsaState.UNUSABLE),
        (FOUND, [NONE], TlsaState.NONE),
        # §2.2.2: no TLSA lookup for insecure addresses.
        (FOUND, [], TlsaState.NONE),
        # §2.2: insecure TLSA records are as good as none.
        (FOUND, [FORGED], TlsaState.NONE),
        # §2.1.2: an error is never taken for absence.
        (FOUND, [FAILED], TlsaState.HIDDEN),
        # §2.2.3: the name behind the CNAME first, then the original.
        (FOUND, [NONE, TLSA], TlsaState.USABLE),
        (FOUND, [TLSA, FAILED], TlsaState.USABLE),
        (FOUND, [FAILED, TLSA], TlsaState.HIDDEN),
        (FOUND, [NONE, FAILED], TlsaState.HIDDEN),
        (DnsAnswer(Outcome.FAILED, reason="SERVFAIL", servfail=True), [], TlsaState.UNREACHABLE),
        # A timeout of ours is no proof that Postfix cannot reach the host.
        (DnsAnswer(Outcome.FAILED, reason="timeout"), [], TlsaState.HIDDEN),
        (DnsAnswer(Outcome.ABSENT), [], TlsaState.ABSENT),
    ],
)
def test_the_state_of_a_host(
    addresses: DnsAnswer[str], tlsa: list[DnsAnswer[Tlsa]], state: TlsaState
) -> None:
    found, reason = state_of(addresses, tlsa)
    assert found is state
    assert bool(reason) is (state in {TlsaState.HIDDEN, TlsaState.UNREACHABLE})


def demand(required: Level, *states: TlsaState) -> DaneDemand:
    hosts = [MxHost(f"mx{n}.example", state, "SERVFAIL") for n, state in enumerate(states)]
    return demand_of(hosts, required)


U, X, N, H, L, A = TlsaState
MAY = [
    # What Postfix decides by host at each delivery serves every mixture.
    ((U,), Dane.OPPORTUNISTIC),
    ((U, N), Dane.OPPORTUNISTIC),
    ((X,), Dane.OPPORTUNISTIC),
    ((X, N), Dane.OPPORTUNISTIC),
    ((H,), Dane.OPPORTUNISTIC),
    ((H, N), Dane.OPPORTUNISTIC),
    ((N,), Dane.OFF),
    ((A, N), Dane.OFF),
    ((L, N), Dane.OPPORTUNISTIC),
    ((L,), Dane.OPPORTUNISTIC),
    ((), Dane.OFF),
]


@pytest.mark.parametrize(("states", "dane"), MAY)
def test_at_level_may(states: tuple[TlsaState, ...], dane: Dane) -> None:
    found = demand(Level.MAY, *states)
    assert (found.dane, found.unknown) == (dane, False)


STRICT = [
    # Postfix's dane would fall to may at hosts without records: dane-only passes them over.
    ((U,), Dane.ONLY, False),
    ((U, N), Dane.ONLY, False),
    ((U, H), Dane.ONLY, False),
    ((U, L, A, X), Dane.ONLY, False),
    # §2.2: unusable records ask for encryption, which is required already.
    ((X,), Dane.OFF, False),
    ((X, N), Dane.OFF, False),
    ((N,), Dane.OFF, False),
    # A failure that could hide records: mail waits.
    ((H,), Dane.OFF, True),
    ((H, N), Dane.OFF, True),
    ((L,), Dane.OFF, True),
    ((L, A), Dane.OFF, True),
    # One broken host does not make a domain undeliverable.
    ((L, N), Dane.OFF, False),
    ((A, N), Dane.OFF, False),
    # No such host is an answer: Postfix returns the mail.
    ((A,), Dane.OFF, False),
    ((), Dane.OFF, False),
]


@pytest.mark.parametrize("required", [Level.ENCRYPT, Level.VERIFY])
@pytest.mark.parametrize(("states", "dane", "unknown"), STRICT)
def test_where_tls_is_required(
    states: tuple[TlsaState, ...],
    dane: Dane,
    unknown: bool,  # noqa: FBT001
    required: Level,
) -> None:
    found = demand(required, *states)
    assert (found.dane, found.unknown) == (dane, unknown)


@pytest.mark.parametrize(("states", "dane"), MAY)
def test_section_2_2_1_an_unsigned_list_of_hosts(states: tuple[TlsaState, ...], dane: Dane) -> None:
    hosts = [MxHost("mx.example", state, "SERVFAIL") for state in states]
    # Postfix passes over every host at dane-only then; at level may it uses what records there are.
    assert demand_of(hosts, Level.ENCRYPT, mx_secure=False) == NO_DEMAND
    assert demand_of(hosts, Level.MAY, mx_secure=False).dane is dane


@pytest.mark.parametrize("states", list(product(TlsaState, repeat=3)))
def test_a_dane_answer_under_a_level_that_requires_tls_never_falls_to_may(
    states: tuple[TlsaState, ...],
) -> None:
    found = demand(Level.ENCRYPT, *states)
    assert found.dane is not Dane.OPPORTUNISTIC
    if U in states:
        assert found.dane is Dane.ONLY
    assert not (found.dane and found.unknown)
