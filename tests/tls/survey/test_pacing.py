"""Who is visited when: simulated, with a clock of the test's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.survey.model import Target
from gatepost.tls.survey.pacing import Forecast, Pace, Pacer, network_of


def provider_of(host: str) -> str:
    return host.split(".", 1)[1]


def target(address: str, host: str = "") -> Target:
    return Target(address, host or f"mx.p{address.replace(':', '-')}")


def drain(
    pacer: Pacer,
    probe_s: float = 1.0,
    idle: Callable[[float, list[tuple[float, Target]]], None] | None = None,
) -> list[tuple[float, Target]]:
    """Visit everybody, each for `probe_s` seconds; return who was visited when.

    `idle` is called whenever it is nobody's turn, with those who were visited so far.
    """
    now = 0.0
    visits: list[tuple[float, Target]] = []
    ends: list[tuple[float, str]] = []
    while True:
        while ends and ends[0][0] <= now:
            pacer.ended(ends.pop(0)[1])
        found = pacer.take(now)
        if found is not None:
            visits.append((now, found))
            ends.append((now + probe_s, found.address))
            continue
        if idle is not None:
            idle(now, visits)
        wait_s = pacer.wait_s(now)
        next_end = ends[0][0] if ends else None
        if wait_s is None and next_end is None:
            assert len(pacer) == 0
            return visits
        times = [now + wait_s] if wait_s is not None else []
        times += [next_end] if next_end is not None else []
        now = max(min(times), now + 1e-9)


def test_strangers_are_visited_at_once() -> None:
    pacer = Pacer(Pace(), provider_of)
    for number in range(100):
        pacer.add(target(f"192.0.{number}.1"))
    assert len(pacer) == 100
    assert {at for at, _ in drain(pacer)} == {0.0}


def test_neighbours_wait_for_each_other() -> None:
    pacer = Pacer(Pace(30, 30), provider_of)
    for address in ("192.0.2.1", "192.0.2.200", "192.0.3.1"):
        pacer.add(target(address))
    visits = drain(pacer)
    assert sorted(at for at, _ in visits) == [0.0, 0.0, 30.0]


def test_ipv6_networks_are_48_bits() -> None:
    pacer = Pacer(Pace(30, 30), provider_of)
    for address in ("2001:db8:1::1", "2001:db8:1:ffff::1", "2001:db8:2::1"):
        pacer.add(target(address))
    assert sorted(at for at, _ in drain(pacer)) == [0.0, 0.0, 30.0]


def test_a_provider_is_paced_over_all_its_networks() -> None:
    pacer = Pacer(Pace(30, 30), provider_of)
    for number in range(4):
        pacer.add(target(f"192.0.{number}.1", f"mx{number}.big.example"))
    pacer.add(target("198.51.100.1"))
    assert sorted(at for at, _ in drain(pacer)) == [0.0, 0.0, 30.0, 60.0, 90.0]


def test_others_in_a_network_do_not_wait_for_a_busy_provider() -> None:
    pacer = Pacer(Pace(1, 30), provider_of)
    pacer.add(target("192.0.1.1", "mx1.big.example"))
    pacer.add(target("192.0.2.1", "mx2.big.example"))
    pacer.add(target("192.0.2.2", "mx.small"))
    visits = {each.address: at for at, each in drain(pacer)}
    assert max(visits["192.0.1.1"], visits["192.0.2.1"]) == 30.0
    assert visits["192.0.2.2"] <= 1.0


def test_a_newcomer_does_not_wait_with_its_neighbours_for_their_provider() -> None:
    pacer = Pacer(Pace(1, 3600), provider_of)
    for number in (1, 2):
        pacer.add(target(f"192.0.{number}.1", f"mx{number}.big.example"))
    assert pacer.take(0.0) is not None
    assert pacer.take(0.0) is None
    newcomer = target("192.0.2.2", "mx.small")
    pacer.add(newcomer)
    assert pacer.take(1.0) == newcomer or pacer.take(2.0) == newcomer
    assert pacer.take(3600.0) is not None


def test_who_was_visited_before_the_start_is_not_visited_too_soon() -> None:
    pacer = Pacer(Pace(30, 30), provider_of)
    pacer.visited(target("192.0.2.9"), -10.0)
    pacer.visited(target("198.51.100.9", "mx.big.example"), -25.0)
    pacer.add(target("192.0.2.1"))
    pacer.add(target("203.0.113.1", "mx.big.example"))
    visits = {each.address: at for at, each in drain(pacer)}
    assert visits == {"192.0.2.1": 20.0, "203.0.113.1": 5.0}


def test_an_address_is_never_visited_twice_at_once() -> None:
    pacer = Pacer(Pace(0, 0), provider_of)
    one = target("192.0.2.1")
    pacer.add(one)
    assert pacer.take(0.0) == one
    pacer.add(one)
    pacer.add(one)
    assert pacer.take(1.0) is None
    assert pacer.take(2.0) is None
    assert pacer.wait_s(2.0) is None
    pacer.ended(one.address)
    assert pacer.take(3.0) == one
    pacer.ended(one.address)
    assert (pacer.take(4.0), len(pacer)) == (None, 0)


TARGETS = st.builds(
    lambda net, host, provider: Target(f"10.0.{net}.{host}", f"mx.p{provider}"),
    st.integers(0, 6), st.integers(0, 20), st.integers(0, 6),
)  # fmt: skip


@pytest.mark.fuzz
@given(
    st.lists(TARGETS, max_size=40, unique_by=lambda each: each.address),
    st.sampled_from([0.0, 1.0, 30.0]),
    st.sampled_from([0.0, 7.0, 30.0]),
    st.sampled_from([0.5, 100.0]),
)
def test_everybody_is_visited_once_and_nobody_too_soon(
    targets: list[Target], network_s: float, provider_s: float, probe_s: float
) -> None:
    pace = Pace(network_s, provider_s)
    pacer = Pacer(pace, provider_of)
    forecast = Forecast(pace, provider_of)
    for each in targets:
        pacer.add(each)
        forecast.add(each)

    def nobody_could_go(now: float, visits: list[tuple[float, Target]]) -> None:
        resting = {
            key
            for at, each in visits
            for key, pause_s in (
                (network_of(each.address, pace), network_s), (provider_of(each.host), provider_s),
            )
            if now < at + pause_s
        }  # fmt: skip
        visited = {each.address for _, each in visits}
        for each in targets:
            if each.address not in visited:
                assert {network_of(each.address, pace), provider_of(each.host)} & resting

    visits = drain(pacer, probe_s, nobody_could_go)
    assert sorted(each.address for _, each in visits) == sorted(each.address for each in targets)
    last: dict[object, float] = defaultdict(lambda: -1e9)
    for at, each in visits:
        for key, pause_s in (
            (network_of(each.address, pace), network_s),
            (provider_of(each.host), provider_s),
        ):
            assert at - last[key] >= pause_s - 1e-6
            last[key] = at
    # Pacing alone takes at least as long as was foretold.
    assert max((at for at, _ in visits), default=0.0) >= forecast.longest()[0] - 1e-6


def test_the_forecast_names_who_takes_longest() -> None:
    forecast = Forecast(Pace(30, 30), provider_of)
    assert forecast.longest() == (0.0, "")
    for number in range(5):
        forecast.add(target(f"192.0.{number}.1", f"mx{number}.big.example"))
    forecast.add(target("2001:db8:7::1"))
    assert forecast.longest() == (120.0, "provider big.example")
    for number in range(10):
        forecast.add(target(f"2001:db8:7::{number}"))
    assert forecast.longest() == (300.0, "network 2001:db8:7::/48")
