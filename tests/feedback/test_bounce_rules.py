"""The rules' data file: each rule can be reached, and a bad one names itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gatepost.errors import ConfigErrors
from gatepost.feedback.bounce_rules import MAY_BE_HARD, load_rules, parse_rules
from gatepost.feedback.phrases import Phrase, found
from gatepost.feedback.report import Severity

GOOD = {
    "classes": {
        "policy": {"severity": "none", "about": "A policy."},
        "invalid-recipient": {"severity": "hard", "about": "No such address."},
        "unclassified": {"severity": "none", "about": "Nothing."},
    },
    "rules": [
        {"id": "policy", "class": "policy", "text": ["policy"], "why": "It says so."},
        {"id": "no-user", "class": "invalid-recipient", "text": ["no user"], "why": "It says so."},
        {"id": "code", "class": "policy", "status": ["5.7.*"], "why": "The code says so."},
        {"id": "unclassified", "class": "unclassified", "why": "Nothing is known."},
    ],
}


def edited(number: int, **keys: object) -> str:
    rules = [dict(rule) for rule in GOOD["rules"]]
    rules[number].update(keys)
    return yaml.safe_dump({**GOOD, "rules": rules})


def test_good_rules() -> None:
    rules = parse_rules(yaml.safe_dump(GOOD))
    assert [rule.answer.rule for rule in rules.rules] == [
        "policy",
        "no-user",
        "code",
        "unclassified",
    ]
    assert rules.rules[1].answer.severity is Severity.HARD


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (edited(0, **{"class": "polisy"}), "policy: there is no class 'polisy'"),
        (edited(0, severity="hard"), "policy: policy is never hard"),
        (edited(0, severity="bad"), "policy: 'bad' is no severity"),
        (edited(0, text=["a ... b ... c"]), "policy: 'a ... b ... c' has more than one '...'"),
        (edited(0, text="policy"), "policy: text is no list of texts"),
        (edited(0, text=[5.1]), "policy: text is no list of texts"),
        (edited(0, status=["5.1"]), "policy: '5.1' is no status"),
        (edited(0, code=["650"]), "policy: '650' is no code"),
        (edited(0, final="no"), "policy: final is true or false"),
        (edited(0, texts=["policy"]), "policy: there is no 'texts'"),
        (edited(0, why=""), "policy: there is no sentence that says why"),
        (edited(1, id="policy"), "policy: an id is lower-case words with hyphens, and stands once"),
        (edited(1, text=[]), "one rule, the last, has neither text nor codes"),
        (edited(3, text=["policy"]), "unclassified: a rule with text stands behind one without"),
        (edited(3, status=["5.1.1"]), "one rule, the last, has neither text nor codes"),
        (edited(2, final=True), "code: a rule without text has codes of one kind alone"),
        ("- 1", "there is no table of classes, or no list of rules"),
        ("rules: [", "while parsing a flow node"),
        (
            yaml.safe_dump({**GOOD, "classes": {"policy": {"severity": "hard", "about": "A."}}}),
            "policy: a bounce of this class says nothing final about an address",
        ),
    ],
)
def test_a_bad_rule_names_itself(text: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        parse_rules(text)
    assert f"bounce_rules.yaml: {problem}" in str(raised.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    rules = [{**GOOD["rules"][0], "class": "x"}, {**GOOD["rules"][1], "why": 1}, *GOOD["rules"][2:]]
    with pytest.raises(ConfigErrors) as raised:
        parse_rules(yaml.safe_dump({**GOOD, "rules": rules}))
    assert [each.path for each in raised.value.errors] == ["policy", "no-user"]


def test_only_three_classes_are_ever_hard() -> None:
    hard = {r.answer.bounce_class for r in load_rules().rules if r.answer.severity is Severity.HARD}
    assert hard == MAY_BE_HARD


def test_each_class_has_a_rule() -> None:
    rules = load_rules()
    assert {rule.answer.bounce_class for rule in rules.rules} == set(rules.classes)


def test_no_phrase_is_hidden_by_another() -> None:
    """A rule without conditions takes every text in which one of its phrases stands."""
    hidden = []
    earlier: list[tuple[Phrase, str]] = []
    for rule in load_rules().rules:
        own = [
            (phrase, f"{text!r} of {rule.answer.rule}")
            for phrase, text in zip(rule.phrases, rule.texts, strict=True)
        ]
        hidden += [
            f"{name}: {other}"
            for phrase, name in own
            for before, other in [*earlier, *own]
            if not phrase.tail and before != phrase and found(before.head, before.tail, phrase.head)
        ]
        if not rule.statuses and not rule.codes and rule.final is None:
            earlier += own
    assert hidden == []


def test_the_document_has_each_class() -> None:
    document = Path(__file__).parents[2] / "docs" / "feedback.md"
    rows = re.findall(
        r"^\| (\S+) \| (hard|soft|none) \| (.*) \|$", document.read_text(), re.MULTILINE
    )
    classes = load_rules().classes.values()
    assert rows == [(each.name, each.severity.value, each.about) for each in classes]
