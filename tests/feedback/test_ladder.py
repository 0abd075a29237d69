"""The ladder: up on proof, down by time and only where mail still flows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback.ladder import (
    Evidence,
    available,
    evidence_of,
    next_step,
    percent,
    window_start,
)
from gatepost.feedback.rates import Rates, measure
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Pause, Scope, Status

NOW = 1_800_000_000.0
RULES = LadderRules(lane="bulk")
DAY = 86_400


def complaints(count, of, rules=RULES):
    return Evidence("complaints", measure(count, of), rules.complaints)


def outcome(status, *evidence, rules=RULES, now=NOW):
    return next_step(status, evidence, rules, now)


def on(step, age_s=0.0):
    return Status(step, NOW - age_s, "why")


# What research/feedback counted: complaints that it takes to be sure of 0.1 % and 0.3 %.
@pytest.mark.parametrize(
    ("count", "of", "step"),
    [
        (2, 1_000, Step.NONE),
        (3, 1_000, Step.WARN),
        (6, 1_000, Step.SLOW),
        (7, 1_000, Step.PAUSE_MARKETING),
        (17, 10_000, Step.WARN),
        (41, 10_000, Step.PAUSE_MARKETING),
        (66, 10_000, Step.PAUSE_ALL),
        (16, 10_000, Step.NONE),
    ],
)
def test_steps_are_taken_on_the_lower_end(count, of, step):
    assert complaints(count, of).step(RULES) is step
    found = outcome(Status(), complaints(count, of))
    assert (found.step if found else Step.NONE) is step


def test_few_complaints_prove_nothing_whatever_their_share():
    assert complaints(2, 500).measured.low > 0.001
    assert complaints(2, 500).step(RULES) is Step.NONE
    assert complaints(2, 500).step(replace(RULES, min_complaints=2)) is Step.WARN
    assert complaints(20, 199).step(RULES) is Step.NONE
    assert complaints(20, 200).step(RULES) is Step.PAUSE_ALL


def test_it_goes_up_at_once_and_says_why():
    found = outcome(Status(), complaints(66, 10_000))
    assert found.step is Step.PAUSE_ALL
    assert found.why == "complaints 0.66 % (66 of 10,000, at least 0.52 %)"
    assert outcome(on(Step.PAUSE_ALL), complaints(66, 10_000)) is None


def test_the_worst_rate_decides():
    rates = Rates("acme", delivered=900, reporting=900, bounced={"x": 100}, hard=100)
    evidence = evidence_of(rates, RULES, measure(70, 10_000))
    assert [each.what for each in evidence] == ["complaints", "hard bounces", "complaints at Gmail"]
    found = next_step(Status(), evidence, RULES, NOW)
    assert (found.step, found.evidence.what) == (Step.PAUSE_ALL, "complaints at Gmail")
    found = next_step(Status(), evidence[:2], RULES, NOW)
    # 10 % of 1,000 are at least 8.3 %.
    assert (found.step, found.evidence.what) == (Step.PAUSE_MARKETING, "hard bounces")
    assert evidence_of(None, RULES) == []


def test_without_a_slow_lane_the_step_is_left_out():
    rules = replace(RULES, lane=None)
    assert outcome(Status(), complaints(6, 1_000), rules=rules).step is Step.WARN
    assert outcome(on(Step.WARN), complaints(6, 1_000), rules=rules) is None
    assert outcome(Status(), complaints(7, 1_000), rules=rules).step is Step.PAUSE_MARKETING
    # The lane was taken out of the configuration in the meantime.
    assert outcome(on(Step.SLOW, 8 * DAY), rules=rules).step is Step.WARN


def test_a_step_that_is_off_is_never_taken():
    rules = replace(RULES, complaints={Step.WARN: 0.001})
    assert complaints(100, 1_000, rules).step(rules) is Step.WARN


@pytest.mark.parametrize("step", [Step.WARN, Step.SLOW])
def test_warn_and_slow_go_back_by_one_step_after_a_whole_window(step):
    assert outcome(on(step, RULES.window_s - 1)) is None
    found = outcome(on(step, RULES.window_s))
    assert found.step is Step(step - 1)
    assert found.why == f"a whole window without reason for {step.keyword}"
    # As long as there is reason for it, it stays.
    reason = complaints(3, 1_000) if step is Step.WARN else complaints(6, 1_000)
    assert outcome(on(step, 2 * RULES.window_s), reason) is None


@pytest.mark.parametrize("step", [Step.PAUSE_MARKETING, Step.PAUSE_ALL])
def test_a_pause_is_never_lifted_by_time(step):
    assert outcome(on(step, 400 * DAY)) is None
    assert outcome(on(step, 400 * DAY), complaints(0, 100_000)) is None


def test_nothing_before_a_resume_counts():
    resumed = Status(counted_from=NOW - DAY + 10)
    assert window_start(resumed, RULES, NOW) == 1_799_913_600 + 3_600
    assert window_start(resumed, RULES, NOW) >= resumed.counted_from
    start = window_start(Status(), RULES, NOW)
    assert 0 <= start - (NOW - RULES.window_s) < 3_600
    assert start % 3_600 == 0


EVIDENCE = st.lists(
    st.builds(
        lambda of, share, kind: Evidence(
            "x", measure(int(of * share), of), RULES.complaints if kind else RULES.bounces
        ),
        st.integers(0, 100_000),
        st.floats(0, 0.2),
        st.booleans(),
    ),
    max_size=3,
)
STATUSES = st.builds(Status, st.sampled_from(Step), st.floats(NOW - 30 * DAY, NOW), st.just("why"))


@given(st.integers(0, 10_000), st.integers(1, 10**6), st.booleans())
def test_more_complaints_never_lead_to_a_milder_step(count, of, lane):
    rules = replace(RULES, lane="bulk" if lane else None)
    assert complaints(count + 1, of, rules).step(rules) >= complaints(count, of, rules).step(rules)


@given(STATUSES, EVIDENCE)
def test_it_never_goes_up_below_the_minimum_counts(status, evidence):
    few = [
        each
        for each in evidence
        if each.measured.of < RULES.min_delivered or each.measured.count < RULES.min_complaints
    ]
    found = next_step(status, few, RULES, NOW)
    assert found is None or found.step < status.step


@given(STATUSES, EVIDENCE)
def test_a_change_is_a_change_and_then_there_is_none(status, evidence):
    found = next_step(status, evidence, RULES, NOW)
    if found is None:
        return
    assert found.step is not status.step
    assert found.step >= status.step - 1
    changed = replace(status, step=found.step, since=NOW, why=found.why)
    # What is computed again, after a crash or a minute later, changes nothing.
    assert next_step(changed, evidence, RULES, NOW) is None
    assert next_step(changed, evidence, RULES, NOW + 60) is None


@given(STATUSES, EVIDENCE, st.sampled_from(Scope))
def test_the_operators_pause_changes_nothing_of_what_is_computed(status, evidence, scope):
    paused = replace(status, pause=Pause(scope, "why", NOW))
    assert next_step(paused, evidence, RULES, NOW) == next_step(status, evidence, RULES, NOW)


@given(st.sampled_from(Step), st.none() | st.just("bulk"))
def test_a_step_is_there_or_the_one_before_it(step, lane):
    rules = replace(RULES, lane=lane)
    assert available(step, rules) in {step, Step.WARN}
    assert available(available(step, rules), rules) is available(step, rules)


def test_shares_are_shown_precisely_enough():
    assert percent(0.00123) == "0.12 %"
