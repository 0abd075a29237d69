"""Which delivery of a slowed pair goes, which waits, and which comes again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.traffic import shaping_gate
from gatepost.traffic.shaping_gate import BURST, WAIT_S, WAITING, WAITING_OF_LANE, Gate

PAIR = ("bulk", "mail.example")
# One each second.
RATE = 60.0


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_they_go_one_after_the_other(gate: Gate) -> None:
    assert [gate.ask(PAIR, RATE, 100.0) for _ in range(3)] == [0, 1, 2]
    assert gate.waiting == 2
    assert gate.ask(PAIR, RATE, 100.5) == 2.5


def test_after_a_pause_a_few_go_at_once(gate: Gate) -> None:
    assert gate.ask(PAIR, RATE, 0.0) == 0
    assert [gate.ask(PAIR, RATE, 100.0) for _ in range(BURST + 1)] == [0] * BURST + [1]


def test_nothing_passes_a_pair_that_is_suspended(gate: Gate) -> None:
    assert gate.ask(PAIR, 0.0, 100.0) is None
    assert len(gate) == 0


def test_so_many_wait_and_no_more(gate: Gate) -> None:
    asked = [gate.ask(PAIR, RATE, 0.0) for _ in range(WAITING + 4)]
    assert asked[-4:] == [WAITING, None, None, None]
    gate.left(PAIR)
    assert gate.ask(PAIR, RATE, 1.0) == WAITING


def test_nobody_waits_for_longer_than_postfix_does(gate: Gate) -> None:
    # One in 25 s.
    asked = [gate.ask(PAIR, 2.4, 0.0) for _ in range(6)]
    assert asked == [0, 25, 50, None, None, None]
    assert WAIT_S < 100


def test_one_lane_may_not_keep_all_of_its_processes_waiting(gate: Gate) -> None:
    waiting = 0
    for number in range(20):
        pair = ("bulk", f"p{number}.example")
        waiting += sum(bool(gate.ask(pair, RATE, 0.0)) for _ in range(20))
    assert waiting == gate.waiting == WAITING_OF_LANE
    assert gate.ask(("fast", "p1.example"), RATE, 0.0) == 0
    assert gate.ask(("fast", "p1.example"), RATE, 0.0) == 1


def test_another_rate_counts_from_the_next_on(gate: Gate) -> None:
    assert [gate.ask(PAIR, RATE, 0.0) for _ in range(2)] == [0, 1]
    faster = [gate.ask(PAIR, 10 * RATE, 1.0) for _ in range(3)]
    assert faster == pytest.approx([1, 1.1, 1.2])


def test_pairs_without_deliveries_are_forgotten(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shaping_gate, "MAX_TURNS", 3)
    waiting, idle, busy = ("a", "x"), ("a", "y"), ("a", "z")
    assert [gate.ask(waiting, RATE, 0.0) for _ in range(2)] == [0, 1]
    assert gate.ask(idle, RATE, 0.0) == 0
    assert gate.ask(busy, RATE, 9.5) == 0
    assert gate.ask(("a", "new"), RATE, 10.0) == 0
    assert len(gate) == 3
    gate.left(waiting)
    assert gate.waiting == 0


@settings(max_examples=40)
@given(
    st.floats(1, 100_000),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20)), min_size=1, max_size=20),
)
def test_in_no_time_passes_more_than_the_rate_allows(
    rate: float, bursts: list[tuple[float, int]]
) -> None:
    gate, now, ends, gone = Gate(), 1_000.0, [], []
    for gap, count in bursts:
        now += gap
        for at in [at for at in ends if at <= now]:
            ends.remove(at)
            gate.left(PAIR)
        for _ in range(count):
            wait = gate.ask(PAIR, rate, now)
            if wait is None:
                continue
            gone.append(now + wait)
            if wait:
                ends.append(now + wait)
    gone.sort()
    for first, start in enumerate(gone):
        for last in range(first, len(gone)):
            allowed = (gone[last] - start) * rate / 60 + BURST
            assert last - first + 1 <= allowed + 1e-6
