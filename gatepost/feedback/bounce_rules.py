"""Read and check the rules by which replies of mail servers are classified.

Purpose: a rule with a misspelt class or a phrase that cannot be found would be silently without
effect; here it names itself.
Source: `bounce_rules.yaml` beside this module, which explains its format.
Errors: `parse_rules` raises `ConfigErrors` with all that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from gatepost.errors import ConfigError, ConfigErrors
from gatepost.feedback.phrases import Phrase, parse_phrase
from gatepost.feedback.report import Classified, Severity

FILE: Final = "bounce_rules.yaml"
# What nothing is known of; the last rule has it.
UNCLASSIFIED: Final = "unclassified"
# The classes of which one bounce may suppress an address.
MAY_BE_HARD: Final = frozenset({"invalid-recipient", "inactive-mailbox", "bad-domain"})

_STATUS: Final = re.compile(r"(?:[245]|\*)\.(?:\d{1,3}|\*)\.(?:\d{1,3}|\*)")
_CODE: Final = re.compile(r"[245](?:\d\d|\d\*|\*)")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_KEYS: Final = frozenset({"id", "class", "severity", "text", "status", "code", "final", "why"})


@dataclass(frozen=True, slots=True)
class BounceClass:
    """One class of bounces.

    Attributes:
        name: Such as ``mailbox-full``.
        severity: What its rules say of the address, unless they have their own.
        about: One sentence.
    """

    name: str
    severity: Severity
    about: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; all that is set must be so.

    Attributes:
        answer: What it means.
        phrases: One of them must stand in the text; empty for a rule without text.
        texts: The phrases as written.
        statuses: Enhanced codes, one of which must be there, with ``*`` for any number; may be
            empty.
        codes: SMTP codes, likewise.
        final: Whether the reply must have been permanent, or must not; None for either.
    """

    answer: Classified
    phrases: tuple[Phrase, ...]
    texts: tuple[str, ...]
    statuses: frozenset[str]
    codes: frozenset[str]
    final: bool | None


@dataclass(frozen=True, slots=True)
class Rules:
    """All classes and rules, in order."""

    classes: Mapping[str, BounceClass]
    rules: tuple[Rule, ...]


@cache
def load_rules() -> Rules:
    """Return the rules that ship with Gatepost.

    Raises:
        ConfigErrors: If the file is not as it was installed.
    """
    return parse_rules((files("gatepost.feedback") / FILE).read_text(encoding="utf-8"))


def parse_rules(text: str) -> Rules:
    """Return the rules in a text.

    Args:
        text: YAML in the format that the data file explains.

    Raises:
        ConfigErrors: With each rule that is wrong, by its id.
    """
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ConfigErrors([_error("", " ".join(str(error).split()))]) from error
    reader = _Reader()
    rules = reader.read(document)
    if reader.errors:
        raise ConfigErrors(reader.errors)
    return rules


def _error(path: str, problem: str) -> ConfigError:
    return ConfigError(FILE, 0, path, problem, "mend it, or install Gatepost again")


class _Reader:
    """Collects what is wrong while it reads."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []
        self._classes: dict[str, BounceClass] = {}
        self._ids: set[str] = set()

    def read(self, document: object) -> Rules:
        table = document if isinstance(document, dict) else {}
        classes, rules = table.get("classes"), table.get("rules")
        if not isinstance(classes, dict) or not isinstance(rules, list):
            self._wrong("", "there is no table of classes, or no list of rules")
            return Rules({}, ())
        for name, entry in classes.items():
            self._class(str(name), entry if isinstance(entry, dict) else {})
        found = tuple(self._rule(entry if isinstance(entry, dict) else {}) for entry in rules)
        self._check_order(found)
        return Rules(self._classes, found)

    def _class(self, name: str, entry: Mapping[object, object]) -> None:
        severity = self._severity(name, entry.get("severity"), Severity.NONE)
        if severity is Severity.HARD and name not in MAY_BE_HARD:
            self._wrong(name, "a bounce of this class says nothing final about an address")
        about = self._sentence(name, entry.get("about"))
        self._classes[name] = BounceClass(name, severity, about)

    def _rule(self, entry: Mapping[object, object]) -> Rule:
        name = str(entry.get("id", ""))
        if not _NAME.fullmatch(name) or name in self._ids:
            self._wrong(name, "an id is lower-case words with hyphens, and stands once")
        self._ids.add(name)
        for key in sorted(map(str, entry.keys() - _KEYS)):
            self._wrong(name, f"there is no {key!r}")
        return Rule(
            answer=self._answer(name, entry),
            phrases=tuple(self._phrases(name, entry)),
            texts=tuple(self._texts(name, entry, "text")),
            statuses=self._patterns(name, entry, "status", _STATUS),
            codes=self._patterns(name, entry, "code", _CODE),
            final=self._final(name, entry.get("final")),
        )

    def _answer(self, name: str, entry: Mapping[object, object]) -> Classified:
        of_class = self._classes.get(str(entry.get("class")))
        if of_class is None:
            self._wrong(name, f"there is no class {entry.get('class')!r}")
            return Classified(UNCLASSIFIED, Severity.NONE, name, "")
        severity = self._severity(name, entry.get("severity", of_class.severity), Severity.NONE)
        if severity is Severity.HARD and of_class.name not in MAY_BE_HARD:
            self._wrong(name, f"{of_class.name} is never hard")
        return Classified(of_class.name, severity, name, self._sentence(name, entry.get("why")))

    def _check_order(self, rules: tuple[Rule, ...]) -> None:
        """Check that text comes before codes, and that the last rule takes whatever is left."""
        without_text = False
        for rule in rules:
            if rule.phrases and without_text:
                self._wrong(rule.answer.rule, "a rule with text stands behind one without")
            without_text = without_text or not rule.phrases
            if not rule.phrases and (rule.final is not None or (rule.statuses and rule.codes)):
                self._wrong(rule.answer.rule, "a rule without text has codes of one kind alone")
        open_ones = [r for r in rules if not (r.phrases or r.statuses or r.codes)]
        if not rules or open_ones != [rules[-1]]:
            self._wrong("", "one rule, the last, has neither text nor codes")

    def _phrases(self, name: str, entry: Mapping[object, object]) -> Iterator[Phrase]:
        for text in self._texts(name, entry, "text"):
            try:
                yield parse_phrase(text)
            except ValueError as error:
                self._wrong(name, str(error))

    def _patterns(
        self, name: str, entry: Mapping[object, object], key: str, form: re.Pattern[str]
    ) -> frozenset[str]:
        patterns = self._texts(name, entry, key)
        for pattern in patterns:
            if not form.fullmatch(pattern):
                self._wrong(name, f"{pattern!r} is no {key}")
        return frozenset(patterns)

    def _texts(self, name: str, entry: Mapping[object, object], key: str) -> list[str]:
        found = entry.get(key, [])
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            self._wrong(name, f"{key} is no list of texts")
            return []
        return found

    def _final(self, name: str, value: object) -> bool | None:
        if value is None or isinstance(value, bool):
            return value
        self._wrong(name, "final is true or false")
        return None

    def _severity(self, name: str, value: object, default: Severity) -> Severity:
        try:
            return Severity(str(value))
        except ValueError:
            self._wrong(name, f"{value!r} is no severity")
            return default

    def _sentence(self, name: str, value: object) -> str:
        if isinstance(value, str) and value.endswith("."):
            return value
        self._wrong(name, "there is no sentence that says why")
        return ""

    def _wrong(self, path: str, problem: str) -> None:
        self.errors.append(_error(path, problem))
