"""Problems of a configuration while it is being read: found without lines, told with lines.

Purpose: validation works on plain data, which is quick and knows no lines. It names each problem by
its path; only when there is something to tell, the files are read once more to find the lines, see
`locate`. So 100,000 tenants without a mistake pay nothing for good messages.
Format: a path is the steps from the top of a file, such as ``("tenants", "acme", "logins", 0)``.
Errors: `Rejected` is how one value is refused; who holds the value adds where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Step = str | int
StepPath = tuple[Step, ...]

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_BARE = re.compile(r"[!-Z^-~]+")

# Stands in a text for where the other place is, until lines are known; no text of a file holds it.
OTHER = "\0"


class Rejected(Exception):
    """One value that cannot be used.

    Attributes:
        problem: What is wrong, without a full stop.
        remedy: What to write instead, without a full stop.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting stands.

    Attributes:
        file: The file, as it is named in messages.
        path: Steps from the top of the file; empty for the file as a whole.
    """

    file: str
    path: StepPath = ()


@dataclass(slots=True)
class Problem:
    """One problem of one file.

    Attributes:
        problem: What is wrong; `OTHER` stands for where `other` is.
        remedy: What to write instead.
        steps: Steps from the place to the top, innermost first: each level appends its own.
        line: Line where it is known already, or 0.
        file: The file, or empty until who reads the file has filled it in.
        other: The further place that the text names.
        hide: Whether the file is secret, so that nothing in it may be shown.
    """

    problem: str
    remedy: str
    steps: list[Step] = field(default_factory=list)
    line: int = 0
    file: str = ""
    other: Place | None = None
    hide: bool = False

    @property
    def place(self) -> Place:
        """Return where it is."""
        return Place(self.file, tuple(reversed(self.steps)))


class Report:
    """Collects errors and warnings of all files.

    Attributes:
        errors: What makes the configuration unusable.
        warnings: What is probably not meant so.
    """

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self._warnings: dict[object, list[Problem]] = {}

    def error(self, place: Place, problem: str, remedy: str, other: Place | None = None) -> None:
        """Add an error."""
        self.errors.append(_problem(place, problem, remedy, other))

    def warn(self, place: Place, problem: str, remedy: str, *, group: object = None) -> None:
        """Add a warning.

        Args:
            place: Where.
            problem: What is probably not meant.
            remedy: What to write instead.
            group: Warnings of one group are told once, with their number: a platform with
                thousands of like tenants must still see the others.
        """
        problems = self._warnings.setdefault(group or (place, problem), [])
        problems.append(_problem(place, problem, remedy, None))

    @property
    def warnings(self) -> list[Problem]:
        """Return one warning for each group."""
        return [_summary(problems) for problems in self._warnings.values()]


def stand_in(problems: list[Problem], before: int, step: Step) -> None:
    """Say of the problems found since `before` in what they stand."""
    for problem in problems[before:]:
        problem.steps.append(step)


def path_text(path: Sequence[Step]) -> str:
    """Return a path in one word, such as ``tls.domains[example.org].match[0]``."""
    text = ""
    for step in path:
        if isinstance(step, str) and _WORD.fullmatch(step):
            text += f".{step}" if text else step
        else:
            shown = step if isinstance(step, int) or _BARE.fullmatch(step) else ascii(step)
            text += f"[{shown}]"
    return text


def quoted(text: str, limit: int = 60) -> str:
    """Return text from a file in quotation marks, in ASCII, cut to a length that fits a message."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    return '"' + ascii(shown)[1:-1] + '"'


def _problem(place: Place, problem: str, remedy: str, other: Place | None) -> Problem:
    return Problem(problem, remedy, list(reversed(place.path)), 0, place.file, other)


def _summary(problems: list[Problem]) -> Problem:
    first, more = problems[0], len(problems) - 1
    if more:
        plural = "place" if more == 1 else "places"
        first.problem += f" (and so in {more} more {plural})"
    return first
