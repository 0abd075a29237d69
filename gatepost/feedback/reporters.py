"""Who is believed when he reports a complaint: the list that ships with Gatepost.

Purpose: RFC 5965 §8.2 and RFC 9477 §3.1.4 want a report's origin proven before a machine acts on
it; a signature proves a domain, and this list says which domains report complaints.
Source: `reporters.yaml` beside this module, which names the source of each entry.
Format: a signature counts if its d= is a domain of an entry or below it and, where the entry names
authors, if From: is one of them.
Errors: `parse_reporters` raises `ConfigErrors` with all that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from gatepost.domains import normalise_domain, parents
from gatepost.errors import ConfigError, ConfigErrors, MalformedMessage

FILE: Final = "reporters.yaml"

_KEYS: Final = frozenset({"domains", "authors", "source"})


@dataclass(frozen=True, slots=True)
class Reporter:
    """One who reports complaints.

    Attributes:
        name: Such as ``yahoo``.
        authors: Addresses in lower case, one of which From: must have; empty for any.
    """

    name: str
    authors: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reporters:
    """All of them, by the domain that they sign with."""

    by_domain: Mapping[str, Reporter]

    def find(self, domain: str, author: str) -> Reporter | None:
        """Return who signed a mail, or None if nobody whom we know.

        Args:
            domain: d= of a signature that verified, as an A-label.
            author: The address in From:.
        """
        found = self.owner(domain)
        if found is None or (found.authors and author.lower() not in found.authors):
            return None
        return found

    def owner(self, domain: str) -> Reporter | None:
        """Return whose a domain is, whoever of its users wrote, or None."""
        for name in (domain, *(parent.removeprefix(".") for parent in parents(domain))):
            if (found := self.by_domain.get(name)) is not None:
                return found
        return None


def parse_reporters(text: str) -> Reporters:
    """Return the list that a YAML text holds.

    Raises:
        ConfigErrors: If anything in it is wrong.
    """
    errors: list[ConfigError] = []
    by_domain: dict[str, Reporter] = {}
    document = yaml.safe_load(text)
    for name, entry in document.items() if isinstance(document, dict) else ():
        problem = _problem(entry)
        if problem:
            errors.append(ConfigError(FILE, 0, str(name), problem, "see the head of the file"))
            continue
        reporter = Reporter(str(name), frozenset(each.lower() for each in entry.get("authors", ())))
        by_domain |= {normalise_domain(each): reporter for each in entry["domains"]}
    if errors:
        raise ConfigErrors(errors)
    return Reporters(by_domain)


def _problem(entry: object) -> str:
    if not isinstance(entry, dict) or not entry.keys() <= _KEYS:
        return f"an entry has {', '.join(sorted(_KEYS))} and nothing else"
    if not entry.get("source"):
        return "the source is missing"
    domains = entry.get("domains")
    if not isinstance(domains, list) or not domains:
        return "domains are missing"
    try:
        for each in domains:
            normalise_domain(each)
    except (MalformedMessage, TypeError, AttributeError) as error:
        return str(error)
    return ""


@cache
def shipped_reporters() -> Reporters:
    """Return the list that ships with Gatepost."""
    return parse_reporters((files(__package__) / FILE).read_text("utf-8"))
