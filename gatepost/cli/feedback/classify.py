"""``gatepost feedback classify``: what a reply of a mail server means, and which rule says so."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gatepost.cli.common import NO, JsonOption, errors_to_exit, fail, print_json
from gatepost.feedback.bounce_rules import Rule, Rules, load_rules
from gatepost.feedback.classify import classify
from gatepost.feedback.report import Classified


def command(
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT...",
            help="The reply, as in a Diagnostic-Code field or in Postfix's log; words are joined.",
        ),
    ] = None,
    *,
    status: Annotated[
        str, typer.Option(metavar="CODE", help="The enhanced status code, such as 5.1.1.")
    ] = "",
    code: Annotated[
        str, typer.Option(metavar="CODE", help="The SMTP reply code, such as 550.")
    ] = "",
    list_rules: Annotated[
        bool, typer.Option("--list", help="Print all classes and rules, in order.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a reply of a mail server means: its class, its severity, and the rule that decided.

    The first rule that fits decides; rules with text come before those that have only a code, and
    a code that stands in the text counts if none is given. hard: the address is bad for good, and
    one such bounce suppresses it. soft: several in a row do. none: it says nothing about the
    address. docs/feedback.md has the table of classes.

    Bounces and the lines of Postfix's log are classified by the same rules; their events carry the
    id of the rule. No configuration is read, and nothing is stored.

    Exit status: 0 a rule knows the reply; 1 none does; 2 usage error.

    Example: gatepost feedback classify --status 5.1.1 '550 5.1.1 Rejected for policy reasons'
    """
    with errors_to_exit(as_json=as_json):
        rules = load_rules()
    if list_rules:
        _print_rules(rules, as_json=as_json)
        return
    if not text and not status and not code:
        fail("there is neither a text nor a code; --list prints all rules")
    answer = classify(status, " ".join(text or ()), code)
    if as_json:
        print_json(_document(answer))
    else:
        for name, value in _document(answer).items():
            print(f"{name:<10}{value}")
    if answer == rules.rules[-1].answer:
        raise typer.Exit(NO)


def _document(answer: Classified) -> dict[str, Any]:
    return {
        "class": answer.bounce_class,
        "severity": answer.severity.value,
        "rule": answer.rule,
        "why": answer.why,
    }


def _print_rules(rules: Rules, *, as_json: bool) -> None:
    if as_json:
        classes = {
            each.name: {"severity": each.severity.value, "about": each.about}
            for each in rules.classes.values()
        }
        print_json({"classes": classes, "rules": [_rule(rule) for rule in rules.rules]})
        return
    for each in rules.classes.values():
        print(f"{each.name:<21} {each.severity.value:<5} {each.about}")
    for rule in rules.rules:
        answer = rule.answer
        print(f"\n{answer.rule}: {answer.bounce_class}, {answer.severity.value}. {answer.why}")
        for name, value in _rule(rule)["if"].items():
            print(f"  {name}: {value if isinstance(value, bool) else ' | '.join(value)}")


def _rule(rule: Rule) -> dict[str, Any]:
    conditions = {
        "text": list(rule.texts),
        "status": sorted(rule.statuses),
        "code": sorted(rule.codes),
        "final": rule.final,
    }
    needed = {name: value for name, value in conditions.items() if value not in ([], None)}
    return {**_document(rule.answer), "if": needed}
