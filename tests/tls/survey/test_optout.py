"""Who does not want to be visited."""

from __future__ import annotations

import pytest

from gatepost.errors import MalformedMessage
from gatepost.tls.survey.optout import OptOut, parse_opt_out

LIST = """\
# asked by mail
example.org
.Sub.Example.NET   # with a dot
192.0.2.7
198.51.100.0/22
2001:db8:1::/48
b\u00fccher.example
""".splitlines()


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("example.org", True),
        ("mx.example.org", True),
        ("a.b.example.org", True),
        ("notexample.org", False),
        ("org", False),
        ("sub.example.net", True),
        ("example.net", False),
        ("xn--bcher-kva.example", True),
    ],
)
def test_names(name: str, *, covered: bool) -> None:
    assert parse_opt_out(LIST).covers_name(name) is covered


@pytest.mark.parametrize(
    ("address", "covered"),
    [
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("198.51.103.255", True),
        ("198.51.104.0", False),
        ("2001:db8:1:2::3", True),
        ("2001:db8:2::3", False),
        ("::ffff:192.0.2.7", False),
    ],
)
def test_addresses(address: str, *, covered: bool) -> None:
    assert parse_opt_out(LIST).covers_address(address) is covered


def test_an_empty_list_covers_nobody() -> None:
    for nobody in (OptOut(), parse_opt_out(["", "# nobody"])):
        assert not nobody.covers_name("example.org")
        assert not nobody.covers_address("192.0.2.1")


@pytest.mark.parametrize(
    "line",
    [
        "exa mple.org",
        "-",
        "192.0.2.0/33",
        "a..b",
        "*.example.org",
        "http://example.org",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1-192.0.2.20",
        "192.0.2.1-20",
    ],
)
def test_a_line_that_is_not_understood_is_not_passed_over(line: str) -> None:
    with pytest.raises(MalformedMessage, match="line 2"):
        parse_opt_out(["example.org", line])
