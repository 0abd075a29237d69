"""Kinds of values that only the settings of shaping and of warm-up have; see `kinds`.

Limits: a warm-up of 366 days.
Errors: each parser raises `Rejected`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.feedback.phrases import Phrase, parse_phrase
from gatepost.settings.kinds import FILE, matching, whole_number
from gatepost.settings.problems import Problem, Rejected, quoted
from gatepost.settings.schema import Scalar, did_you_mean, listed, shape
from gatepost.settings.tree import Data
from gatepost.traffic.shaping import SUSPEND, Target, Unit
from gatepost.traffic.warmup import SCHEDULES

STANDARD = "standard"
MAX_DAYS = 366
MAX_A_DAY = 1_000_000_000

_OFF = frozenset({"off", "no", "false"})
_SHARE = re.compile(r"1/([0-9]{1,4})")
_RATE = re.compile(r"([0-9]{1,7})/minute")


def _rules(text: str) -> str | None:
    if text.lower() in _OFF:
        return None
    return text if text == STANDARD else FILE.parse(text)


def _target(text: str) -> Target:
    if text == "suspend":
        return SUSPEND
    if (found := _SHARE.fullmatch(text)) and 2 <= (parts := int(found[1])) <= 1000:
        return Target(1 / parts)
    if (found := _RATE.fullmatch(text)) and (rate := int(found[1])) > 0:
        return Target(float(rate), Unit.RATE)
    raise Rejected(
        f"{quoted(text)} says not how far to slow down",
        "write suspend, a share from 1/2 to 1/1000, or a rate such as 30/minute",
    )


def _phrase(text: str) -> str:
    phrase_of(text)
    return text


def phrase_of(text: str) -> Phrase:
    """Return a phrase that stands in a rule.

    Raises:
        Rejected: If it could never be found.
    """
    try:
        return parse_phrase(text)
    except ValueError as error:
        raise Rejected(
            f"{quoted(text)} could never be found in a reply",
            "write words in a row; numbers and words with @ do not count",
        ) from error


def _host_end(text: str) -> str:
    head, _, name = text.partition(".")
    try:
        end = "" if head else f".{normalise_domain(name)}"
    except MalformedMessage:
        end = ""
    if not end:
        raise Rejected(
            f"{quoted(text)} is not the end of a host name",
            "write it with a leading dot, as in .mail.example.org",
        )
    return end


@dataclass(frozen=True, slots=True)
class Days:
    """Numbers by day, or the name of a schedule."""

    label: str = "a list of whole numbers, or the name of a schedule"

    def read(self, data: Data, problems: list[Problem]) -> tuple[int, ...] | None:
        """Return the numbers, none of which is smaller than the one before."""
        if isinstance(data, str):
            if data in SCHEDULES:
                return SCHEDULES[data]
            raise Rejected(
                f"there is no schedule {quoted(data)}",
                did_you_mean(data, SCHEDULES) or f"there are {listed(SCHEDULES)}",
            )
        if not isinstance(data, list) or not data:
            raise Rejected(
                f"{shape(data) if data else 'nothing'} stands where {self.label} is expected",
                "write [50, 100, 500, 1000]",
            )
        if len(data) > MAX_DAYS:
            raise Rejected(f"has {len(data)} days", f"write at most {MAX_DAYS}")
        found: list[int] = []
        for index, each in enumerate(data):
            try:
                number = _A_DAY.read(each, problems)
                if found and number < found[-1]:
                    raise Rejected(
                        f"{number} is less than on the day before",
                        "let each day allow as much as the one before, or more",
                    )
                found.append(number)
            except Rejected as error:
                problems.append(Problem(error.problem, error.remedy, [index]))
        return tuple(found) or None


_A_DAY = whole_number(1, MAX_A_DAY, "500")

RULES = Scalar(f"{STANDARD}, a path, or off", _rules, STANDARD)
TARGET = Scalar("suspend, a share such as 1/8, or a rate such as 30/minute", _target, "1/8")
PHRASE = Scalar("a phrase", _phrase, "too many connections")
HOST_END = Scalar("the end of host names", _host_end, ".mail.example.org")
PROVIDER = matching(
    "the name of a provider or of a rule", r"[a-z0-9][a-z0-9.-]{0,62}", "google.com"
)
DAYS = Days()
