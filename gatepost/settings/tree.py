"""From the octets of a YAML file to plain data: text, lists and mappings, and nothing else.

Purpose: a scalar stays the text that stands in the file; the setting that it belongs to decides
what it means. So ``off``, ``no`` and ``1e3`` are what the operator wrote.
Source: YAML 1.1 as libyaml reads it; anchors, aliases and merge keys (``<<``) work.
Format: None stands for a value that is left empty or is ``null`` or ``~`` without quotes.
Limits: 64 MiB a file, four times the size of 100,000 tenants. Nesting of 32, far beyond
any setting. Aliases may repeat 1,000,000 values in all: nested aliases double with every level, and
a file of 1 KiB must not fill the memory.
Errors: `parse` raises `Unreadable`; a key that stands twice is reported and reading goes on.
Not handled: tags (``!!str``), several documents in a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias, cast

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from gatepost.settings.problems import OTHER, Problem, Step, quoted, stand_in

Data: TypeAlias = "str | list[Data] | dict[str, Data] | None"

MAX_FILE_OCTETS = 64 * 1024 * 1024
MAX_DEPTH = 32
MAX_ALIASED = 1_000_000
MERGE_KEY = "<<"

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# What YAML does not allow, and what it takes for the end of a line and editors do not: the lines in
# our messages must be those that the operator sees.
_FORBIDDEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufffe\\uffff]|\\r(?!\\n)"
)


class Unreadable(Exception):
    """A file that is no YAML, or more than we take.

    Attributes:
        line: 1-based line, or 0.
        problem: What is wrong.
        remedy: What to do.
    """

    def __init__(self, line: int, problem: str, remedy: str) -> None:
        self.line = line
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem)


def parse(octets: bytes) -> tuple[Data, list[Problem]]:
    """Return the data of a YAML file, and its keys that stand twice.

    Raises:
        Unreadable: If it is no YAML, uses what is not handled, or exceeds a limit.
    """
    _check_characters(octets)
    reader = _Reader(octets)
    try:
        data = reader.document()
    except yaml.YAMLError as error:
        raise _syntax_error(error, octets) from error
    return data, reader.problems


def line_of(event: Event) -> int:
    """Return the 1-based line on which an event starts."""
    mark = event.start_mark
    return mark.line + 1 if mark is not None else 0


def events(octets: bytes) -> Callable[[], Event]:
    """Return a function that gives the next event of a file.

    Events take half the time of PyYAML's composer and a fifth of its loader's, and keep nothing.
    """
    return cast("Callable[[], Event]", CParser(octets).get_event)


class _Reader:
    """Builds data from events in one pass.

    The loops handle the frequent cases in place: with a million values in a file, a call for each
    can be felt.
    """

    def __init__(self, octets: bytes) -> None:
        self.problems: list[Problem] = []
        self._next = events(octets)
        self._anchors: dict[str, Data] = {}
        self._open: set[str] = set()
        # By identity, with the object itself, so that no other object can get its identity.
        self._weights: dict[int, tuple[int, Data]] = {}
        self._aliased = 0

    def document(self) -> Data:
        """Return the data of the only document; None if there is none."""
        self._next()
        if isinstance(self._next(), StreamEndEvent):
            return None
        data = self._value(self._next(), 0)
        self._next()
        event = self._next()
        if not isinstance(event, StreamEndEvent):
            raise Unreadable(
                line_of(event), "a second YAML document begins", "keep one document in a file"
            )
        return data

    def _sequence(self, depth: int) -> list[Data]:
        found: list[Data] = []
        get, add = self._next, found.append
        while True:
            event = get()
            if type(event) is ScalarEvent and event.anchor is None and event.tag is None:
                text: str = event.value
                add(None if text in _NULLS and event.implicit[0] else text)
            elif type(event) is SequenceEndEvent:
                return found
            else:
                add(self._inner(event, depth, len(found)))

    def _mapping(self, depth: int) -> dict[str, Data]:  # noqa: C901  # see the class
        found: dict[str, Data] = {}
        merges: list[tuple[int, Data]] = []
        get = self._next
        while True:
            event = get()
            if type(event) is MappingEndEvent:
                break
            if type(event) is not ScalarEvent or event.tag is not None or not event.value:
                raise Unreadable(
                    line_of(event), "a key is missing or no text", "write a name before the colon"
                )
            key: str = event.value
            if event.anchor is not None:
                self._anchors[event.anchor] = key
            value: Data
            inner = get()
            if type(inner) is ScalarEvent and inner.anchor is None and inner.tag is None:
                text: str = inner.value
                value = None if text in _NULLS and inner.implicit[0] else text
            elif (
                type(inner) is SequenceStartEvent
                and inner.anchor is None
                and inner.tag is None
                and depth < MAX_DEPTH
            ):
                before = len(self.problems)
                value = self._sequence(depth + 1)
                if len(self.problems) != before:
                    stand_in(self.problems, before, key)
            else:
                value = self._inner(inner, depth, key)
            if key in found:
                self.problems.append(_twice(key, line_of(event)))
            elif key == MERGE_KEY and event.implicit[0]:
                merges.append((line_of(event), value))
            else:
                found[key] = value
        for line, merged in merges:
            _merge(line, merged, found)
        return found

    def _inner(self, event: Event, depth: int, step: Step) -> Data:
        """Return the data of a value within another one."""
        before = len(self.problems)
        data = self._value(event, depth)
        stand_in(self.problems, before, step)
        return data

    def _value(self, event: Event, depth: int) -> Data:
        """Return the data of the value that begins with an event."""
        if isinstance(event, AliasEvent):
            return self._alias(event)
        assert isinstance(event, ScalarEvent | CollectionStartEvent)
        if event.tag is not None:
            raise Unreadable(
                line_of(event),
                f"has the YAML tag {quoted(event.tag)}",
                "remove the tag; the setting decides what a value means",
            )
        if event.anchor is None:
            return self._untagged(event, depth)
        self._open.add(event.anchor)
        data = self._untagged(event, depth)
        self._open.discard(event.anchor)
        self._anchors[event.anchor] = data
        self._weights[id(data)] = self._weigh(data), data
        return data

    def _untagged(self, event: ScalarEvent | CollectionStartEvent, depth: int) -> Data:
        if isinstance(event, ScalarEvent):
            text: str = event.value
            return None if text in _NULLS and event.implicit[0] else text
        if depth >= MAX_DEPTH:
            raise Unreadable(
                line_of(event),
                f"is nested more than {MAX_DEPTH} levels deep",
                "no setting needs that; check brackets and indentation",
            )
        is_sequence = isinstance(event, SequenceStartEvent)
        return self._sequence(depth + 1) if is_sequence else self._mapping(depth + 1)

    def _alias(self, event: AliasEvent) -> Data:
        name = event.anchor or ""
        if name in self._open:
            raise Unreadable(
                line_of(event),
                f"the alias *{name} stands within what it stands for",
                "write the value out",
            )
        if name not in self._anchors:
            raise Unreadable(
                line_of(event),
                f"the alias *{name} has no anchor &{name} before it",
                f"put &{name} before the value that it stands for",
            )
        data = self._anchors[name]
        self._aliased += self._weight(data)
        if self._aliased > MAX_ALIASED:
            raise Unreadable(
                line_of(event),
                f"aliases repeat more than {MAX_ALIASED} values",
                "write values out instead of nesting aliases",
            )
        return data

    def _weight(self, data: Data) -> int:
        """Return how many values reading `data` will visit, aliases followed."""
        if not isinstance(data, dict | list):
            return 1
        known = self._weights.get(id(data))
        return known[0] if known is not None else self._weigh(data)

    def _weigh(self, data: Data) -> int:
        children = data.values() if isinstance(data, dict) else data
        if children is None or isinstance(children, str):
            return 1
        return 1 + sum(self._weight(child) for child in children)


def _merge(line: int, value: Data, into: dict[str, Data]) -> None:
    for source in value if isinstance(value, list) else [value]:
        if not isinstance(source, dict):
            raise Unreadable(
                line,
                f"{MERGE_KEY} needs a mapping",
                "write the alias of a mapping, such as <<: *common",
            )
        for key, item in source.items():
            into.setdefault(key, item)


def _twice(key: str, line: int) -> Problem:
    return Problem(f"stands twice, first in line {OTHER}", "keep one of the two", [key], line)


def _check_characters(octets: bytes) -> None:
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise Unreadable(
            line,
            f"octet 0x{octets[error.start]:02x} is not UTF-8",
            "save the file in UTF-8",
        ) from error
    if (found := _FORBIDDEN.search(text)) is not None:
        raise Unreadable(
            text.count("\n", 0, found.start()) + 1,
            f"contains the control character U+{ord(found[0]):04X}",
            "remove it",
        )


# What libyaml says, and what an operator should do about it.
_REMEDIES = {
    "mapping values are not allowed in this context": "check the indentation, put a blank after "
    "the colon of a key, and quotes around a value that contains a colon and a blank",
    "could not find expected ':'": "put a colon and a blank after the key",
    "did not find expected key": "check the indentation of this line and of those above",
    "did not find expected '-' indicator": "check the indentation of the list",
    "did not find expected ',' or ']'": "close the list with ]",
    "did not find expected ',' or '}'": "close the mapping with }",
    "did not find expected node content": "write a value after the comma or the bracket",
    "did not find expected alphabetic or numeric character": "put quotes around a value that "
    'starts with * or &, as in "*"',
}


def _syntax_error(error: yaml.YAMLError, octets: bytes) -> Unreadable:
    problem = getattr(error, "problem", None) or str(error)
    remedy = _REMEDIES.get(problem, "correct the YAML here or on the line before")
    problem_mark = getattr(error, "problem_mark", None)
    line, start = _line(problem_mark), _line(getattr(error, "context_mark", None))
    if problem == "found character that cannot start any token":
        remedy = _about_character(problem_mark, octets)
    elif problem == "found unexpected end of stream" and start:
        # The end of the file tells nothing; where the quotes were opened does.
        line, problem, remedy = start, "quotes are opened and never closed", "close the quotes"
    elif start and start != line:
        problem += f" of what begins in line {start}"
    return Unreadable(line or start, f"is not YAML: {problem}", remedy)


def _about_character(mark: yaml.Mark | None, octets: bytes) -> str:
    lines = octets.decode("utf-8").splitlines()
    text = lines[mark.line][mark.column :] if mark and mark.line < len(lines) else ""
    if text.startswith("\t"):
        return "indent with blanks instead of tabs"
    return f"put quotes around a value that starts with {quoted(text[:1])}"


def _line(mark: object) -> int:
    line = getattr(mark, "line", None)
    return line + 1 if isinstance(line, int) else 0
