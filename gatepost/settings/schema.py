"""Self-describing settings: each is declared once, with its kind, default, explanation and example.

Purpose: from one declaration come the check of a file, the comments of ``gatepost init`` and
docs/config.md, so the three cannot differ. A section is a class, its settings are the fields:

    @section
    class LogSection:
        '''Where Gatepost logs.'''

        level: str = setting(LEVEL, "info", doc="The least important messages to log.")

Format: a node reads `Data` and returns a value. It raises `Rejected` for itself, adds to `problems`
for what it contains, and then goes on with the default, so that all problems are found.
Errors: `Rejected`, see above.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, dataclass_transform

from gatepost.settings.problems import Problem, Rejected, quoted, stand_in
from gatepost.settings.tree import Data

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_METADATA = "gatepost"
_MAX_GUESSES = 2000
_NOT_SUPPORTED = "is not supported by this version"


class Node(Protocol[T_co]):
    """Something that can be read."""

    @property
    def label(self) -> str:
        """Return what is expected, such as ``a domain name``."""

    def read(self, data: Data, problems: list[Problem]) -> T_co:
        """Return the value of `data`.

        Raises:
            Rejected: If `data` as a whole cannot be used.
        """


@dataclass(frozen=True, slots=True)
class Scalar(Generic[T]):
    """A setting with one value.

    Attributes:
        label: What is expected, such as ``a domain name``.
        parse: From text to the value; raises `Rejected`.
        example: A valid value as it is written.
        values: All values as they are written, where they are a few words; else empty.
    """

    label: str
    parse: Callable[[str], T]
    example: str
    values: tuple[str, ...] = ()

    def read(self, data: Data, problems: list[Problem]) -> T:  # noqa: ARG002
        """Return the value of a scalar; it contains nothing that `problems` could be about."""
        if type(data) is str:
            return self.parse(data)
        raise Rejected(f"{shape(data)} stands where {self.label} is expected", self.remedy)

    @property
    def remedy(self) -> str:
        """Return what to write, in general."""
        return f"write one such as {self.example}"


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of values of one kind, none of them twice."""

    item: Scalar[T]

    @property
    def label(self) -> str:
        """Return what is expected."""
        return f"a list: {self.item.label} each"

    def read(self, data: Data, problems: list[Problem]) -> tuple[T, ...]:
        """Return the values; unusable ones are left out."""
        if type(data) is not list:
            if data is None:
                return ()
            raise Rejected(
                f"{shape(data)} stands where a list is expected",
                f"write [{data if isinstance(data, str) else self.item.example}]",
            )
        parse = self.item.parse
        if len(data) == 1 and type(data[0]) is str:
            # Most lists of most tenants, without the search for doubles.
            try:
                return (parse(data[0]),)
            except Rejected as error:
                problems.append(Problem(error.problem, error.remedy, [0]))
                return ()
        found: dict[T, None] = {}
        for index, item in enumerate(data):
            try:
                value = parse(item) if type(item) is str else self.item.read(item, problems)
                if value in found:
                    raise Rejected(f"{quoted(str(item))} stands twice in this list", "remove one")
                found[value] = None
            except Rejected as error:
                problems.append(Problem(error.problem, error.remedy, [index]))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """A mapping from names that the operator chooses to values of one kind.

    Attributes:
        key: Kind of the names; its values are texts.
        value: Kind of the values.
        example: Name of the entry in examples.
    """

    key: Scalar[str]
    value: Node[T]
    example: str

    @property
    def label(self) -> str:
        """Return what is expected."""
        return "a mapping"

    def read(self, data: Data, problems: list[Problem]) -> dict[str, T]:
        """Return the entries; unusable ones are left out."""
        if type(data) is not dict:
            if data is None:
                return {}
            raise Rejected(
                f"{shape(data)} stands where {self.label} is expected",
                f"write {self.example}: on a line of its own, and its settings below",
            )
        found: dict[str, T] = {}
        parse, read = self.key.parse, self.value.read
        for name, item in data.items():
            before = len(problems)
            try:
                key = parse(name)
                if key in found:
                    raise Rejected(f"is {key} in another spelling", "keep one of the two")
                found[key] = read(item, problems)
            except Rejected as error:
                problems.append(Problem(error.problem, error.remedy))
            stand_in(problems, before, name)
        return found


