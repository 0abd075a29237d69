from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domains import MAX_WRITTEN_CHARACTERS, domain_of, normalise_domain, parents
from gatepost.errors import MalformedMessage

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("example.org", "example.org"),
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("exämple.org", "xn--exmple-cua.org"),
        ("EXÄMPLE.org.", "xn--exmple-cua.org"),
        ("XN--EXMPLE-CUA.org", "xn--exmple-cua.org"),
        ("faß.example", "xn--fa-hia.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
        ("\uff41\uff0eexample", "a.example"),
        ("\u212aelvin.example", "kelvin.example"),
        ("soft\u00adhyphen.example", "softhyphen.example"),
        ("_spf.example", "_spf.example"),
        ("localhost", "localhost"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        ("a." * 126 + "b", "a." * 126 + "b"),
    ],
)
def test_two_spellings_are_one_name(written: str, normal: str) -> None:
    assert normalise_domain(written) == normal


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "example..",
        "example.org..",
        ".example",
        "a..b",
        "-a.example",
        "a-.example",
        "a b.example",
        "a:b",
        "a|b",
        "a=b",
        "[192.0.2.1]",
        "a\n.example",
        "example\n",
        "a" * 64 + ".example",
        "aa." + "a." * 125 + "b",
        "a." * 127 + "b",
        "xn--.ä",
        "\udc80.example",
        "\u00ad" * 20,
        "a" * (MAX_WRITTEN_CHARACTERS + 1),
    ],
)
def test_what_is_no_domain_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage, match="is not a domain name"):
        normalise_domain(name)


def test_no_cached_name_is_long() -> None:
    # A soft hyphen is dropped by UTS 46, so that a name of any length could be spelled.
    normalise_domain("\u00ad" * 500 + "a.example")
    with pytest.raises(MalformedMessage):
        normalise_domain("\u00ad" * MAX_WRITTEN_CHARACTERS + "a.example")


def test_the_error_names_the_rule_and_prints() -> None:
    with pytest.raises(MalformedMessage) as caught:
        normalise_domain("\udc80ä")
    assert caught.value.rule == "RFC 5890 §2.3.2"
    assert str(caught.value).isascii() or "§" in str(caught.value)


@given(DOMAINS)
def test_normal_names_stay(name: str) -> None:
    assert normalise_domain(name) == name
    assert normalise_domain(name.upper() + ".") == name


@given(st.text(max_size=80))
def test_any_text_is_normalised_once_or_refused(text: str) -> None:
    try:
        normal = normalise_domain(text)
    except MalformedMessage:
        return
    assert normal.isascii()
    assert normal == normal.lower()
    assert len(normal) <= 253
    assert normalise_domain(normal) == normal
    assert not set(normal) & set(" :|=[]<>@,;\r\n\0\"'\\%")


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@Example.ORG", "example.org"),
        ('"a@b"@example.org', "example.org"),
        ("@relay.example:a@example.org", "example.org"),
        ("a@exämple.org", "xn--exmple-cua.org"),
        ("", None),
        ("a", None),
        ("a@", None),
        ("a@[192.0.2.1]", None),
        ("a@[IPv6:2001:db8::1]", None),
        ("a@b c", None),
        ("<>", None),
    ],
)
def test_domain_of(address: str, domain: str | None) -> None:
    assert domain_of(address) == domain


@given(st.text(max_size=80))
def test_domain_of_never_raises(text: str) -> None:
    domain_of(text)


def test_parents_are_nearest_first_and_never_the_name_itself() -> None:
    assert parents("a.b.example") == [".b.example", ".example"]
    assert parents("example") == []
