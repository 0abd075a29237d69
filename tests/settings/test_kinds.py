"""What each kind of value takes; what it refuses is in tests/bad_configs."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.settings import kinds, kinds_store
from gatepost.settings.problems import Rejected, path_text, quoted
from gatepost.settings.schema import did_you_mean, listed, there_are

SHA256 = ":".join(["Ab"] * 32)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.BOOLEAN, "yes", True),
        (kinds.BOOLEAN, "True", True),
        (kinds.BOOLEAN, "OFF", False),
        (kinds.DOMAIN, "Example.ORG.", "example.org"),
        (kinds.DOMAIN, "bücher.example", "xn--bcher-kva.example"),
        (kinds.DOMAIN, "_dmarc.example", "_dmarc.example"),
        (kinds.DOMAIN, "localhost", "localhost"),
        (kinds.DOMAIN_OR_PARENT, ".Example.org", ".example.org"),
        (kinds.CERTIFICATE_NAME, ".mx.example", ".mx.example"),
        (
            kinds.NETWORK,
            "192.0.2.0/24",
            (4, 24, int(ipaddress.ip_address("192.0.2.0")), "192.0.2.0/24"),
        ),
        (
            kinds.NETWORK,
            "2001:DB8::1",
            (6, 128, int(ipaddress.ip_address("2001:db8::1")), "2001:db8::1/128"),
        ),
        (kinds.ADDRESS, "2001:DB8::1", (6, "2001:db8::1")),
        (kinds.FINGERPRINT, SHA256, SHA256.lower()),
        (kinds.LOGIN, "müller@acme.example", "müller@acme.example"),
        (kinds.LOGIN, "two words", "two words"),
        (kinds.HEADER, "X-Campaign", "X-Campaign"),
        (kinds.HEADER, "List-ID", "List-ID"),
        (kinds.SENDER_ID, "abcde", "abcde"),
        (kinds.SENDER_ID, "abcdefghijklmno", "abcdefghijklmno"),
        (kinds.duration(1, 86400, "1s"), "1d", 86400),
        (kinds.duration(1, 86400, "1s"), "5m", 300),
        (kinds.whole_number(0, 31, "1"), "0", 0),
        (kinds.whole_number(0, 31, "1"), "31", 31),
        (kinds.TENANT_ID, "a" * 31, "a" * 31),
        (kinds.TENANT_ID, "0-a", "0-a"),
        (kinds.SHORT_NAME, "a" + "1" * 15, "a" + "1" * 15),
    ],
)
def test_taken(kind, text, value):
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kinds.whole_number(0, 31, "1"), "٣"),
        (kinds.whole_number(0, 31, "1"), "32"),
        (kinds.whole_number(0, 31, "1"), "-1"),
        (kinds.whole_number(0, 31, "1"), "1_0"),
        (kinds.duration(1, 60, "1s"), "٣s"),
        (kinds.duration(1, 60, "1s"), "1m\n"),
        (kinds.duration(1, 60, "1s"), "61s"),
        (kinds.TENANT_ID, "acme\n"),
        (kinds.TENANT_ID, ""),
        (kinds.SHORT_NAME, "a-b"),
        (kinds.SHORT_NAME, "1a"),
        (kinds.DOMAIN, "a b.example"),
        (kinds.DOMAIN, "mx:25"),
        (kinds.DOMAIN, "a=b.example"),
        (kinds.DOMAIN, "example.org|"),
        (kinds.DOMAIN, "a" * 64 + ".example"),
        (kinds.DOMAIN, "example.org\n"),
        (kinds.DOMAIN, "a." * 127 + "example"),
        (kinds.DOMAIN, ""),
        (kinds.DOMAIN_OR_PARENT, "."),
        (kinds.DOMAIN_OR_PARENT, "..example"),
        (kinds.LISTEN, "127.0.0.1"),
        (kinds.LISTEN, "127.0.0.1:0"),
        (kinds.LISTEN, "127.0.0.1:65536"),
        (kinds.LISTEN, "::1:9464"),
        (kinds.LISTEN, "[127.0.0.1]:9464"),
        (kinds.HEADER, "X-Kämpagne"),
        (kinds.HEADER, "a" * 65),
        (kinds.OWN_HEADER, "feedback-ID"),
        (kinds.DIRECTORY, ""),
        (kinds_store.STORE, "sqlite:///"),
        (kinds_store.STORE, "sqlite:////"),
    ],
)
def test_refused(kind, text):
    with pytest.raises(Rejected) as caught:
        kind.parse(text)
    assert caught.value.problem.isascii() or "§" in caught.value.problem
    assert "\n" not in caught.value.problem + caught.value.remedy


@given(st.from_regex(r"\A[A-Za-z0-9_.-]{1,40}\Z") | st.text(max_size=20))
def test_the_short_way_for_domains_is_the_long_way(text):
    try:
        found = kinds.DOMAIN_OR_PARENT.parse(text)
    except Rejected:
        return
    dot = "." if text.startswith(".") else ""
    assert found == dot + normalise_domain(text.removeprefix("."))


@given(st.from_regex(r"\A[a-z0-9_]([a-z0-9_-]{0,5}[a-z0-9_])?(\.[a-z]{1,3}){1,3}\Z"))
def test_domains_in_normal_form_are_taken_as_they_are(text):
    assert kinds.DOMAIN.parse(text) == text


@given(st.text(max_size=30))
def test_a_text_is_a_domain_for_both_ways_or_for_none(text):
    if text.startswith(".") or text.rpartition(".")[2].isdigit():
        return
    try:
        wanted: str | None = normalise_domain(text)
    except MalformedMessage:
        wanted = None
    try:
        found: str | None = kinds.DOMAIN.parse(text)
    except Rejected:
        found = None
    if wanted is not None and wanted.rpartition(".")[2].isdigit():
        wanted = None
    assert found == wanted


@given(st.lists(st.integers(0, 99) | st.text()))
def test_a_path_is_one_printable_word(path):
    text = path_text(path)
    assert text.isascii()
    assert text.isprintable()


@given(st.text())
def test_quoted_text_is_ascii_on_one_line(text):
    shown = quoted(text)
    assert shown.isascii()
    assert shown.isprintable()


def test_words():
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(map(str, range(5)), 3) == "0, 1, 2 and 2 more"
    assert there_are(["a"]) == "there is only a"
    assert did_you_mean("logns", ["logins", "listeners"]) == "did you mean logins?"
    assert did_you_mean("zzz", ["logins"]) is None
    # Among the ids of a large platform no guess is made: each would take seconds.
    assert did_you_mean("t1", map(str, range(5000))) is None
