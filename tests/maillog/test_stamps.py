"""Time stamps: the missing year, the missing zone, and nonsense."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.maillog.stamps import Clock

REFERENCE = dt.datetime(2026, 11, 24, 16, 0, tzinfo=dt.UTC).timestamp()
BERLIN = dt.timezone(dt.timedelta(hours=1))


def clock(zone: dt.tzinfo = dt.UTC) -> Clock:
    return Clock(REFERENCE, zone)


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("Nov 24 15:59:58", dt.datetime(2026, 11, 24, 15, 59, 58, tzinfo=dt.UTC)),
        ("Nov  4 05:00:00", dt.datetime(2026, 11, 4, 5, tzinfo=dt.UTC)),
        # Clocks differ: a little ahead is still today.
        ("Nov 25 03:00:00", dt.datetime(2026, 11, 25, 3, tzinfo=dt.UTC)),
        ("Nov 26 15:00:00", dt.datetime(2025, 11, 26, 15, tzinfo=dt.UTC)),
        ("Dec 31 23:59:59", dt.datetime(2025, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        ("Jan  1 00:00:00", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        # 2024 was the last year with such a day.
        ("Feb 29 12:00:00", dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)),
    ],
)
def test_a_stamp_without_year_is_the_latest_that_is_not_ahead(stamp, moment):
    assert clock().traditional(stamp) == moment.timestamp()


def test_a_log_that_is_followed_goes_into_the_next_year():
    following = clock()
    assert following.traditional("Jan  1 00:00:05") == dt.datetime(
        2026, 1, 1, 0, 0, 5, tzinfo=dt.UTC
    ).timestamp()  # fmt: skip
    new_year = dt.datetime(2027, 1, 1, tzinfo=dt.UTC).timestamp()
    following.move(new_year + 6)
    assert following.traditional("Jan  1 00:00:05") == new_year + 5


def test_a_stamp_without_zone_is_in_that_of_the_host():
    assert clock(BERLIN).traditional("Nov 24 15:00:00") == REFERENCE - 2 * 3600


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-11-24T16:00:00+00:00", 0),
        ("2026-11-24T16:00:00.250000+00:00", 0.25),
        ("2026-11-24T17:00:00+01:00", 0),
        ("2026-11-24T16:00:00Z", 0),
        ("2026-11-24T16:00:00", 0),
    ],
)
def test_a_stamp_of_rfc_5424_says_all_itself(stamp, seconds):
    assert clock().iso(stamp) == REFERENCE + seconds


@pytest.mark.parametrize("stamp", ["Foo 24 15:00:00", "Nov 31 15:00:00", "Nov 24 25:00:00", ""])
def test_nonsense_is_no_time(stamp):
    assert clock().traditional(stamp) is None
    assert clock().iso(stamp) is None


@pytest.mark.parametrize("stamp", ["Nov 24 15:60:00", "Nov 24 15:00:61", "Nov 24 15:xx:00"])
def test_minutes_and_seconds_are_bounded(stamp):
    assert clock().traditional(stamp) is None


@given(st.text(max_size=40))
def test_any_text_gives_a_number_or_nothing(text):
    for found in (clock().traditional(text), clock().iso(text)):
        assert found is None or isinstance(found, float)


def test_what_is_remembered_is_bounded():
    many = clock()
    for day in range(1, 29):
        for hour in range(24):
            for month in ("Jan", "Feb", "Mar", "Apr"):
                many.traditional(f"{month} {day:2} {hour:02}:00:00")
    assert len(many._hours) <= 2000
