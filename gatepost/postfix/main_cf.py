"""The parameters of a main.cf, with the place of each value.

Source: Postfix postconf(5); src/util/dict.c (the last of several settings of one parameter wins,
with a warning), src/util/split_nameval.c, src/util/mac_expand.c (``$name``, ``${name}``,
``$(name)``, ``${name?…}``).
Errors: none: a logical line without "=" is left out, and Postfix refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gatepost.postfix.lines import SPACE, Logical, logical_lines

_REFERENCE = re.compile(r"\$(?:\{\s*([A-Za-z0-9_.-]+)|\(\s*([A-Za-z0-9_.-]+)|([A-Za-z0-9_]+))")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of a parameter.

    Attributes:
        name: Parameter name.
        value: Value without white space at either end, not expanded.
        start: File offset of the first character of the value; of the place behind "=" where the
            value is empty.
        end: File offset behind the last character of the value.
        line: The logical line that holds it.
    """

    name: str
    value: str
    start: int
    end: int
    line: Logical


def parameters(text: str) -> list[Parameter]:
    """Return all settings in a main.cf, in order, repeated ones included."""
    found = []
    for line in logical_lines(text):
        name, equals, rest = line.text.partition("=")
        # White space at the start marks text that continues nothing; Postfix ignores it.
        if not equals or line.text[0] in SPACE or not name.strip(SPACE):
            continue
        value = rest.strip(SPACE)
        begin = len(name) + 1
        if value:
            begin += len(rest) - len(rest.lstrip(SPACE))
        found.append(
            Parameter(
                name.strip(SPACE),
                value,
                line.offset(begin) if value else line.offset(begin - 1) + 1,
                line.offset(begin + len(value) - 1) + 1,
                line,
            )
        )
    return found


def settings(text: str) -> dict[str, str]:
    """Return the value that wins for each parameter set in a main.cf, not expanded."""
    return {parameter.name: parameter.value for parameter in parameters(text)}


def references(value: str) -> set[str]:
    """Return the names of all parameters that a value refers to, in any form of reference."""
    return {name for found in _REFERENCE.finditer(value) for name in found.groups() if name}


def refers_to(value: str, wanted: str, values: Mapping[str, str]) -> bool:
    """Tell whether expanding a value would expand a certain parameter, directly or not.

    Args:
        value: The value to look into.
        wanted: Name of the parameter looked for.
        values: What each parameter is set to.
    """
    seen: set[str] = set()
    todo = references(value)
    while todo:
        name = todo.pop()
        if name == wanted:
            return True
        if name not in seen:
            seen.add(name)
            todo |= references(values.get(name, ""))
    return False
