"""Rates over a minute, and rows in order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.traffic.top import STEP_S, WINDOW_S, Arrivals, Column, Meter, Row, ordered, total

ROWS = [
    Row("b", incoming=5.0, backlog=None, tls=0.5, lane="bulk"),
    Row("a", incoming=None, backlog=9, tls=1.0, state="paused", lane="normal", oldest_s=3.0),
    Row("c", incoming=50.0, backlog=100, tls=None, lane="normal", oldest_s=60.0),
]


@pytest.mark.parametrize(
    ("column", "names", "turned"),
    [
        (Column.TENANT, "abc", "cba"),
        (Column.INCOMING, "cba", "bca"),
        (Column.BACKLOG, "cab", "acb"),
        # What went out in the clear is what one looks for.
        (Column.TLS, "bac", "abc"),
        (Column.STATE, "abc", "bca"),
        (Column.LANE, "bac", "acb"),
    ],
)
def test_rows_in_order_and_what_is_not_known_last(column, names, turned):
    assert "".join(row.tenant for row in ordered(ROWS, column)) == names
    assert "".join(row.tenant for row in ordered(ROWS, column, reverse=True)) == turned


@pytest.mark.parametrize("column", list(Column))
def test_every_column_sorts_ten_thousand_rows_without_losing_one(column):
    rows = [Row(f"t{n}", float(n % 7) if n % 3 else None, backlog=n % 5) for n in range(10_000)]
    assert sorted(row.tenant for row in ordered(rows, column)) == sorted(row.tenant for row in rows)


def test_the_sum_of_all():
    every = total(ROWS)
    assert (every.tenant, every.incoming, every.backlog, every.oldest_s) == ("all", 55.0, 109, 60.0)
    assert every.delivered is None
    assert total([]).backlog is None


def test_a_rate_is_that_of_the_last_minute():
    meter = Meter(1000.0)
    for n in range(30):
        meter.add("acme", "delivered", 1000.0 + n)
    # Only half a minute was looked at.
    assert meter.rates(1030.0) == {("acme", "delivered"): 60.0}
    assert meter.rates(1060.0) == {("acme", "delivered"): 30.0}
    assert meter.rates(1000.0 + 30 + WINDOW_S + STEP_S) == {}


def test_what_happened_before_the_first_look_does_not_count():
    meter = Meter(1000.0)
    meter.add("acme", "bounced", 999.9)
    assert meter.rates(1000.1) == {}
    assert meter.rates(1010.0) == {}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 60)), max_size=60), st.randoms())
def test_the_order_in_which_events_come_changes_nothing(events, random):
    shuffled = list(events)
    random.shuffle(shuffled)
    found = []
    for some in (events, shuffled):
        meter = Meter(0.0)
        for tenant, at in some:
            meter.add(tenant, "x", at)
        found.append(meter.rates(60.0))
    assert found[0] == found[1]
    assert round(sum(found[0].values())) == len(events)


def test_arrivals_become_rates_over_at_most_a_minute():
    arrivals = Arrivals()
    arrivals.sample("one", 100.0, {"a": 10})
    assert arrivals.rate("a") is None
    arrivals.sample("one", 102.0, {"a": 20, "b": 5})
    assert arrivals.rate("a") == 300.0
    # It is there for the first time: how much of it is new is not known.
    assert arrivals.rate("b") is None
    assert arrivals.rate("c") is None
    for at in range(104, 200, 2):
        arrivals.sample("one", float(at), {"a": 20, "b": 5})
    assert (arrivals.rate("a"), arrivals.rate("b")) == (0.0, 0.0)
    assert arrivals.span_s <= WINDOW_S + 2


def test_another_reader_begins_at_zero():
    arrivals = Arrivals()
    arrivals.sample("one", 100.0, {"a": 1000})
    arrivals.sample("two", 102.0, {"a": 1})
    assert arrivals.rate("a") is None
    arrivals.sample("two", 104.0, {"a": 3})
    arrivals.sample("two", 104.0, {"a": 9})
    assert arrivals.rate("a") == 60.0
