"""The file of promoted rules: read with the configuration, and written so that it can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import ConfigErrors
from gatepost.settings import Loaded, Loader
from gatepost.settings.keys_promoted import PromotedFile
from gatepost.settings.problems import Report
from gatepost.settings.promoted import build_promoted, format_promoted
from gatepost.settings.schema import Section
from gatepost.settings.tree import parse
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import Downgrade, PromotedRule, PromotedRules

Load = Callable[..., Loaded]
DAY = 86_400.0
START = 21_000 * DAY  # 2027-07-01
MAIN = "tls: {promoted: rules.yaml}"


def test_rules_are_part_of_the_snapshot(load: Load) -> None:
    text = (
        "promoted:\n  Example.ORG: {level: encrypt, since: 2027-07-01, expires: 2027-07-31}\n"
        "  b.example:\n    level: verify\n    since: 2027-07-01\n    expires: 2027-07-01\n"
        '    downgrade: alert\n    dropped: 2027-07-01\n    evidence: "3 deliveries"\n'
    )
    loaded = load(MAIN, rules=text)
    assert loaded.snapshot.tls.promoted == PromotedRules(
        {
            "example.org": PromotedRule(Requirement(Level.ENCRYPT), START, START + 31 * DAY),
            "b.example": PromotedRule(
                Requirement(Level.VERIFY),
                START,
                START + DAY,
                Downgrade.ALERT,
                START,
                "3 deliveries",
            ),
        },
        configured=True,
    )
    assert loaded.snapshot.digest != load(MAIN, rules="promoted: {}").snapshot.digest
    assert not load("{}").snapshot.tls.promoted.configured


def test_a_file_that_is_missing_stops_the_load_and_says_what_makes_it(
    load: Load, config: Path
) -> None:
    with pytest.raises(
        ConfigErrors, match=r"gatepost.yaml:1: tls.promoted: .* does not exist"
    ) as e:
        load(MAIN)
    assert "gatepost tls promote --apply" in e.value.errors[0].remedy
    assert Loader(config).load(promoted=False).snapshot.tls.promoted.configured
    assert Loader(config).promoted() == (
        config.parent / "rules.yaml",
        PromotedRules(configured=True),
    )
    config.write_text("{}")
    assert Loader(config).promoted() is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{level: may, since: 2027-07-01, expires: 2027-07-02}", "is not one of encrypt, verify"),
        ("{level: encrypt, since: 2027-07-01}", "has no expires"),
        ("{level: encrypt, since: 2027-07-01, expires: soon}", "is not a date"),
        ("{level: encrypt, since: 2027-07-02, expires: 2027-07-01}", "is before 2027-07-02"),
        (
            '{level: encrypt, since: 2027-07-01, expires: 2027-07-02, evidence: "a\\tb"}',
            "no text for people",
        ),
    ],
)
def test_mistakes_have_file_and_line(load: Load, config: Path, rule: str, problem: str) -> None:
    with pytest.raises(ConfigErrors, match=problem) as error:
        load(MAIN, rules=f"promoted:\n  a.example: {rule}\n")
    assert error.value.errors[0].file == str(config.parent / "rules.yaml")
    assert error.value.errors[0].line == 2
    with pytest.raises(ConfigErrors, match=problem):
        Loader(config).promoted()


def test_a_rule_for_sub_domains_is_refused(load: Load) -> None:
    rule = "{level: encrypt, since: 2027-07-01, expires: 2027-07-02}"
    with pytest.raises(ConfigErrors, match="stands for sub-domains"):
        load(MAIN, rules=f"promoted: {{.a.example: {rule}}}")


def test_the_text_is_for_people_and_for_other_readers_of_yaml() -> None:
    rule = PromotedRule(
        Requirement(Level.ENCRYPT), START, START + DAY, dropped=START, evidence='3 "x"'
    )
    text = format_promoted({"null": rule, "a.example": rule})
    assert text.startswith("# TLS rules that evidence has earned")
    assert text.index("  a.example:\n") < text.index('  "null":\n')
    assert text.endswith(
        "    level: encrypt\n    since: 2027-07-01\n    expires: 2027-07-01\n"
        '    downgrade: defer\n    dropped: 2027-07-01\n    evidence: "3 \\"x\\""\n'
    )


DAYS = st.integers(0, 3000).map(lambda n: START + n * DAY)
RULES = st.builds(
    lambda level, since, length, downgrade, dropped, evidence: PromotedRule(
        Requirement(level), since, since + length * DAY, downgrade, dropped, evidence
    ),
    st.sampled_from([Level.ENCRYPT, Level.VERIFY]),
    DAYS,
    st.integers(1, 400),
    st.sampled_from(Downgrade),
    st.one_of(st.none(), DAYS),
    st.text(
        st.characters(categories=["L", "N", "P", "Zs"], include_characters=" "), max_size=40
    ).filter(str.isprintable),
)


@given(st.dictionaries(st.sampled_from(["a.example", "null", "xn--mnchen-3ya.example"]), RULES))
def test_what_is_written_is_read_as_it_was(table: dict[str, PromotedRule]) -> None:
    data, problems = parse(format_promoted(table).encode())
    report = Report()
    read = build_promoted(Section(PromotedFile).read(data, problems), "f", report)
    assert (problems, report.errors) == ([], [])
    assert read.table == table
