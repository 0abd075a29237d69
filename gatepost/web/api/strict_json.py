"""JSON from a client that may be hostile: one meaning, or none.

Purpose: two readers of the same text must not come to two results, and no text may cost more than
its length suggests.
Source: RFC 8259 §4 (names should be unique), §6 (no NaN), §8.1 (UTF-8), §8.2 (unpaired surrogates);
RFC 7493 (I-JSON) §2.1, §2.3.
Limits: `MAX_DEPTH` levels; the length is bounded by who reads the body.
Errors: `NotStrict`.
Security: control characters are refused as they are in configuration files: they would end up in
logs, replies and files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

MAX_DEPTH = 16
MAX_DIGITS = 18

# A text that is never closed goes on to the end: to begin again behind each quote in it would take
# the square of its length.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
# What YAML forbids, see `settings.tree`; and halves of surrogate pairs.
_FORBIDDEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\u2028\\u2029\\ufffe\\uffff]"
)


class NotStrict(ValueError):
    """Text that is no JSON, or more than one meaning."""


def read_json(octets: bytes) -> object:
    """Return the value of a JSON text.

    Raises:
        NotStrict: If it is none, or breaks one of the rules above.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrict(f"octet {error.start} is not UTF-8") from error
    _check_depth(text)
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_number,
            parse_int=_whole,
        )
    except NotStrict:
        raise
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise NotStrict(f"it is no JSON{where}") from error
    _check_texts(value)
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotStrict(f"it is nested more than {MAX_DEPTH} levels deep")
        elif first in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = Counter(name for name, _ in pairs)
        twice, _ = names.most_common(1)[0]
        raise NotStrict(f"the name {twice[:60]!a} stands twice in an object")
    return found


def _no_constant(word: str) -> object:
    raise NotStrict(f"{word} is no value of JSON")


def _number(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise NotStrict("a number is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise NotStrict("a number is too large")
    return int(text)


def _check_texts(value: object) -> None:
    waiting: list[object] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            found = _FORBIDDEN.search(each)
            if found is not None:
                raise NotStrict(f"a text holds the character U+{ord(found[0]):04X}")
        elif isinstance(each, dict):
            waiting += _both(each)
        elif isinstance(each, list):
            waiting += each


def _both(mapping: dict[str, object]) -> Iterable[object]:
    yield from mapping
    yield from mapping.values()