class Section(Generic[T]):
    """A mapping whose keys are settings: the fields of a class that `section` made."""

    def __init__(self, cls: type[T]) -> None:
        self.cls = cls
        self.doc = inspect.cleandoc(cls.__doc__ or "")
        self.planned: Mapping[str, str] = getattr(cls, "PLANNED", {})
        self.entries: dict[str, Entry] = {
            each.name: each.metadata[_METADATA]
            for each in dataclasses.fields(cast("Any", cls))
            if _METADATA in each.metadata
        }
        self._required = [name for name, entry in self.entries.items() if entry.required]
        self._readers = {name: entry.node.read for name, entry in self.entries.items()}

    @property
    def label(self) -> str:
        """Return what is expected."""
        return "settings"

    def read(self, data: Data, problems: list[Problem]) -> T:
        """Return the section; settings that cannot be used have their default."""
        if data is None:
            data = {}
        if type(data) is not dict:
            raise Rejected(
                f"{shape(data)} stands where {self.label} are expected",
                f"write settings below, such as {next(iter(self.entries))}:",
            )
        values = {}
        readers = self._readers
        before = len(problems)
        for name, item in data.items():
            read = readers.get(name)
            if read is None:
                problems.append(self._unknown(name))
                before += 1
                continue
            try:
                values[name] = read(item, problems)
            except Rejected as error:
                problems.append(Problem(error.problem, error.remedy))
            if len(problems) != before:
                stand_in(problems, before, name)
                before = len(problems)
        for name in self._required:
            if name not in data:
                example = self.entries[name].example
                problems.append(Problem(f"has no {name}", f"add {name}: {example}"))
        return self.cls(**values)

    def _unknown(self, name: str) -> Problem:
        if name in self.planned:
            return Problem(_NOT_SUPPORTED, self.planned[name], [name])
        return Problem("is no setting here", self._guess(name), [name])

    def _guess(self, name: str) -> str:
        guess = did_you_mean(name.replace("-", "_").lower(), self.entries)
        if guess is None and len(self.entries) == 1:
            return f"write it below {next(iter(self.entries))}:"
        return guess or there_are(self.entries)


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting of a section.

    Attributes:
        node: How it is read.
        doc: What it is for, in whole sentences.
        default: The default as it is written, or None where there is none to write.
        example: An example as it is written.
        required: Whether it may not be left out.
    """

    node: Node[Any]
    doc: str
    default: str | None
    example: str
    required: bool = False


def setting(node: Scalar[T], default: str, *, doc: str, example: str | None = None) -> T:
    """Declare a setting with a default, which is given as an operator would write it."""
    entry = Entry(node, _flat(doc), default, example or default)
    return field(default=node.parse(default), metadata={_METADATA: entry})


def optional(node: Scalar[T], *, doc: str, example: str | None = None) -> T | None:
    """Declare a setting that may be left out and then means nothing."""
    entry = Entry(node, _flat(doc), None, example or node.example)
    return cast("T | None", field(default=None, metadata={_METADATA: entry}))


def required(node: Node[T], *, doc: str, example: str) -> T | None:
    """Declare a setting that may not be left out; where it is, None stands beside a problem."""
    entry = Entry(node, _flat(doc), None, example, required=True)
    return cast("T | None", field(default=None, metadata={_METADATA: entry}))


def part(node: Node[T], *, doc: str = "", example: str = "") -> T:
    """Declare a list, a table or a section within a section; left out, it is empty."""
    metadata = {_METADATA: Entry(node, _flat(doc), None, example)}
    empty = node.read(None, [])
    if isinstance(empty, dict):
        return cast("T", field(default_factory=dict, metadata=metadata))
    # Nobody changes a section once it is read, so all tenants share the empty ones.
    return field(default=empty, metadata=metadata)


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, optional, required, part))
def section(cls: type[T]) -> type[T]:
    """Make a class of settings."""
    return dataclass(slots=True, kw_only=True, eq=False)(cls)


def shape(data: Data) -> str:
    """Return what an operator wrote, in words."""
    if data is None:
        return "nothing"
    if isinstance(data, str):
        return quoted(data)
    return "a list" if isinstance(data, list) else "a mapping"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean …`` for a name that resembles a known one, or None."""
    names = list(known)
    # Each comparison takes some 10 µs: no guess among the ids of a large platform.
    if len(names) > _MAX_GUESSES:
        return None
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None


def there_are(names: Iterable[str]) -> str:
    """Return ``there are a, b and c``, or ``there is only a``."""
    known = list(names)
    return f"there is only {known[0]}" if len(known) == 1 else f"there are {listed(known)}"


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Return names as ``a, b and c``; the rest of many as a number."""
    ordered = list(names)
    if len(ordered) > limit:
        return f"{', '.join(ordered[:limit])} and {len(ordered) - limit} more"
    return " and ".join(filter(None, [", ".join(ordered[:-1]), *ordered[-1:]]))


def _flat(doc: str) -> str:
    return " ".join(doc.split())


Planned: TypeAlias = Mapping[str, str]
