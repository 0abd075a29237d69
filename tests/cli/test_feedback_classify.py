"""feedback classify: the verdict, the rule behind it, and all rules."""

from __future__ import annotations

import json

from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.feedback.bounce_rules import load_rules


def run(*words: str) -> Result:
    arguments = ["feedback", "classify", *words]
    return CliRunner().invoke(command_line(arguments), arguments)


def test_words_that_were_not_quoted() -> None:
    result = run("550", "5.1.1", "<bob@example.org>:", "user", "unknown")
    assert result.exit_code == 0
    assert result.output.splitlines()[:3] == [
        "class     invalid-recipient",
        "severity  hard",
        "rule      user-unknown",
    ]


def test_json() -> None:
    result = run("--json", "--status", "5.1.1", "rejected for policy reasons")
    answer = json.loads(result.output)
    assert (answer["class"], answer["severity"], answer["rule"]) == (
        "policy",
        "none",
        "policy-named",
    )
    assert answer["why"].endswith(".")


def test_codes_alone() -> None:
    assert json.loads(run("--json", "--status", "5.2.2").output)["rule"] == "status-full"
    assert json.loads(run("--json", "--code", "552").output)["rule"] == "code-full"


def test_what_no_rule_knows_is_no() -> None:
    result = run("550 zzz")
    assert result.exit_code == 1
    assert "unclassified" in result.output


def test_nothing_is_a_usage_error() -> None:
    result = run()
    assert result.exit_code == 2
    assert "--list prints all rules" in result.stderr


def test_all_rules() -> None:
    rules = load_rules()
    text = run("--list").output
    document = json.loads(run("--list", "--json").output)
    assert [rule["rule"] for rule in document["rules"]] == [r.answer.rule for r in rules.rules]
    assert set(document["classes"]) == set(rules.classes)
    for rule in rules.rules:
        assert f"\n{rule.answer.rule}: {rule.answer.bounce_class}, " in text
    assert "\n  final: False\n" in text
    assert document["rules"][-1]["if"] == {}
