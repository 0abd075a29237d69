"""Sources of lookup tables, read as postmap(1) and regexp_table(5) say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.tables.patterns import matches_anything, pattern_domains
from gatepost.tls.tables.source import Entry, Format, guess_format, read_entries

TABLE = """\
# comment
  # comment that is indented

example.com  encrypt
   protocols=>=TLSv1.2
# a comment does not end an entry

   ciphers=high
[relay.example]:587\tverify match=a.example
"a b"   may
alone
"""


def test_keys_values_and_lines() -> None:
    assert read_entries(TABLE, "t", Format.KEYS) == [
        Entry("example.com", "encrypt protocols=>=TLSv1.2 ciphers=high", "t:4"),
        Entry("[relay.example]:587", "verify match=a.example", "t:9"),
        Entry("a b", "may", "t:10"),
        Entry("alone", "", "t:11"),
    ]


def test_patterns() -> None:
    text = "/^a b$/i  encrypt\n!/x\\/y/ may\n  more\nif /z/\n/q/ none\nendif\n/after/ may\n"
    assert read_entries(text, "p", Format.PATTERNS) == [
        Entry("/^a b$/i", "encrypt", "p:1"),
        Entry("!/x\\/y/", "may more", "p:2"),
        Entry("if /z/", "", "p:4", inside=True),
        Entry("/q/", "none", "p:5", inside=True),
        Entry("endif", "", "p:6", inside=True),
        Entry("/after/", "may", "p:7"),
    ]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("# x\nexample.com may\n", Format.KEYS),
        ("# x\n/^a$/ may\n", Format.PATTERNS),
        ("!/^a$/ may\n", Format.PATTERNS),
        ("if /a/\n/b/ may\nendif\n", Format.PATTERNS),
        ("if.example may\n", Format.KEYS),
        ("", Format.KEYS),
    ],
)
def test_what_a_file_probably_is(text: str, form: Format) -> None:
    assert guess_format(text) is form


@pytest.mark.parametrize(
    ("pattern", "domains"),
    [
        (r"/^example\.com$/", ("example.com",)),
        (r"/^Example\.COM$/i", ("example.com",)),
        (r"/^example.com$/", ("example.com",)),
        (r"/\.example\.com$/", (".example.com",)),
        (r"/^.*\.example\.com$/", (".example.com",)),
        (r"/^.+\.example\.com$/", (".example.com",)),
        (r"/^\.example\.com$/", (".example.com",)),
        (r"/^(.*\.)?example\.com$/", ("example.com", ".example.com")),
        (r"/^(?:.*\.)?example\.com$/", ("example.com", ".example.com")),
        (r"/(^|\.)example\.com$/", ("example.com", ".example.com")),
        (r"/(^|.*\.)example\.com$/", ("example.com", ".example.com")),
        (r"/(?:^|\.)mx-1\.example\.com$/", ("mx-1.example.com", ".mx-1.example.com")),
        (r"/example\.com$/", ()),
        (r"/^example\.com/", ()),
        (r"/^ex.*\.com$/", ()),
        (r"/^(a|b)\.example$/", ()),
        (r"/^\[192\.0\.2\.1\]$/", ()),
        (r"/^192\.0\.2\.1$/", ()),
        (r"!/^example\.com$/", ()),
        (r"/^example\.com$/x", ()),
        (r"#^example\.com$#", ()),
        (r"/^a..b$/", ()),
        ("", ()),
    ],
)
def test_patterns_that_are_domains(pattern: str, domains: tuple[str, ...]) -> None:
    assert pattern_domains(pattern) == domains


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("/./", True), ("/.*/", True), ("/^.*$/", True), ("//", True), ("/a/", False), ("x", False)],
)
def test_patterns_that_are_everything(pattern: str, *, expected: bool) -> None:
    assert matches_anything(pattern) is expected


@given(st.text(alphabet='ab.#"/!\\ \t\n[]:if', max_size=60), st.sampled_from(Format))
def test_any_text_is_read(text: str, form: Format) -> None:
    for entry in read_entries(text, "t", form):
        assert "\n" not in entry.key + entry.value
        pattern_domains(entry.key)
