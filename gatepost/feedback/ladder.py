"""The ladder: which step a tenant's rates lead to, and when one is taken back.

Purpose: warn, slow down, pause marketing, pause all, before a provider does the same to everybody
who sends from here.
Source: Google's guidelines for bulk senders (below 0.1 %, never 0.3 %), Amazon SES (review at 0.1 %
complaints and 5 % bounces, pause at 0.5 % and 10 %), RFC 9477 §5 (not too fast).
Format: up at once, to the highest step whose threshold the lower end of the interval has reached,
if there are as many deliveries and complaints as the rules ask for. Down by one step, from warn and
slow only, after a whole window on that step of which the rates alone would lead to a lower one. A
pause is never lifted by time: without mail there is nothing to judge by, so the operator has to.
Limits: counts are by the hour; after a resume they begin with the next full one.
Errors: none.
Security: an operator's pause is none of the ladder's business, and no rate ends it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatepost.feedback.rates import Measured, Rates
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Status

_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Evidence:
    """One rate, and where each step begins.

    Attributes:
        what: In words, such as ``complaints``.
        measured: The rate.
        thresholds: The share at which each step begins.
    """

    what: str
    measured: Measured
    thresholds: Mapping[Step, float]

    def step(self, rules: LadderRules) -> Step:
        """Return the step that it leads to."""
        seen = self.measured
        if seen.of < rules.min_delivered or seen.count < rules.min_complaints:
            return Step.NONE
        steps = [step for step, share in self.thresholds.items() if seen.low >= share]
        return available(max(steps, default=Step.NONE), rules)

    def words(self) -> str:
        """Return the rate with its numbers."""
        seen = self.measured
        return (
            f"{self.what} {percent(seen.share)} ({seen.count:,} of {seen.of:,}, "
            f"at least {percent(seen.low)})"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The step that a tenant should be on.

    Attributes:
        step: The step.
        why: In words.
        evidence: The rate that decided, or None for a step that is taken back.
    """

    step: Step
    why: str
    evidence: Evidence | None = None


def available(step: Step, rules: LadderRules) -> Step:
    """Return a step, or the one before it where there is no lane to slow down to."""
    return Step.WARN if step is Step.SLOW and rules.lane is None else step


def evidence_of(
    rates: Rates | None, rules: LadderRules, gmail: Measured | None = None
) -> list[Evidence]:
    """Return what is known of a tenant.

    Args:
        rates: Its rates in the window, or None without any mail.
        rules: The rules.
        gmail: Its complaints at Gmail, as estimated from Postmaster Tools, or None.
    """
    found = []
    if rates is not None:
        found.append(Evidence("complaints", rates.complaints, rules.complaints))
        found.append(Evidence("hard bounces", rates.bounces, rules.bounces))
    if gmail is not None:
        found.append(Evidence("complaints at Gmail", gmail, rules.complaints))
    return found


def next_step(
    status: Status, evidence: Iterable[Evidence], rules: LadderRules, now: float
) -> Outcome | None:
    """Return the step that a tenant should change to, or None if it should stay.

    Args:
        status: What holds.
        evidence: Of the window, which begins at `window_start`.
        rules: The rules.
        now: Unix time in seconds.
    """
    known = sorted(evidence, key=lambda each: (each.step(rules), each.measured.low))
    wanted = known[-1].step(rules) if known else Step.NONE
    if wanted > status.step:
        return Outcome(wanted, known[-1].words(), known[-1])
    if wanted == status.step or status.step > Step.SLOW or now < status.since + rules.window_s:
        return None
    step = available(Step(status.step - 1), rules)
    if step == status.step:
        step = Step(step - 1)
    return Outcome(max(step, wanted), f"a whole window without reason for {status.step.keyword}")


def window_start(status: Status, rules: LadderRules, now: float) -> float:
    """Return the Unix time from which on events count, which is a full hour.

    Args:
        status: What holds; nothing before its last resume counts.
        rules: The rules.
        now: Unix time in seconds.
    """
    start = max(now - rules.window_s, status.counted_from)
    return float(math.ceil(start / _HOUR_S) * _HOUR_S)


def percent(share: float) -> str:
    """Return a share in per cent, precise enough for thresholds of a hundredth."""
    return f"{share * 100:.2f} %"
