"""Rules as a table of Postfix's, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domains import parents
from gatepost.postfix_version import PostfixVersion
from gatepost.tls.answer import decide_tls
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.operator import OperatorTls
from gatepost.tls.promoted import PromotedRule, PromotedRules
from gatepost.tls.rules import DomainRules, Profile, TlsRules
from gatepost.tls.tables.compare import compare
from gatepost.tls.tables.export import export_table, format_table
from gatepost.tls.tables.rules import take
from gatepost.tls.tables.source import Format, read_entries

NEWEST = PostfixVersion(3, 11)
NAMES = ["a.example", ".a.example", "x.a.example", ".x.a.example", "b.example", ".example"]
HOSTS = ["a.example", "x.a.example", "y.x.a.example", "b.example", "z.b.example", "c.test"]

MATCHES = st.sampled_from(
    [None, frozenset({"mx.a.example"}), frozenset({".a.example", "q.example"})]
)
REQUIREMENTS = st.one_of(
    st.sampled_from([Requirement(Level.NONE), Requirement(Level.MAY)]),
    st.builds(Requirement, st.just(Level.ENCRYPT), st.sampled_from([None, *TlsVersion])),
    st.builds(Requirement, st.just(Level.VERIFY), st.sampled_from([None, *TlsVersion]), MATCHES),
)
TABLES = st.dictionaries(st.sampled_from(NAMES), REQUIREMENTS, max_size=4)


def everyone(table: Mapping[str, Requirement]) -> TlsRules:
    return TlsRules({}, DomainRules(table))


def postfix_lookup(table: Mapping[str, str], name: str) -> str | None:
    """Look up a domain as smtp(8) does."""
    return next((table[key] for key in (name, *parents(name)) if key in table), None)


def test_names_go_out_with_and_without_brackets() -> None:
    rules = everyone(
        {
            "a.example": Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2),
            ".b.example": Requirement(Level.VERIFY),
        }
    )
    exported = export_table(None, rules, NEWEST, next_hops=["[A.example]:587", "[192.0.2.1]"])
    assert exported.lines == (
        (".b.example", "verify match=hostname servername=hostname"),
        ("a.example", "encrypt protocols=>=TLSv1.2"),
        ("[a.example]", "encrypt protocols=>=TLSv1.2"),
        ("[a.example]:587", "encrypt protocols=>=TLSv1.2"),
    )
    assert exported.default == ()


def test_a_profile_has_its_level_for_all_others() -> None:
    profile = Profile(
        "private", Requirement(Level.ENCRYPT), DomainRules({"a.example": Requirement(Level.MAY)})
    )
    exported = export_table(profile, everyone({}), NEWEST)
    assert dict(exported.lines)["a.example"] == "may"
    assert exported.default == ("smtp_tls_security_level = encrypt",)
    text = format_table(exported, "head")
    assert "#   smtp_tls_security_level = encrypt\n" in text
    assert text.startswith("# head\n")


def test_a_profile_that_verifies_everywhere() -> None:
    profile = Profile("bank", Requirement(Level.VERIFY, TlsVersion.TLSv1_3))
    assert export_table(profile, everyone({}), NEWEST).default == (
        "smtp_tls_security_level = verify",
        "smtp_tls_verify_cert_match = hostname",
        "smtp_tls_servername = hostname",
        "smtp_tls_mandatory_protocols = >=TLSv1.3",
    )


def test_promoted_rules_go_out_while_they_hold() -> None:
    rule = PromotedRule(Requirement(Level.ENCRYPT), 100.0, 200.0)
    rules = replace(everyone({}), promoted=PromotedRules({"a.example": rule}))
    assert dict(export_table(None, rules, NEWEST, now=150.0).lines)["a.example"] == "encrypt"
    assert export_table(None, rules, NEWEST, now=200.0).lines == ()


def test_rules_that_exclude_each_other_are_told() -> None:
    profile = Profile(
        "p",
        Requirement(Level.MAY),
        DomainRules({"a.example": Requirement(Level.VERIFY, match=frozenset({"x.example"}))}),
    )
    rules = everyone({"a.example": Requirement(Level.VERIFY, match=frozenset({"y.example"}))})
    exported = export_table(profile, rules, NEWEST)
    assert exported.lines == ()
    assert exported.problems[0].startswith("a.example: ")
    assert "# no policy: a.example: " in format_table(exported, "x")


@given(TABLES)
def test_what_goes_out_comes_back(table: dict[str, Requirement]) -> None:
    text = format_table(export_table(None, everyone(table), NEWEST), "x")
    found = take(read_entries(text, "t", Format.KEYS), Format.KEYS)
    assert {rule.domain: rule.requirement for rule in found.taken} == table
    assert found.complete
    assert compare(found, None, everyone(table)) == []


@given(
    general=TABLES,
    own=TABLES,
    base=st.sampled_from(["may", "encrypt"]),
    operator=st.sampled_from(["", "may", "encrypt", "verify"]),
)
def test_postfix_finds_in_the_table_what_the_map_answers(
    general: dict[str, Requirement], own: dict[str, Requirement], base: str, operator: str
) -> None:
    profile = Profile("p", Requirement(Level[base.upper()]), DomainRules(own))
    rules, level = everyone(general), OperatorTls(operator)
    exported = export_table(profile, rules, NEWEST, level)
    back = {
        rule.domain: rule.requirement
        for rule in take(
            read_entries(format_table(exported, "x"), "t", Format.KEYS), Format.KEYS
        ).taken
    }
    for host in HOSTS:
        answer = decide_tls(profile, host, rules, level)
        known = [key for key in (host, *parents(host)) if key in general or key in own]
        if not known or answer.waits:
            continue
        key = next((key for key in (host, *parents(host)) if key in back), None)
        found = back[key] if key is not None else None
        # Where the map has no answer, a parent in the table may have one.
        if answer.requirement is not None:
            assert found == answer.requirement


@pytest.mark.parametrize(
    ("configured", "text", "problem"),
    [
        ({}, "a.example encrypt\n", "for nothing"),
        ({}, "a.example may\n", ""),
        ({"a.example": Requirement(Level.MAY)}, "a.example encrypt\n", "for may"),
        ({"a.example": Requirement(Level.VERIFY)}, "a.example encrypt\n", ""),
        ({"a.example": Requirement(Level.ENCRYPT)}, "a.example may\n", "makes an exception"),
        (
            {"a.example": Requirement(Level.ENCRYPT)},
            "a.example encrypt protocols=>=TLSv1.2\n",
            "older protocol versions",
        ),
        ({".example": Requirement(Level.ENCRYPT)}, ".a.example encrypt\n", ""),
    ],
)
def test_comparing(configured: dict[str, Requirement], text: str, problem: str) -> None:
    found = compare(
        take(read_entries(text, "t", Format.KEYS), Format.KEYS), None, everyone(configured)
    )
    assert [problem in each.problem for each in found] == ([True] if problem else [])
