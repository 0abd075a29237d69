"""What every engine of counters must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.traffic import counters as module
from gatepost.traffic.counters import (
    RESERVED_S,
    Amount,
    Counters,
    Holder,
    MemoryCounters,
)
from gatepost.traffic.quota import MAX_COUNT, STEPS, Claim, Limit, Unit, campaign_name
from tests.traffic.valkey_servers import Server, Waiting, server

NOW = 1_800_000_000.0
ONE = Amount(1, 1)

Maker = Callable[..., Counters]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Server]:
    """Return a server that all tests of this module share."""
    with server() as made:
        yield made


@pytest.fixture(params=["memory", "valkey"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    """Return what makes counters of each kind, with nothing counted.

    It takes how many counters one family may have, and all of them.
    """
    if request.param == "memory":

        def in_memory(sizes: tuple[int, int] | None = None) -> MemoryCounters:
            if sizes is not None:
                monkeypatch.setattr(module, "MAX_IN_FAMILY", sizes[0])
                monkeypatch.setattr(module, "MAX_IN_FAMILIES", sizes[1])
            return MemoryCounters()

        yield in_memory
        return
    running: Server = request.getfixturevalue("valkey")
    made: list[Waiting] = []

    def make(**options: object) -> Waiting:
        running.send("FLUSHALL")
        waiting = Waiting(running.target, **options)
        waiting.join()
        made.append(waiting)
        return waiting

    yield make
    for each in made:
        each.close()


@pytest.fixture
def counters(make: Maker) -> Counters:
    """Return counters of each kind, with nothing counted."""
    return make()


def claim(count: int, window_s: int = 60, unit: Unit = Unit.MESSAGES, name: str = "t") -> Claim:
    return Claim(name, Limit(count, window_s, unit))


def holder(number: int, session: int | None = None) -> Holder:
    return Holder(f"s{number if session is None else session}", f"m{number}")


def used(counters: Counters, each: Claim, now: float = NOW) -> tuple[int, int]:
    (usage,) = counters.usage([each], now)
    return usage.used, usage.reserved


def test_what_is_reserved_is_not_there_for_others(counters: Counters) -> None:
    two = [claim(2)]
    assert counters.reserve(holder(1), two, ONE, NOW) is None
    assert counters.reserve(holder(2), two, ONE, NOW) is None
    shortage = counters.reserve(holder(3), two, ONE, NOW)
    assert shortage is not None
    assert (shortage.claim, shortage.used) == (two[0], 2)
    assert counters.commit(holder(3), two, ONE, NOW) is not None
    assert counters.commit(holder(1), two, ONE, NOW) is None
    assert used(counters, two[0]) == (1, 1)


def test_all_claims_or_none(counters: Counters) -> None:
    plenty, none = claim(10, name="a"), claim(1, name="b")
    assert counters.commit(holder(1), [none], ONE, NOW) is None
    assert counters.reserve(holder(2), [plenty, none], ONE, NOW) is not None
    assert counters.commit(holder(2), [plenty, none], ONE, NOW) is not None
    assert used(counters, plenty) == (0, 0)


def test_asked_again_a_message_holds_the_new_amount(counters: Counters) -> None:
    three = [claim(3, unit=Unit.RECIPIENTS)]
    for recipients in (1, 2, 3):
        assert counters.reserve(holder(1), three, Amount(1, recipients), NOW) is None
        assert used(counters, three[0]) == (0, recipients)
    shortage = counters.reserve(holder(1), three, Amount(1, 4), NOW)
    assert shortage is not None
    assert shortage.opens_in_s is None
    assert used(counters, three[0]) == (0, 3)
    # Two of them were refused by others.
    assert counters.commit(holder(1), three, Amount(1, 1), NOW) is None
    assert used(counters, three[0]) == (1, 0)


def test_the_next_message_of_a_session_ends_the_reservation(counters: Counters) -> None:
    one = [claim(1)]
    assert counters.reserve(holder(1, session=7), one, ONE, NOW) is None
    assert counters.reserve(holder(2, session=7), one, ONE, NOW) is None
    counters.release("s7", "m2")
    assert used(counters, one[0]) == (0, 1)
    counters.release("s7", "m3")
    assert used(counters, one[0]) == (0, 0)
    counters.release("never seen", "m")


def test_a_reservation_ends_by_itself(counters: Counters) -> None:
    one = [claim(1)]
    assert counters.reserve(holder(1), one, ONE, NOW) is None
    assert counters.reserve(holder(2), one, ONE, NOW + RESERVED_S - 1) is not None
    assert counters.reserve(holder(2), one, ONE, NOW + RESERVED_S) is None
    # The first one comes after all, and there is no room any more.
    assert counters.commit(holder(1), one, ONE, NOW + RESERVED_S) is not None
    assert counters.commit(holder(2), one, ONE, NOW + RESERVED_S) is None


def test_a_message_is_counted_once(counters: Counters) -> None:
    many = [claim(5)]
    for _ in range(3):
        assert counters.commit(holder(1), many, ONE, NOW) is None
    assert used(counters, many[0]) == (1, 0)


def test_a_message_that_was_counted_by_mistake_is_given_back(counters: Counters) -> None:
    one = [claim(1)]
    assert counters.commit(holder(1), one, ONE, NOW) is None
    assert counters.refund("m1", NOW)
    assert not counters.refund("m1", NOW)
    assert counters.commit(holder(2), one, ONE, NOW) is None


@pytest.mark.parametrize("window_s", [1, 60, 3_600, 86_400])
def test_it_says_when_it_opens_and_keeps_its_word(counters: Counters, window_s: int) -> None:
    three = [claim(3, window_s)]
    for number, at in enumerate((0.0, 0.2, 0.7)):
        assert counters.commit(holder(number), three, ONE, NOW + at * window_s) is None
    now = NOW + 0.9 * window_s
    shortage = counters.commit(holder(9), three, ONE, now)
    assert shortage is not None
    opens = shortage.opens_in_s
    assert opens is not None
    # The first one leaves one window after it came, and at most one step later.
    assert 0.1 * window_s <= opens <= (0.1 + 1 / STEPS) * window_s + 1e-6
    assert counters.commit(holder(10), three, ONE, now + opens * 0.99) is not None
    assert counters.commit(holder(11), three, ONE, now + opens + 1e-3) is None
    assert counters.commit(holder(12), three, ONE, now + opens + 1e-3) is not None


def test_of_several_the_one_that_opens_last_is_named(counters: Counters) -> None:
    claims = [claim(1, 60), claim(1, 3_600), claim(1, 600)]
    assert counters.commit(holder(1), claims, ONE, NOW) is None
    shortage = counters.reserve(holder(2), claims, ONE, NOW)
    assert shortage is not None
    assert shortage.claim.limit.window_s == 3_600


def test_a_clock_that_goes_back_opens_nothing(counters: Counters) -> None:
    one = [claim(1)]
    assert counters.commit(holder(1), one, ONE, NOW) is None
    assert counters.commit(holder(2), one, ONE, NOW - 86_400) is not None
    assert counters.commit(holder(2), one, ONE, NOW + 59) is not None
    assert counters.commit(holder(2), one, ONE, NOW + 62.1) is None


def test_what_is_counted_while_the_clock_is_back_stays_counted(counters: Counters) -> None:
    two = [claim(2)]
    assert counters.commit(holder(1), two, ONE, NOW) is None
    assert counters.commit(holder(2), two, ONE, NOW - 500) is None
    assert counters.commit(holder(3), two, ONE, NOW + 10) is not None


def test_counts_at_the_edge_of_what_every_engine_holds(counters: Counters) -> None:
    most = [claim(MAX_COUNT, unit=Unit.RECIPIENTS)]
    assert counters.commit(holder(1), most, Amount(1, MAX_COUNT - 1), NOW) is None
    assert counters.commit(holder(2), most, Amount(1, 2), NOW) is not None
    assert counters.commit(holder(3), most, Amount(1, 1), NOW) is None
    assert used(counters, most[0]) == (MAX_COUNT, 0)


def is_taken(counters: Counters, name: str, number: int, now: float = NOW) -> bool:
    return counters.commit(holder(number), [claim(2, 3_600, name=name)], ONE, now) is None


def forget(counters: Counters, now: float) -> None:
    """Have counters in memory forget what counts nothing any more; others do by themselves."""
    if isinstance(counters, MemoryCounters):
        counters.take_changed(10_000)
        counters.tidy(now)


def test_campaigns_beyond_so_many_share_a_counter(make: Maker) -> None:
    counters = make(sizes=(20, 1_000))
    names = [campaign_name("acme", f"c{number}") for number in range(60)]
    taken = [is_taken(counters, name, n, NOW + n / 1_000) for n, name in enumerate(names)]
    assert taken == [True] * 22 + [False] * 38
    # Whoever makes up names finds no way around; others do not notice.
    assert not is_taken(counters, campaign_name("acme", "one more"), 100, NOW + 31)
    assert is_taken(counters, campaign_name("acme", "c5"), 101, NOW + 31)
    assert is_taken(counters, campaign_name("globex", "c5"), 102, NOW + 31)
    forget(counters, NOW + 4_000)
    assert is_taken(counters, campaign_name("acme", "one more"), 103, NOW + 4_000)


def test_a_campaign_that_counted_with_others_goes_on_with_them(make: Maker) -> None:
    counters = make(sizes=(1, 1_000))
    assert is_taken(counters, campaign_name("acme", "a"), 1)
    assert is_taken(counters, campaign_name("acme", "b"), 2, NOW + 1_800)
    assert is_taken(counters, campaign_name("acme", "b"), 3, NOW + 1_801)
    forget(counters, NOW + 3_800)
    # There is room for a counter of its own now, which would begin at nothing.
    assert not is_taken(counters, campaign_name("acme", "b"), 4, NOW + 3_801)


def test_the_campaigns_of_all_tenants_are_bounded_together(make: Maker) -> None:
    counters = make(sizes=(20, 10))
    for number in range(30):
        name = campaign_name(f"t{number % 3}", f"c{number}")
        assert is_taken(counters, name, number) == (number < 16), number


def test_reservations_of_a_campaign_move_with_it_to_nobody_else(make: Maker) -> None:
    counters = make(sizes=(1, 10))
    claims = [claim(2, 3_600, name=campaign_name("acme", name)) for name in "abc"]
    for number, each in enumerate(claims):
        assert counters.reserve(holder(number), [each], ONE, NOW) is None
        assert counters.reserve(holder(number), [each], ONE, NOW) is None
    assert counters.reserve(holder(9), [claims[2]], ONE, NOW) is not None
    for number, each in enumerate(claims):
        assert counters.commit(holder(number), [each], ONE, NOW) is None
    assert counters.commit(holder(9), [claims[2]], ONE, NOW) is not None
    assert counters.commit(holder(8), [claims[0]], ONE, NOW) is None


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["rcpt", "end", "abort", "wait"]),
        st.integers(0, 49),
        st.floats(0, 40),
    ),
    max_size=200,
)


@settings(max_examples=120, deadline=None)
@given(actions=ACTIONS, limit=st.integers(1, 6))
def test_whatever_sessions_do_the_quota_holds(
    actions: list[tuple[str, int, float]], limit: int
) -> None:
    """At no time are more taken within a window than the quota, and what was broken off is free."""
    hold_to_the_quota(MemoryCounters(), actions, limit)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS, limit=st.integers(1, 6))
def test_whatever_sessions_do_the_quota_holds_in_valkey(
    valkey: Server, actions: list[tuple[str, int, float]], limit: int
) -> None:
    valkey.send("FLUSHALL")
    waiting = Waiting(valkey.target)
    waiting.join()
    try:
        hold_to_the_quota(waiting, actions, limit)
    finally:
        waiting.close()


def hold_to_the_quota(
    counters: Counters, actions: list[tuple[str, int, float]], limit: int
) -> None:
    """Do all that, and look at what was taken."""
    claims = [claim(limit, 60), claim(3 * limit, 300)]
    now, number = NOW, 0
    present: dict[int, Holder] = {}
    taken: list[float] = []
    for action, session, seconds in actions:
        match action:
            case "rcpt" if session not in present:
                number += 1
                who = holder(number, session)
                if counters.reserve(who, claims, ONE, now) is None:
                    present[session] = who
            case "end" if session in present:
                if counters.commit(present.pop(session), claims, ONE, now) is None:
                    taken.append(now)
            case "abort":
                present.pop(session, None)
            case "wait":
                now += seconds
    for each in claims:
        window_s, most = each.limit.window_s, each.limit.count
        for end in taken:
            assert sum(1 for at in taken if end - window_s < at <= end) <= most
    # All who were broken off have gone after a while, and as much as the quota can be taken.
    now += max(RESERVED_S, 300 * (1 + 2 / STEPS))
    for extra in range(limit):
        assert counters.commit(holder(-1 - extra), claims, ONE, now) is None
    assert counters.commit(holder(-100), claims, ONE, now) is not None
