"""RFC 8461 about time: what holds, what is fetched when, and what a failure changes."""

from __future__ import annotations

from gatepost.tls.mtasts.entry import AFTER_FAILURE_S, REFRESH_S, Failure, StsEntry
from gatepost.tls.mtasts.policy import StsMode, StsPolicy

T = 1_800_000_000.0
WEEK = 604_800
POLICY = StsPolicy(StsMode.ENFORCE, WEEK, ("mx.example",))
HELD = StsEntry("example", POLICY, "one", T)
NEW = StsEntry("example")


def test_a_policy_holds_until_its_max_age() -> None:
    assert HELD.live(T) is POLICY
    assert HELD.live(T + WEEK - 1) is POLICY
    assert HELD.live(T + WEEK) is None
    assert NEW.live(T) is None


def test_section_3_1_a_missing_record_does_not_end_a_policy() -> None:
    assert not HELD.wants_fetch("", T + 100)
    assert HELD.live(T + 100) is POLICY


def test_section_3_3_a_policy_is_fetched_when_it_is_announced_and_not_known() -> None:
    assert NEW.wants_fetch("one", T)
    assert not NEW.wants_fetch("", T)
    assert HELD.wants_fetch("one", T + WEEK)


def test_section_5_1_a_new_id_is_a_reason_to_fetch_and_the_same_is_not() -> None:
    assert HELD.wants_fetch("two", T + 1)
    assert not HELD.wants_fetch("one", T + WEEK - 1)


def test_section_3_3_five_minutes_after_a_failed_fetch() -> None:
    failed = NEW.failed(Failure.FETCH, "refused", "one", T)
    assert not failed.wants_fetch("one", T + AFTER_FAILURE_S - 1)
    assert failed.wants_fetch("one", T + AFTER_FAILURE_S)
    assert failed.wants_fetch("two", T + 1), "another id is another policy"
    assert (failed.failures, failed.failed(Failure.FETCH, "", "one", T).failures) == (1, 2)


def test_a_failure_leaves_the_policy_that_holds() -> None:
    failed = HELD.failed(Failure.WEBPKI, "expired certificate", "two", T + 10)
    assert failed.live(T + 10) is POLICY
    assert failed.policy_id == "one"
    assert not failed.wants_fetch("two", T + 11)


def test_section_10_2_a_policy_that_holds_is_refreshed_every_day_whatever_is_announced() -> None:
    assert not HELD.wants_refresh(T + REFRESH_S - 1)
    assert HELD.wants_refresh(T + REFRESH_S)
    assert not HELD.wants_refresh(T + WEEK), "what no longer holds is not kept alive"
    assert not NEW.wants_refresh(T)


def test_a_failed_refresh_rests_and_is_tried_again() -> None:
    failed = HELD.failed(Failure.FETCH, "timeout", "", T + REFRESH_S)
    assert not failed.wants_refresh(T + REFRESH_S + AFTER_FAILURE_S - 1)
    assert failed.wants_refresh(T + REFRESH_S + AFTER_FAILURE_S)


def test_section_3_3_a_refresh_begins_the_age_anew_and_forgets_failures() -> None:
    failed = HELD.failed(Failure.FETCH, "timeout", "", T + REFRESH_S)
    fresh = failed.fetched(POLICY, "", T + 2 * REFRESH_S)
    assert fresh.live(T + 2 * REFRESH_S + WEEK - 1) is POLICY
    assert (fresh.policy_id, fresh.failure, fresh.failures) == ("one", None, 0)
    assert fresh.fetched(POLICY, "two", T).policy_id == "two"


def test_an_expired_policy_is_not_stretched_by_an_unchanged_id() -> None:
    # A peer does this: github Snawoot/postfix-mta-sts-resolver issue 109.
    assert HELD.live(T + WEEK + 1) is None
    assert HELD.wants_fetch("one", T + WEEK + 1)
