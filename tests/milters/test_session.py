from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.facts import CUT, Header
from gatepost.tenants.client import Client
from milters.session import (
    MAX_HEADERS,
    MAX_RECIPIENTS,
    MAX_VALUE_OCTETS,
    MessageInProgress,
    plain_address,
    strip_brackets,
)

CLIENT = Client(login="acme", address="192.0.2.1")


def message(sender: str = "<a@b.example>") -> MessageInProgress:
    return MessageInProgress(CLIENT, "mail.example", sender, frozenset({"x-tag", "from"}))


def test_facts_are_what_postfix_said() -> None:
    one = message()
    one.add_recipient(b"<u@example.org>")
    one.add_recipient(b"<\xff@example.org>")
    one.add_header("X-Tag", b"a")
    one.add_header("Subject", b"nobody asked for it")
    one.add_header("x-TAG", b"\xe4")
    facts = one.facts("4Xyz")
    assert (facts.client, facts.host, facts.queue_id) == (CLIENT, "mail.example", "4Xyz")
    assert facts.sender == one.sender == "a@b.example"
    assert facts.recipients == ("u@example.org", "\udcff@example.org")
    assert facts.headers == (Header("X-Tag", "a"), Header("x-TAG", "\udce4"))
    assert not facts.overfull


def test_only_so_much_is_kept() -> None:
    one = message()
    for number in range(MAX_RECIPIENTS + 10):
        one.add_recipient(b"<u%d@example.org>" % number)
    for _ in range(MAX_HEADERS):
        one.add_header("X-Tag", b"a" * (MAX_VALUE_OCTETS + 10))
    facts = one.facts("Q")
    assert len(facts.recipients) == MAX_RECIPIENTS
    assert facts.recipients[0] == "u0@example.org"
    assert len(facts.headers) == MAX_HEADERS
    assert {len(header.value) for header in facts.headers} == {MAX_VALUE_OCTETS + 1}
    # Never equal to anything that came whole.
    assert {header.value[-1] for header in facts.headers} == {CUT}
    assert not facts.overfull
    one.add_header("Subject", b"x")
    assert not one.facts("Q").overfull
    one.add_header("From", b"x")
    facts = one.facts("Q")
    assert facts.overfull
    assert len(facts.headers) == MAX_HEADERS


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("<a@b>", "a@b"),
        ("<>", ""),
        ("a@b", "a@b"),
        ("<a@b", "<a@b"),
        ("a@b>", "a@b>"),
        ("<<a>>", "<a>"),
        ("", ""),
    ],
)
def test_brackets(given_: str, kept: str) -> None:
    assert strip_brackets(given_) == kept


@pytest.mark.parametrize(
    ("macro", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("IPv6:2001:db8::1", "2001:db8::1"),
        ("ipv6:::1", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_addresses(macro: str, address: str) -> None:
    assert plain_address(macro) == address


@given(st.lists(st.binary(max_size=40)), st.lists(st.tuples(st.text(max_size=8), st.binary())))
def test_any_octets_are_taken(recipients: list[bytes], fields: list[tuple[str, bytes]]) -> None:
    one = message()
    for recipient in recipients:
        one.add_recipient(recipient)
    for name, value in fields:
        one.add_header(name, value)
    facts = one.facts("Q")
    assert len(facts.recipients) == len(recipients)
    for kept, octets in zip(facts.recipients, recipients, strict=True):
        assert kept.encode("utf-8", "surrogateescape") in (octets, octets[1:-1])
