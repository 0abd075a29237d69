"""RFC 8461 §3.1: which TXT records announce a policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.mtasts.record import NOTHING, read_records


@pytest.mark.parametrize(
    ("texts", "policy_id"),
    [
        ([b"v=STSv1; id=20260101;"], "20260101"),
        ([b"v=STSv1; id=20260101"], "20260101"),
        ([b"v=STSv1;id=a"], "a"),
        ([b"v=STSv1 ; id=a ; "], "a"),
        ([b"v=STSv1;\tid=a\t;"], "a"),
        ([b"v=STSv1; id=" + b"a" * 32], "a" * 32),
        ([b"v=STSv1; other=x!y:z; id=a"], "a"),
        ([b"v=STSv1; id=a; id=b"], "a"),
        # §3.1: others are discarded before they are counted.
        ([b"v=STSv1; id=a", b"v=spf1 -all", b"", b"google-site-verification=x"], "a"),
        ([b"v=STSv1; id=a", b"v=STSv2; id=b"], "a"),
        ([b"v=STSv1; id=a", b"v=STSv1"], "a"),
    ],
)
def test_a_record_that_announces(texts: list[bytes], policy_id: str) -> None:
    found = read_records(texts)
    assert (found.policy_id, found.problem) == (policy_id, "")


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([b"v=STSv1; id=a", b"v=STSv1; id=a"], "2 TXT records begin with v=STSv1"),
        ([b"v=STSv1;"], "the TXT record has no id"),
        ([b"v=STSv1; ID=a"], "the TXT record has no id"),
        ([b"v=STSv1; id="], "the TXT record does not follow the syntax"),
        ([b"v=STSv1; id=a b"], "the TXT record does not follow the syntax"),
        ([b"v=STSv1; id=a;; x=y"], "the TXT record does not follow the syntax"),
        ([b"v=STSv1; id=\xff"], "the TXT record does not follow the syntax"),
        ([b"v=STSv1; id=a-b"], "the id of the TXT record is not 1 to 32 letters and digits"),
        (
            [b"v=STSv1; id=" + b"a" * 33],
            "the id of the TXT record is not 1 to 32 letters and digits",
        ),
    ],
)
def test_a_record_that_announces_nothing_and_why(texts: list[bytes], problem: str) -> None:
    found = read_records(texts)
    assert (found.policy_id, found.problem) == ("", problem)


@pytest.mark.parametrize(
    "texts",
    [[], [b"v=spf1"], [b" v=STSv1; id=a"], [b"V=STSv1; id=a"], [b"v=stsv1; id=a"], [b"v=STSv1x;"]],
)
def test_what_is_no_record_is_no_problem(texts: list[bytes]) -> None:
    assert read_records(texts) is NOTHING


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(b"v=STSv1;".__add__)))
def test_any_octets_give_an_announcement(texts: list[bytes]) -> None:
    found = read_records(texts)
    assert not (found.policy_id and found.problem)
    assert found.policy_id == "" or (found.policy_id.isalnum() and len(found.policy_id) <= 32)
