"""Keys and replies of the scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import CountersUnavailable
from gatepost.traffic import valkey_words as words_of
from gatepost.traffic.counters import Row
from gatepost.traffic.quota import Claim, Limit, Shortage, campaign_name

ASKED = [words_of.asked(Claim("t", Limit(5, 60))), words_of.asked(Claim("u", Limit(5, 3_600)))]


@given(name=st.text(st.characters(), min_size=1), window=st.integers(1, 2_678_400))
def test_a_key_leads_back_to_its_counter(name: str, window: int) -> None:
    key = (name, "messages", window)
    assert words_of.key_of(words_of.counter_key(key)) == key


@pytest.mark.parametrize("name", [b"", b"x", b"60", b"60:messages", b"x:messages:t"])
def test_what_is_no_counter(name: bytes) -> None:
    assert words_of.key_of(name) is None


def test_replies() -> None:
    assert words_of.taken("0 7 0 1 9 1 2 10", ASKED) == (7, [(False, 1, 9), (True, 2, 10)])
    said = words_of.taken("1 2 5 12.5", ASKED)
    assert said == Shortage(ASKED[1].claim, 5, 12.5)
    said = words_of.taken("1 1 5 -1.000000", ASKED)
    assert said == Shortage(ASKED[0].claim, 5, None)
    assert words_of.added("0 12") == 12


@pytest.mark.parametrize(
    "line", ["", "0", "0 1", "0 7 0 1 9", "1", "1 3 5 1", "1 x 5 1", "2 1 1", "1 1 1 x", "0 x"]
)
def test_replies_that_no_script_gives(line: str) -> None:
    with pytest.raises(CountersUnavailable):
        words_of.taken(line, ASKED)
    with pytest.raises(CountersUnavailable):
        words_of.added("1 5" if line == "0 1" else line)
    with pytest.raises(CountersUnavailable):
        words_of.usages(line, ASKED)


def test_what_was_counted_elsewhere_is_told_by_its_age() -> None:
    row = Row((campaign_name("acme", "a"), "messages", 60), ((88, 2), (95, 0), (100, 3)), 0.0)
    assert words_of.add(row, 201.0) == [
        b"a",
        b"1 60:messages:campaign acme a",
        b"60:messages:campaigns acme",
        b"12:2 0:3",
    ]
