"""Shaping: when a provider's replies slow a lane down towards it, and how it comes back.

Purpose: a provider that answers "too many messages" is sent less by that lane for a time. Only the
pair of lane and provider is slowed: other lanes go on to that provider, and the lane to others.
Format: a slowed pair has steps, each an allowance in deliveries a minute: it begins at the lowest,
and takes the next one each time that nothing new was heard for the time of a step; behind the last
step nothing is held back. A new signal puts it back to the lowest step, for twice as long as the
last time. Shares are of what the pair delivered before it was slowed.
Limits: an allowance is at least `FLOOR` a minute, except in a step that suspends; a step takes at
most `Rule.at_most_s`. What a pair remembers of its last time ends by itself, too.
Errors: none.
Security: what a remote server says can slow the mail to its own provider, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

# Deliveries a minute. Less than one could not be told from a standstill.
FLOOR: Final = 1.0
# Classes of `bounce_rules.yaml` that speak of rate or reputation; a rule may name no other.
CLASSES: Final = frozenset({"rate-limited", "ip-blocked", "reputation"})
# The steps behind one that lets nothing pass.
_AFTER_SUSPENSION: Final = 0.125
_STEPS_OF_RATE: Final = 3
# Replies to what was under way when a pair was slowed say nothing about the new allowance.
SETTLE_S: Final = 30.0


class Unit(StrEnum):
    """What the number of a `Target` is."""

    SHARE = "share"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class Target:
    """How far a pair is slowed.

    Attributes:
        number: A share below 1, deliveries a minute, or 0 for nothing.
        unit: Which of them.
    """

    number: float
    unit: Unit = Unit.SHARE

    def __str__(self) -> str:
        """Return it as it is written."""
        if self.number == 0:
            return "suspend"
        if self.unit is Unit.RATE:
            return f"{self.number:g}/minute"
        return f"1/{round(1 / self.number)}"


SUSPEND: Final = Target(0.0)


@dataclass(frozen=True, slots=True)
class Rule:
    """What slows a pair down.

    Attributes:
        name: Its name.
        classes: Classes of replies that count; with `phrases`, either is enough.
        phrases: Both halves of each text that counts, see `gatepost.feedback.phrases`.
        providers: Providers it is for; empty for all.
        count: So many replies …
        within_s: … within so many seconds …
        share: … that are at least this share of what was delivered in that time.
        to: How far it slows.
        for_s: Seconds at the lowest step, the first time.
        every_s: Seconds at each further step, the first time.
        at_most_s: Neither becomes longer than this.
    """

    name: str
    classes: frozenset[str] = frozenset()
    phrases: tuple[tuple[str, str], ...] = ()
    providers: frozenset[str] = frozenset()
    count: int = 1
    within_s: int = 300
    share: float = 0.0
    to: Target = SUSPEND
    for_s: int = 600
    every_s: int = 600
    at_most_s: int = 14_400


@dataclass(frozen=True, slots=True)
class Group:
    """Mail servers that belong together, or domains that do.

    Attributes:
        name: What the operator calls them.
        hosts: Ends of names of MX hosts, each with a leading dot.
        domains: Recipient domains.
    """

    name: str
    hosts: tuple[str, ...] = ()
    domains: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ShapingRules:
    """All of shaping.

    Attributes:
        on: Whether there is any.
        rules: The first that fits a reply counts it.
        groups: Providers by another name than the domain of their hosts.
    """

    on: bool = False
    rules: tuple[Rule, ...] = ()
    groups: tuple[Group, ...] = ()

    def group_of_domain(self, domain: str) -> str | None:
        """Return the group that names a recipient domain, or None."""
        return next((each.name for each in self.groups if domain in each.domains), None)

    def group_of_host(self, host: str) -> str | None:
        """Return the group that an MX host belongs to, or None."""
        dotted = f".{host}"
        return next((each.name for each in self.groups if dotted.endswith(each.hosts)), None)


NO_SHAPING: Final = ShapingRules()


@dataclass(frozen=True, slots=True)
class Slowed:
    """A pair of lane and provider that is slowed.

    Attributes:
        lane: The lane.
        provider: The provider.
        since: Unix time in seconds at which it was put to the lowest step.
        rates: The allowance of each step in deliveries a minute, the lowest first.
        first_s: Seconds at the lowest step.
        every_s: Seconds at each further step.
        why: What led to it, in words.
        rule: Name of the rule, or empty if the operator did it.
        by: The operator, or empty.
        base: Deliveries a minute before it was slowed; shares are of these.
        strikes: How often it was put back in a row.
    """

    lane: str
    provider: str
    since: float
    rates: tuple[float, ...]
    first_s: float
    every_s: float
    why: str = ""
    rule: str = ""
    by: str = ""
    base: float = 0.0
    strikes: int = 0

    @property
    def total_s(self) -> float:
        """Return how long it takes until nothing is held back, if nothing new is heard."""
        return self.first_s + self.every_s * (len(self.rates) - 1)

    @property
    def until(self) -> float:
        """Return the Unix time at which nothing is held back any more."""
        return self.since + self.total_s

    def rate_after(self, elapsed_s: float) -> float | None:
        """Return the allowance so many seconds after `since`, or None for no limit.

        Args:
            elapsed_s: Seconds; less than 0, of a clock that was put back, counts as 0.
        """
        if elapsed_s < self.first_s:
            return self.rates[0]
        if elapsed_s >= self.total_s:
            return None
        return self.rates[1 + int((elapsed_s - self.first_s) / self.every_s)]

    def rate_at(self, now: float) -> float | None:
        """Return the allowance at a Unix time, or None for no limit."""
        return self.rate_after(now - self.since)

    def is_forgotten(self, now: float) -> bool:
        """Tell whether a new signal would count as the first."""
        return now >= self.until + self.total_s


def steps_of(to: Target, base: float) -> tuple[float, ...]:
    """Return the allowances from the lowest step on.

    Args:
        to: How far a pair is slowed.
        base: Deliveries a minute before.
    """
    if to.unit is Unit.RATE and to.number > 0:
        return tuple(max(FLOOR, to.number * 2**step) for step in range(_STEPS_OF_RATE))
    head = (0.0,) if to.number == 0 else ()
    share = to.number or _AFTER_SUSPENSION
    shares = []
    while share < 1:
        shares.append(max(FLOOR, base * share))
        share *= 2
    return (*head, *shares)


def counts_again(slowed: Slowed | None, started_at: float) -> bool:
    """Tell whether a reply counts, given what was done about the pair before.

    Args:
        slowed: What was done, or None.
        started_at: Unix time at which the delivery began that got the reply.
    """
    if slowed is None:
        return True
    settle = min(SETTLE_S, slowed.first_s / 2)
    return started_at >= slowed.since + settle or started_at < slowed.since - slowed.total_s


def strike(
    before: Slowed | None,
    rule: Rule,
    pair: tuple[str, str],
    base: float,
    why: str,
    now: float,
) -> Slowed:
    """Return a pair as it is once a rule has struck.

    Args:
        before: What was done about it before, or None.
        rule: The rule.
        pair: Lane and provider.
        base: Deliveries a minute that it had of late.
        why: What led to it, in words.
        now: Unix time in seconds.
    """
    strikes = 0
    if before is not None and not before.is_forgotten(now):
        strikes = before.strikes + 1
        # What a slowed pair delivers is no measure of what it can take.
        base = max(base, before.base)
    longer = 2 ** min(strikes, 20)
    return Slowed(
        *pair,
        now,
        steps_of(rule.to, base),
        min(rule.for_s * longer, max(rule.at_most_s, rule.for_s)),
        min(rule.every_s * longer, max(rule.at_most_s, rule.every_s)),
        why,
        rule.name,
        "",
        base,
        strikes,
    )


def by_hand(
    pair: tuple[str, str], rate: float, seconds: float, why: str, by: str, now: float
) -> Slowed:
    """Return a pair as an operator slows it: one step, and then nothing is held back.

    Args:
        pair: Lane and provider.
        rate: Deliveries a minute; 0 for none.
        seconds: For how long.
        why: The operator's reason.
        by: Who.
        now: Unix time in seconds.
    """
    return Slowed(*pair, now, (rate,), seconds, seconds, why, "", by)


def mended(slowed: Slowed, now: float) -> Slowed:
    """Return a pair whose time is not in the future: the clock was put back."""
    return replace(slowed, since=now) if slowed.since > now else slowed


def lowest(each: Sequence[Slowed], now: float) -> tuple[Slowed, float] | None:
    """Return who of several holds a pair back the most, with its allowance, or None."""
    held = [(rate, one) for one in each if (rate := one.rate_at(now)) is not None]
    if not held:
        return None
    rate, one = min(held, key=lambda pair: pair[0])
    return one, rate


def in_words(rate: float) -> str:
    """Return an allowance in words."""
    return "suspended" if rate == 0 else f"slowed to {rate:.3g}/minute"
