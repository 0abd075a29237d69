"""From the header fields that are there to those that should be there.

Purpose: one rule for every header that Gatepost owns: it stands exactly once with our value, or not
at all. A message that is already so is not touched, which makes a second run change nothing.
Source: libmilter smfi_chgheader: the index counts fields of one name, in any case, from 1.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatepost.decisions.actions import Action, AddHeader, RemoveHeader
from gatepost.decisions.facts import Header

# White space as RFC 5322 has it. Python's own idea of it would take off characters that stand in
# the message and stay there.
BLANKS = " \t\r\n"


def values_of(headers: Sequence[Header], name: str) -> list[str]:
    """Return the values of all fields of a name, in message order."""
    if not headers:
        return []
    wanted = name.lower()
    return [header.value for header in headers if header.name.lower() == wanted]


def set_header(headers: Sequence[Header], name: str, value: str) -> list[Action]:
    """Return the edits after which a field stands once with a value."""
    present = values_of(headers, name)
    if not present:
        return [AddHeader(name, value)]
    if [item.strip(BLANKS) for item in present] == [value]:
        return []
    return [*_remove(name, range(1, len(present) + 1)), AddHeader(name, value)]


def drop_header(headers: Sequence[Header], name: str) -> list[Action]:
    """Return the edits after which no field of a name is left."""
    return _remove(name, range(1, len(values_of(headers, name)) + 1))


def drop_occurrences(name: str, indices: Sequence[int]) -> list[Action]:
    """Return the edits that delete chosen occurrences (1-based) of a field."""
    return _remove(name, indices)


def _remove(name: str, indices: Sequence[int]) -> list[Action]:
    # A deletion renumbers the fields behind it, so the highest index goes first.
    return [RemoveHeader(name, index) for index in sorted(indices, reverse=True)]
