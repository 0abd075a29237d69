r"""Patterns of regexp and pcre tables that stand for a domain, its sub-domains, or both.

Format: ``/^example\.com$/``, ``/\.example\.com$/``, ``/^(.*\.)?example\.com$/``,
``/(^|\.)example\.com$/``, ``/^\.example\.com$/``; any other pattern stands for more, or other, than
rules can say.
Source: regexp_table(5), pcre_table(5): patterns ignore case unless "i" turns that off.
Errors: none.
"""

from __future__ import annotations

import re

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage

_WHOLE = re.compile(r"/(?P<body>(?:[^/\\]|\\.)*)/(?P<flags>[A-Za-z]*)")
_NAME = r"(?:[A-Za-z0-9_-]|\\[.-]|\.)+"
_BOTH = re.compile(
    rf"(?:\^\((?:\?:)?\.[*+]\\\.\)\?|\((?:\?:)?\^\|(?:\.[*+])?\\\.\))(?P<name>{_NAME})\$"
)
_BELOW = re.compile(rf"(?:\^\.[*+])?\\\.(?P<name>{_NAME})\$")
_EXACT = re.compile(rf"\^(?P<name>{_NAME})\$")
_ANYTHING = frozenset({"", ".", ".*", "^", "^.*", "^.*$", ".*$", "^."})


def pattern_domains(pattern: str) -> tuple[str, ...]:
    """Return the rule keys that a pattern stands for, none where it says something else."""
    whole = _WHOLE.fullmatch(pattern)
    if whole is None or whole["flags"].replace("i", "").replace("m", ""):
        return ()
    body = whole["body"]
    if found := _BOTH.fullmatch(body):
        name = _name(found["name"])
        return (name, f".{name}") if name else ()
    if found := _BELOW.fullmatch(body):
        name = _name(found["name"])
        return (f".{name}",) if name else ()
    if found := _EXACT.fullmatch(body):
        text = found["name"]
        dot = "." if text.startswith("\\.") else ""
        name = _name(text.removeprefix("\\."))
        return (f"{dot}{name}",) if name else ()
    return ()


def matches_anything(pattern: str) -> bool:
    """Tell whether a pattern stands for every destination."""
    whole = _WHOLE.fullmatch(pattern)
    return whole is not None and whole["body"] in _ANYTHING


def loose_dots(pattern: str) -> bool:
    """Tell whether a pattern has dots that stand for any character where a dot is meant."""
    plain = re.sub(r"\\.|\.[*+]", "", pattern)
    return "." in plain


def _name(text: str) -> str:
    try:
        name = normalise_domain(text.replace("\\", ""))
    except MalformedMessage:
        return ""
    return "" if name.rpartition(".")[2].isdigit() else name
