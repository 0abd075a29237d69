"""A From: field is read as every mail program reads it, or not at all."""

from __future__ import annotations

from email.headerregistry import Address, HeaderRegistry

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domains import domain_of
from gatepost.tenants.authors import MAX_FROM_ADDRESSES, MAX_FROM_CHARACTERS, author_domains

REFUSED = None


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        ("a@acme.example", ["acme.example"]),
        ("  a@Acme.Example  ", ["acme.example"]),
        ("Ann <a@acme.example>", ["acme.example"]),
        ("<a@acme.example>", ["acme.example"]),
        ("< a@acme.example >", ["acme.example"]),
        ("a@acme.example, B <b@b.example>", ["acme.example", "b.example"]),
        ("Ann\n Smith\n <a@acme.example>", ["acme.example"]),
        ('"Ann, the <first>" <a@acme.example>', ["acme.example"]),
        ('"ann@home.example" <a@acme.example>', ["acme.example"]),
        (r'"Ann \"x, y@z\"" <a@acme.example>', ["acme.example"]),
        ('"a@b"@acme.example', ["acme.example"]),
        ("Ann (of <Acme>, x@y) <a@acme.example>", ["acme.example"]),
        ("a@acme.example (Ann)", ["acme.example"]),
        (r"a@acme.example (\) (nested \( x))", ["acme.example"]),
        ("a@acme.example ((((((((((deep))))))))))", ["acme.example"]),
        ("=?utf-8?q?Ann?= <a@acme.example>", ["acme.example"]),
        ("a@exämple.org", ["xn--exmple-cua.org"]),
        ("a@[192.0.2.1]", [None]),
        ("a@-bad-.example", [None]),
        # Who is the author here, programs disagree: both count.
        ("ceo@bank.example <x@acme.example>", ["bank.example", "acme.example"]),
        ("<x@acme.example> ceo@bank.example", ["bank.example", "acme.example"]),
        ("Bob bob@b.example via <x@acme.example>", ["b.example", "acme.example"]),
        ("=?utf-8?q?a@b?= <x@acme.example>", [None, "acme.example"]),
    ],
)
def test_read(value: str, domains: list[str | None]) -> None:
    assert author_domains(value) == domains


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "Ann",
        "<>",
        "Ann <>",
        "a@",
        "@acme.example",
        "a@b@acme.example",
        "a b@acme.example",
        "a @acme.example",
        "a@acme.example,",
        ",a@acme.example",
        "a@acme.example,,b@acme.example",
        # Outlook's separator: some programs would read the first address.
        "evil@bank.example; a@acme.example",
        "Group: a@acme.example;",
        "undisclosed-recipients:;",
        "<@bank.example:a@acme.example>",
        "<evil@bank.example, a@acme.example>",
        "<a@acme.example> <b@acme.example>",
        "<a@acme.example",
        "a@acme.example>",
        "<<a@acme.example>>",
        '"Ann <a@acme.example>',
        'Ann" <a@acme.example>',
        "(Ann <a@acme.example>",
        "Ann) <a@acme.example>",
        '"Ann\\" <a@acme.example>',
        "(Ann\\) <a@acme.example>",
        "Ann\\, b <a@acme.example>",
        '\\" <a@acme.example>',
        "a@acme.example (((((((((((too deep)))))))))))",
        "a@acme.example (((((((((((",
        "a@acme.example (Ann",
        '<a@acme.example> "Ann',
        "a(x)@acme.example",
        # Quotes mean nothing in a comment, and brackets nothing in quotes: whoever strips the one
        # before the other reads only the last address of these.
        '(") evil@bank.example, (") a@acme.example "',
        '"(" evil@bank.example ")" <a@acme.example',
        # White space for Python, and for nobody who reads mail.
        "\u00a0a@acme.example",
        "a@acme.example\x1c",
        "<\u2003a@acme.example>",
        "<a@acme.example\x0b>",
        # Cut: what follows was not seen.
        "<a@acme.example> Ann\0",
        "a@acme.example\0",
    ],
)
def test_not_read(value: str) -> None:
    assert author_domains(value) is REFUSED


@pytest.mark.parametrize(
    "value",
    [
        '(") evil@bank.example, (") a@acme.example',
        '"(" evil@bank.example, ")" <a@acme.example>',
        '(\\") evil@bank.example, (") a@acme.example',
        "a@acme.example, evil@bank.example",
        '"\\"" <evil@bank.example>, a@acme.example',
    ],
)
def test_a_second_author_cannot_hide(value: str) -> None:
    found = author_domains(value)
    assert found is REFUSED or "bank.example" in found


def test_long_fields_are_not_read() -> None:
    longest = "a" * (MAX_FROM_CHARACTERS - len("@b.example")) + "@b.example"
    assert author_domains(longest) == ["b.example"]
    assert author_domains("a" + longest) is REFUSED
    many = ", ".join(["a@b.example"] * MAX_FROM_ADDRESSES)
    assert author_domains(many) == ["b.example"] * MAX_FROM_ADDRESSES
    assert author_domains(many + ", a@b.example") is REFUSED


@pytest.mark.parametrize("part", ["(", '"', "<", '\\"', "(\\", "a@", ",", "<a@b>", '"\\'])
def test_no_field_costs_more_than_its_length(part: str) -> None:
    # A quadratic reader takes minutes for these; the suite's time limit would end it.
    for _ in range(50):
        author_domains((part * MAX_FROM_CHARACTERS)[:MAX_FROM_CHARACTERS])


PIECES = st.lists(
    st.sampled_from(
        [
            '"',
            "(",
            ")",
            "\\",
            "<",
            ">",
            ",",
            ";",
            ":",
            "@",
            " ",
            "\n\t",
            "a",
            "b.example",
            "é",
            "=?",
        ]
    ),
    max_size=25,
).map("".join)


@given(st.one_of(st.text(), PIECES))
def test_any_field_is_read_or_refused(text: str) -> None:
    domains = author_domains(text)
    assert domains is None or domains


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=20)
LOCALS = st.from_regex(r"[a-z]([a-z.+-]{0,8}[a-z])?", fullmatch=True).filter(
    lambda text: ".." not in text
)


@given(st.lists(st.tuples(NAMES, LOCALS, st.sampled_from(["a.example", "b.example"])), min_size=1))
def test_what_the_standard_library_writes_is_read(people) -> None:
    addresses = [Address(name, local, domain) for name, local, domain in people]
    field = ", ".join(map(str, addresses[:MAX_FROM_ADDRESSES]))
    if len(field) <= MAX_FROM_CHARACTERS:
        expected = [address.domain for address in addresses[:MAX_FROM_ADDRESSES]]
        assert author_domains(field) == expected


@pytest.mark.fuzz
@given(PIECES)
def test_no_author_that_the_standard_library_finds_is_missed(text: str) -> None:
    """Python's parser is lenient; whatever it takes for an author must be among ours."""
    domains = author_domains(text)
    if domains is None:
        return
    parsed = HeaderRegistry()("from", " ".join(text.split()))
    assert {domain_of(address.addr_spec) for address in parsed.addresses} <= set(domains)
