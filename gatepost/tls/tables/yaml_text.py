"""Rules as a block of the configuration, each below the entries that it comes from.

Format: docs/config.md; names are A-labels, which need no quotes in YAML, except for the one that
YAML takes for nothing.
Errors: none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from gatepost.tls.levels import Requirement
from gatepost.tls.tables.rules import Imported, Taken
from gatepost.tls.tables.source import Entry

_WIDTH = 98


def format_yaml(imported: Imported, head: str, profile: str | None = None) -> str:
    """Return the block.

    Args:
        imported: The rules.
        head: What it comes from, for the first comment.
        profile: The profile that gets the rules, or None for the rules for everyone.
    """
    return "\n".join(_lines(imported, head, profile)) + "\n"


def _lines(imported: Imported, head: str, profile: str | None) -> Iterator[str]:
    yield _comment(head, "")
    yield "tls:"
    indent = "  "
    everything = imported.everything
    if profile is not None:
        yield from ("  profiles:", f"    {profile}:")
        indent = "      "
        if everything is None:
            yield f"{indent}# For every destination that is not below; choose it."
            yield f"{indent}level: may"
        else:
            yield from _origin(everything, indent)
            yield from (f"{indent}{word}" for word in _words(everything.requirement))
    elif everything is not None:
        yield from _origin(everything, indent)
        yield f"{indent}# Rules for everyone have no such entry: set smtp_tls_security_level in"
        yield f"{indent}# main.cf, or import into a profile."
    if imported.taken:
        yield f"{indent}domains:"
        for rule in imported.taken:
            yield from _origin(rule, f"{indent}  ")
            yield f"{indent}  {_key(rule.domain)}: {format_rule(rule.requirement)}"
    else:
        yield f"{indent}domains: {{}}"
    if imported.left:
        yield "# Not taken over:"
    for left in imported.left:
        yield _entry(left.entry, "")
        yield _comment(f"  {left.why}", "")


def format_rule(requirement: Requirement) -> str:
    """Return a requirement as the settings of a rule, on one line."""
    return "{" + ", ".join(_words(requirement)) + "}"


def _words(requirement: Requirement) -> Iterator[str]:
    yield f"level: {requirement.level.keyword}"
    if requirement.min_version is not None:
        yield f"min_version: {requirement.min_version.keyword}"
    if requirement.match is not None:
        yield f"match: [{', '.join(map(_key, sorted(requirement.match)))}]"


def _origin(rule: Taken, indent: str) -> Iterator[str]:
    for entry in rule.entries:
        yield _entry(entry, indent)
    for loss in rule.losses:
        yield _comment(f"  not said by this rule: {loss}", indent)


def _entry(entry: Entry, indent: str) -> str:
    # On one line, for grep.
    return f"{indent}# {_printable(f'{entry.where}: {entry.key} {entry.value}'.rstrip())}"


def _comment(text: str, indent: str) -> str:
    """Return text as one or more lines of comment."""
    plain = _printable(text)
    inner = plain[: len(plain) - len(plain.lstrip())]
    return textwrap.fill(
        plain.strip(),
        _WIDTH,
        initial_indent=f"{indent}# {inner}",
        subsequent_indent=f"{indent}#   {inner}",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _printable(text: str) -> str:
    """Return text of which nothing can end a comment."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _key(name: str) -> str:
    return f'"{name}"' if name == "null" else name
