"""The join of requirements: a table over all pairs, and the laws that make the order irrelevant."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.levels import Level, Requirement, TlsVersion

# The stricter of two levels, written out: row and column in the order none, may, encrypt, verify.
STRICTER = """
    none     may      encrypt  verify
    may      may      encrypt  verify
    encrypt  encrypt  encrypt  verify
    verify   verify   verify   verify
"""
# The same for the lowest protocol version; "-" has no opinion.
LATER = """
    -        TLSv1    TLSv1.1  TLSv1.2  TLSv1.3
    TLSv1    TLSv1    TLSv1.1  TLSv1.2  TLSv1.3
    TLSv1.1  TLSv1.1  TLSv1.1  TLSv1.2  TLSv1.3
    TLSv1.2  TLSv1.2  TLSv1.2  TLSv1.2  TLSv1.3
    TLSv1.3  TLSv1.3  TLSv1.3  TLSv1.3  TLSv1.3
"""
VERSIONS = [None, *TlsVersion]


def cells(table: str, names: list[str]) -> list[tuple[str, str, str]]:
    rows = [line.split() for line in table.strip().splitlines()]
    assert len(rows) == len(names)
    return [
        (row_name, column_name, cell)
        for row_name, row in zip(names, rows, strict=True)
        for column_name, cell in zip(names, row, strict=True)
    ]


LEVEL_CELLS = cells(STRICTER, [level.keyword for level in Level])
VERSION_CELLS = cells(LATER, [version.keyword if version else "-" for version in VERSIONS])


def level(word: str) -> Level:
    return Level[word.upper()]


def version(word: str) -> TlsVersion | None:
    return None if word == "-" else TlsVersion[word.replace(".", "_")]


@pytest.mark.parametrize(("one", "two", "stricter"), LEVEL_CELLS)
def test_every_pair_of_levels(one: str, two: str, stricter: str) -> None:
    joined = Requirement(level(one)).join(Requirement(level(two)))
    assert joined == Requirement(level(stricter))


@pytest.mark.parametrize(("one", "two", "later"), VERSION_CELLS)
def test_every_pair_of_versions(one: str, two: str, later: str) -> None:
    joined = Requirement(Level.ENCRYPT, version(one)).join(Requirement(Level.ENCRYPT, version(two)))
    assert joined == Requirement(Level.ENCRYPT, version(later))


@pytest.mark.parametrize(("one", "two", "stricter"), LEVEL_CELLS)
@pytest.mark.parametrize(("old", "new", "later"), VERSION_CELLS)
def test_every_pair_of_levels_with_every_pair_of_versions(
    one: str, two: str, stricter: str, old: str, new: str, later: str
) -> None:
    joined = Requirement(level(one), version(old)).join(Requirement(level(two), version(new)))
    assert joined == Requirement(level(stricter), version(later))


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        (None, None, None),
        (None, {"mx.a.example"}, {"mx.a.example"}),
        ({"mx.a.example"}, {"mx.a.example"}, {"mx.a.example"}),
        ({"mx.a.example", "b.example"}, {"b.example", "c.example"}, {"b.example"}),
        ({".a.example"}, {"mx.a.example"}, {"mx.a.example"}),
        ({".a.example"}, {"a.example"}, set()),
        ({".example"}, {".a.example"}, {".a.example"}),
        ({".a.example"}, {".b.example"}, set()),
        ({".a.example"}, {"mx.nota.example"}, set()),
        ({"a.example"}, {"b.example"}, set()),
        ({".a.example", "x.example"}, {"mx.a.example", "x.example"}, {"mx.a.example", "x.example"}),
        (set(), {"a.example"}, set()),
        (set(), None, set()),
    ],
)
def test_only_names_that_both_accept_are_left(one, two, both) -> None:
    def requirement(names) -> Requirement:
        return Requirement(Level.VERIFY, None, None if names is None else frozenset(names))

    for a, b in ((one, two), (two, one)):
        joined = requirement(a).join(requirement(b))
        assert joined == requirement(both)
        assert joined.unsatisfiable == (both == set())


NAMES = st.sampled_from(
    [
        ".example",
        ".a.example",
        ".b.a.example",
        "a.example",
        "x.a.example",
        "x.b.a.example",
        "b.test",
    ]
)
REQUIREMENTS = st.builds(
    Requirement,
    st.sampled_from(Level),
    st.sampled_from(VERSIONS),
    st.none() | st.frozensets(NAMES, max_size=4),
)


def satisfied(requirement: Requirement, got: Level, tls: TlsVersion, certificate: str) -> bool:
    """Tell whether a delivery meets a requirement, by its meaning and not by its join."""
    names = requirement.match
    return (
        got >= requirement.level
        and (requirement.min_version is None or tls >= requirement.min_version)
        and (
            names is None
            or any(
                certificate.endswith(name) if name.startswith(".") else certificate == name
                for name in names
            )
        )
    )


@given(REQUIREMENTS, REQUIREMENTS)
def test_commutative(one: Requirement, two: Requirement) -> None:
    assert one.join(two) == two.join(one)


@given(REQUIREMENTS, REQUIREMENTS, REQUIREMENTS)
def test_associative(one: Requirement, two: Requirement, three: Requirement) -> None:
    assert one.join(two).join(three) == one.join(two.join(three))


@given(REQUIREMENTS, REQUIREMENTS)
def test_idempotent(one: Requirement, two: Requirement) -> None:
    assert one.join(one) == one
    assert one.join(two).join(two) == one.join(two)


CERTIFICATES = ["a.example", "x.a.example", "b.a.example", "x.b.a.example", "b.test", "c.test"]


@given(REQUIREMENTS, REQUIREMENTS)
def test_the_join_demands_what_either_demands_and_nothing_else(
    one: Requirement, two: Requirement
) -> None:
    both = one.join(two)
    for delivery in product(Level, TlsVersion, CERTIFICATES):
        assert satisfied(both, *delivery) == (
            satisfied(one, *delivery) and satisfied(two, *delivery)
        )


@given(REQUIREMENTS, REQUIREMENTS)
def test_never_weaker(one: Requirement, two: Requirement) -> None:
    joined = one.join(two)
    assert joined.level == max(one.level, two.level)
    assert joined.level in (one.level, two.level)


def test_words_are_those_of_postfix() -> None:
    assert [each.keyword for each in Level] == ["none", "may", "encrypt", "verify"]
    assert [each.keyword for each in TlsVersion] == ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
    assert sorted(Level) == list(Level)
    assert sorted(TlsVersion) == list(TlsVersion)
