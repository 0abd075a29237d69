"""From problems with paths to `ConfigError` with lines, in file order.

Errors: none.
Security: of a secret file, what is long enough to be a secret is not shown, wherever it stands: an
operator may have put it in the place of a key or of an alias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gatepost.errors import ConfigError
from gatepost.settings.files import Source
from gatepost.settings.locate import lines_of
from gatepost.settings.problems import OTHER, Place, Problem, StepPath, path_text

# Longer than any word that we say, shorter than a third of the shortest secret.
_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{16,}")
_HIDDEN = "(hidden)"


def resolve(problems: Sequence[Problem], sources: Mapping[str, Source]) -> tuple[ConfigError, ...]:
    """Return the problems as they are told, in the order of files and lines.

    Args:
        problems: What was found.
        sources: The files that were read, in order.
    """
    lines = _Lines(problems, sources)
    order = {name: position for position, name in enumerate(sources)}
    told = [_told(problem, lines) for problem in problems]
    # What no file holds, such as tenants of the API, comes behind all files.
    told.sort(key=lambda error: (order.get(error.file, len(order)), error.line))
    return tuple(told)


class _Lines:
    """The lines of all places that the problems name."""

    def __init__(self, problems: Sequence[Problem], sources: Mapping[str, Source]) -> None:
        wanted: dict[str, set[StepPath]] = {}
        for problem in problems:
            # A key that stands twice has its line, and its path leads to the first one.
            if not problem.line or OTHER in problem.problem:
                wanted.setdefault(problem.file, set()).add(problem.place.path)
            if problem.other is not None:
                wanted.setdefault(problem.other.file, set()).add(problem.other.path)
        self._found = {
            file: lines_of(sources[file].octets, paths)
            for file, paths in wanted.items()
            if file in sources and any(paths)
        }

    def of(self, place: Place) -> int:
        """Return the line of a place, or 0."""
        return self._found.get(place.file, {}).get(place.path, 0)


def _told(problem: Problem, lines: _Lines) -> ConfigError:
    place = problem.place
    line = problem.line or lines.of(place)
    text = problem.problem
    if OTHER in text:
        if problem.other is None:
            other = str(lines.of(place))
        else:
            found = lines.of(problem.other)
            other = f"{problem.other.file}:{found}" if found else problem.other.file
        text = text.replace(OTHER, other)
    path, remedy = path_text(place.path), problem.remedy
    if problem.hide:
        path, text, remedy = (_SECRET.sub(_HIDDEN, each) for each in (path, text, remedy))
    return ConfigError(problem.file, line, path, text, remedy)
