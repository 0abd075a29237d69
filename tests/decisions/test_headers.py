from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.actions import AddHeader, RemoveHeader
from gatepost.decisions.facts import Header
from gatepost.decisions.headers import drop_header, drop_occurrences, set_header, values_of
from tests.world import edited, headers, message, values

ONE = headers(("Subject", "x"), ("X-Tag", "a"), ("to", "y"), ("X-TAG", "b"), ("x-tag", "c"))


def test_values_in_any_case_and_in_order() -> None:
    assert values_of(ONE, "X-tag") == ["a", "b", "c"]
    assert values_of(ONE, "X-Other") == []


def test_what_is_already_so_is_not_touched() -> None:
    assert set_header(headers(("x-tag", " a \n")), "X-Tag", "a") == []
    assert drop_header(ONE, "X-Other") == []


def test_the_highest_index_goes_first() -> None:
    assert set_header(ONE, "X-Tag", "a") == [
        RemoveHeader("X-Tag", 3),
        RemoveHeader("X-Tag", 2),
        RemoveHeader("X-Tag", 1),
        AddHeader("X-Tag", "a"),
    ]
    assert drop_occurrences("X-Tag", [1, 3]) == [RemoveHeader("X-Tag", 3), RemoveHeader("X-Tag", 1)]


NAMES = st.sampled_from(["X-Tag", "x-tag", "X-TAG", "Subject"])
FIELDS = st.lists(st.builds(Header, NAMES, st.sampled_from(["a", "b", " a"])), max_size=6)


@given(FIELDS)
def test_afterwards_it_stands_once_and_nothing_else_has_changed(fields) -> None:
    facts = message()
    before = edited(facts, [AddHeader(field.name, field.value) for field in fields])
    after = edited(before, set_header(before.headers, "X-Tag", "a"))
    assert [value.strip() for value in values(after, "X-Tag")] == ["a"]
    assert values(after, "Subject") == values(before, "Subject")
    assert set_header(after.headers, "X-Tag", "a") == []
    gone = edited(before, drop_header(before.headers, "X-Tag"))
    assert values(gone, "X-Tag") == []
    assert values(gone, "Subject") == values(before, "Subject")


@pytest.mark.parametrize("indices", [[], [1], [2], [1, 2], [1, 3], [3, 2, 1]])
def test_chosen_occurrences_go(indices: list[int]) -> None:
    before = message(headers=ONE)
    after = edited(before, drop_occurrences("X-Tag", indices))
    kept = [value for place, value in enumerate("abc", 1) if place not in indices]
    assert values(after, "X-Tag") == kept
