"""From paths to lines: read a file once more, for its events only, and stop for nothing else.

Purpose: lines are needed when something is wrong, and then for a few paths; see `problems`.
Format: a setting is on the line of its key, an item of a list on the line on which it starts. What
comes in by an alias or a merge key is on the line of the alias or of ``<<``.
Errors: `lines_of` never raises for a file that `tree.parse` has read; a path that the file does not
have is on the line of the nearest setting around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from yaml.events import (
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from gatepost.settings.problems import Step, StepPath
from gatepost.settings.tree import MERGE_KEY, events, line_of


@dataclass(slots=True)
class _Wanted:
    """Paths that are looked for, as a tree."""

    line: int = 0
    children: dict[Step, _Wanted] = field(default_factory=dict)


def lines_of(octets: bytes, paths: Iterable[StepPath]) -> dict[StepPath, int]:
    """Return the 1-based line of each path; 0 for the empty path."""
    root = _Wanted()
    nodes = {}
    for path in paths:
        node = root
        for step in path:
            node = node.children.setdefault(step, _Wanted())
        nodes[path] = node
    get = events(octets)
    get()
    if not isinstance(get(), StreamEndEvent):
        _walk(get, get(), root)
    return {path: node.line for path, node in nodes.items()}


def _walk(get: Callable[[], Event], event: Event, wanted: _Wanted) -> None:
    """Give lines to what is wanted within the value that begins with an event."""
    if not wanted.children:
        _skip(get, event)
    elif isinstance(event, MappingStartEvent):
        _walk_mapping(get, wanted)
    elif isinstance(event, SequenceStartEvent):
        _walk_sequence(get, wanted)
    else:
        _settle(wanted, line_of(event))


def _walk_mapping(get: Callable[[], Event], wanted: _Wanted) -> None:
    merge = 0
    seen = set()
    while not isinstance(event := get(), MappingEndEvent):
        key = event.value if isinstance(event, ScalarEvent) else None
        child = wanted.children.get(key) if key is not None and key not in seen else None
        if key == MERGE_KEY:
            merge = merge or line_of(event)
        if child is None:
            _skip(get, get())
            continue
        # Of a key that stands twice the first counts, as it does for `tree.parse`.
        seen.add(key)
        child.line = line_of(event)
        _walk(get, get(), child)
    for step, child in wanted.children.items():
        if step not in seen:
            child.line = merge or wanted.line
            _settle(child, child.line)


def _walk_sequence(get: Callable[[], Event], wanted: _Wanted) -> None:
    index = 0
    while not isinstance(event := get(), SequenceEndEvent):
        child = wanted.children.get(index)
        if child is None:
            _skip(get, event)
        else:
            child.line = line_of(event)
            _walk(get, event, child)
        index += 1
    for child in wanted.children.values():
        if not child.line:
            child.line = wanted.line
            _settle(child, child.line)


def _settle(wanted: _Wanted, line: int) -> None:
    """Give one line to everything below."""
    for child in wanted.children.values():
        child.line = line
        _settle(child, line)


def _skip(get: Callable[[], Event], event: Event) -> None:
    """Read to the end of the value that begins with an event."""
    depth = int(isinstance(event, CollectionStartEvent))
    while depth:
        event = get()
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
