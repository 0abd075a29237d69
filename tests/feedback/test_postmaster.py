"""Postmaster Tools: bodies as the schema has them, and answers that may be anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.feedback.postmaster import (
    LABELS_A_REQUEST,
    MAX_DAYS,
    MAX_LABELS,
    PAGE_SIZE,
    Stat,
    is_protected,
    labels_query,
    parse_access,
    parse_page,
    parse_token,
    refresh_form,
    share_of,
    shares_query,
    usable,
)

DAY = 20_780  # 2026-11-23
TOKEN = {
    "client_id": "id",
    "client_secret": "s3cret",
    "refresh_token": "r3fresh",
    "token_uri": "https://oauth2.example/token",
    "type": "authorized_user",
}


def stat(**changes):
    return {
        "name": "domains/x/domainStats/y",
        "metric": "0",
        "date": {"year": 2026, "month": 11, "day": 23},
        "value": {"floatValue": 0.002},
        **changes,
    }


def test_what_is_asked_for_labels():
    assert labels_query(DAY - 1, DAY) == {
        "metricDefinitions": [
            {
                "name": "labels",
                "baseMetric": {"standardMetric": "FEEDBACK_LOOP_ID"},
                "filter": 'aggregation_key_type = "ALL_DKIM"',
            }
        ],
        "timeQuery": {
            "dateRanges": {
                "dateRanges": [
                    {
                        "start": {"year": 2026, "month": 11, "day": 22},
                        "end": {"year": 2026, "month": 11, "day": 23},
                    }
                ]
            }
        },
        "aggregationGranularity": "DAILY",
        "pageSize": 200,
    }
    assert labels_query(DAY, DAY, "next")["pageToken"] == "next"


def test_what_is_asked_for_shares():
    body = shares_query(["tacme", "cspring"], DAY, DAY)
    assert body["metricDefinitions"][1] == {
        "name": "1",
        "baseMetric": {"standardMetric": "FEEDBACK_LOOP_SPAM_RATE"},
        "filter": 'feedback_loop_id = "cspring" AND aggregation_key_type = "ALL_DKIM"',
    }
    # A whole answer fits one page.
    assert LABELS_A_REQUEST * MAX_DAYS <= PAGE_SIZE


def test_labels_that_are_not_ours_are_not_asked_for():
    found = ["tacme", "cspring%20sale~0a", "mnews", "examplesp", "192.0.2.1", "", "t", "tacme"]
    evil = ['t" OR feedback_loop_id = "x', "t\n", "x" * 99, "t" + "x" * 60]
    assert usable([*found, *evil], "examplesp") == [
        "examplesp",
        "tacme",
        "cspring%20sale~0a",
        "mnews",
    ]
    assert len(usable((f"t{number}" for number in range(5000)), "examplesp")) == MAX_LABELS


def test_answers():
    page = parse_page(
        {
            "domainStats": [
                stat(),
                stat(value={"doubleValue": 1}),
                stat(value={"stringList": {"values": ["tacme", 7, "mnews"]}}),
                # Not there yet.
                stat(value=None),
                {"metric": "0"},
            ],
            "nextPageToken": "more",
            "new": 1,
        }
    )
    assert page.after == "more"
    assert page.stats == (
        Stat("0", DAY, 0.002, ()),
        Stat("0", DAY, 1.0, ()),
        Stat("0", DAY, None, ("tacme", "mnews")),
    )
    assert parse_page({}).stats == ()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"domainStats": {}},
        {"nextPageToken": 1},
        {"domainStats": [1]},
        {"domainStats": [stat(metric=1)]},
        {"domainStats": [stat(date={"year": 2026, "month": 0, "day": 0})]},
        {"domainStats": [stat(date={"year": 10**30, "month": 1, "day": 1})]},
        {"domainStats": [stat(date={"year": "2026", "month": 1, "day": 1})]},
        {"domainStats": [stat(value=[])]},
    ],
)
def test_what_is_no_answer(answer):
    with pytest.raises(MalformedMessage):
        parse_page(answer)


WORDS = st.sampled_from(
    [
        *("domainStats", "metric", "date", "value", "year", "month", "day", "floatValue"),
        *("stringList", "values", "nextPageToken", "access_token"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON | st.dictionaries(WORDS, JSON))
def test_any_json_is_read_or_refused(document):
    for parse in (parse_page, parse_access):
        try:
            parse(document)
        except MalformedMessage:
            continue


@pytest.mark.parametrize(
    ("number", "share"), [(0.0, 0.0), (1.0, 1.0), (1.01, None), (-0.1, None), (None, None)]
)
def test_a_share_is_one(number, share):
    assert share_of(Stat("0", DAY, number, ())) == share


def test_a_token_file():
    token = parse_token(json.dumps(TOKEN))
    assert refresh_form(token) == {
        "client_id": "id",
        "client_secret": "s3cret",
        "refresh_token": "r3fresh",
        "grant_type": "refresh_token",
    }
    assert "s3cret" not in repr(token)
    assert "r3fresh" not in repr(token)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds no JSON object"),
        (
            json.dumps({**TOKEN, "client_id": 1, "refresh_token": ""}),
            "has no client_id and no refr",
        ),
        (json.dumps({**TOKEN, "token_uri": "http://oauth2.example/"}), "token_uri without https"),
    ],
)
def test_what_is_no_token_file(text, problem):
    with pytest.raises(MalformedMessage, match=problem) as caught:
        parse_token(text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "protected"),
    [
        ("https://a.example/", True),
        ("http://127.0.0.1:8080/", True),
        ("http://[::1]/", True),
        ("http://a.example/", False),
        ("ftp://127.0.0.1/", False),
        ("https://", False),
        ("http://[", False),
    ],
)
def test_where_a_secret_may_go(url, protected):
    assert is_protected(url) == protected
