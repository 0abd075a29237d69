"""Which spellings are one address, and what becomes of two entries for it."""

from __future__ import annotations

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import (
    GLOBAL,
    KEY_OCTETS,
    MAX_ADDRESS_OCTETS,
    SUB_KEY_OCTETS,
    Reason,
    Suppressed,
    canonical_address,
    expiry_of,
    key_of,
    merged,
)

SECRET = b"s" * 32
NOW = 1_800_000_000.0
DAY = 86_400


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann@EXAMPLE.org.", "ann@example.org"),
        ("aNN@Bücher.Example", "ann@xn--bcher-kva.example"),
        ("ann@xn--BCHER-kva.example", "ann@xn--bcher-kva.example"),
        ('"Ann"@example.org', "ann@example.org"),
        ('"a\\nn"@example.org', "ann@example.org"),
        ('"a n"@example.org', '"a n"@example.org'),
        ("a n@example.org", '"a n"@example.org'),
        ('"a\\"\\\\n"@example.org', '"a\\"\\\\n"@example.org'),
        ('a."n".n@example.org', "a.n.n@example.org"),
        ('"a@b"@example.org', '"a@b"@example.org'),
        ("a.n.n@example.org", "a.n.n@example.org"),
        (".ann.@example.org", ".ann.@example.org"),
        ("ann+news@example.org", "ann+news@example.org"),
        ("ÄNN@example.org", "änn@example.org"),
        ("a\N{COMBINING DIAERESIS}nn@example.org", "änn@example.org"),
        ("ΟΔΟΣ@example.org", "οδοσ@example.org"),
        ("οδος@example.org", "οδοσ@example.org"),
        ("STRASSE@example.org", "strasse@example.org"),
        ("straße@example.org", "straße@example.org"),
        ("STRAẞE@example.org", "straße@example.org"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        ("ann@[IPv6:2001:DB8:0:0::1]", "ann@[ipv6:2001:db8::1]"),
    ],
)
def test_the_form_in_which_addresses_are_compared(written: str, canonical: str) -> None:
    assert str(canonical_address(written)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@example.org",
        '""@example.org',
        "ann@",
        "ann@exa mple.org",
        "ann@.org",
        "ann@[192.0.2.300]",
        "ann@[192.0.2.1",
        "ann@[2001:db8::1]",
        "ann@[IPv6:192.0.2.1]",
        "ann\n@example.org",
        "ann\0@example.org",
        "\udce4nn@example.org",
        "<ann@example.org",
        "ann@example.org>",
        "a" * MAX_ADDRESS_OCTETS + "@example.org",
        "ä" * 200 + "@example.org",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(MalformedMessage):
        canonical_address(text)


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("ann@example.org", "ann"),
        ("Ann+News@example.org", "ann"),
        ("ann+a+b@example.org", "ann"),
        ('"ann+a b"@example.org', "ann"),
        ("ann-news@example.org", "ann-news"),
        ("ann+@example.org", "ann"),
        # Nothing would be left to tell mailboxes apart by.
        ("+ann@example.org", "+ann"),
    ],
)
def test_sub_addresses(address: str, base: str) -> None:
    assert canonical_address(address).base == base


ADDRESSES = st.one_of(
    st.text(max_size=40),
    st.builds(
        "{}@{}".format, st.text(max_size=20), st.text(string.ascii_letters + ".-ß", max_size=20)
    ),
    st.builds("{}@Example.ORG".format, st.text(st.characters(codec="utf-8"), max_size=30)),
    st.builds('"{}"@example.org'.format, st.text(max_size=10)),
)


@given(ADDRESSES)
def test_every_text_is_an_address_or_none(text: str) -> None:
    try:
        canonical = canonical_address(text)
    except MalformedMessage:
        return
    assert canonical.local
    assert canonical.domain
    assert str(canonical).isprintable() or not text.isascii()
    assert canonical_address(str(canonical)) == canonical
    # Whatever was made of it, its key can be made as well.
    assert len(key_of(canonical, "acme", SECRET).base) == KEY_OCTETS


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), st.sampled_from("a+ß"))
def test_case_and_quotes_do_not_matter(text: str, letter: str) -> None:
    local = text + letter
    try:
        canonical = canonical_address(f"{local}@example.org")
    except MalformedMessage:
        return
    if '"' in local or "\\" in local:
        return
    assert canonical_address(f'"{local}"@EXAMPLE.org') == canonical
    assert canonical_address(f"{canonical.local}@example.org") == canonical
    if local.isascii():
        assert canonical_address(f"{local.swapcase()}@example.org") == canonical


def test_keys_tell_addresses_tenants_and_secrets_apart() -> None:
    addresses = ["ann@example.org", "ann@example.com", "bob@example.org", "ann@[192.0.2.1]"]
    keys = {
        key_of(canonical_address(address), tenant, secret)
        for address in addresses
        for tenant in ("acme", "zeta", GLOBAL)
        for secret in (SECRET, b"t" * 32)
    }
    assert len(keys) == 4 * 3 * 2


def test_sub_addresses_share_the_key_of_their_mailbox() -> None:
    plain, news, shop = (
        key_of(canonical_address(address), "acme", SECRET)
        for address in ("ann@example.org", "ann+news@example.org", "Ann+Shop@example.org")
    )
    assert plain.base == news.base == shop.base
    assert plain.sub == b""
    assert len(news.sub) == SUB_KEY_OCTETS
    assert news.sub != shop.sub


@pytest.mark.parametrize("reason", Reason)
def test_what_a_person_asked_for_holds_for_good(reason: Reason) -> None:
    rules = SuppressionRules()
    expected = {Reason.HARD_BOUNCE: NOW + 90 * DAY, Reason.SOFT_BOUNCES: NOW + 7 * DAY}
    assert expiry_of(reason, NOW, rules) == expected.get(reason)
    assert reason.lifted_by_delivery is (reason in expected)
    assert reason.may_expire is (reason in expected or reason is Reason.MANUAL)


REASONS = st.sampled_from(Reason)


@st.composite
def entries(draw: st.DrawFn, reason: Reason) -> Suppressed:
    """Return an entry that is in force on day 10."""
    at = NOW + draw(st.integers(0, 10)) * DAY
    ends = reason.lifted_by_delivery or (reason.may_expire and draw(st.booleans()))
    expires = NOW + draw(st.integers(11, 30)) * DAY if ends else None
    return Suppressed("acme", "ann@example.org", reason, at, expires)


@given(st.data(), REASONS)
def test_the_order_in_which_entries_come_does_not_matter(
    data: st.DataObject, reason: Reason
) -> None:
    a, b, c = (data.draw(entries(reason)) for _ in range(3))
    assert merged(a, b) == merged(b, a)
    assert merged(merged(a, b), c) == merged(a, merged(b, c))
    assert merged(a, a) == a


@given(st.data(), REASONS)
def test_nothing_is_shortened(data: st.DataObject, reason: Reason) -> None:
    old, new = data.draw(entries(reason)), data.draw(entries(reason))
    together = merged(old, new)
    for moment in range(40):
        now = NOW + moment * DAY
        assert together.holds(now) is (old.holds(now) or new.holds(now))


def test_an_entry_after_its_end_begins_anew() -> None:
    old = Suppressed("acme", "a@b.example", Reason.MANUAL, NOW, NOW + DAY)
    new = dataclasses.replace(old, at=NOW + DAY, expires=NOW + 3 * DAY)
    assert merged(old, new).at == NOW + DAY
    assert merged(old, dataclasses.replace(new, at=NOW + DAY - 1)).at == NOW


def test_the_note_is_the_newer_and_the_source_the_first() -> None:
    old = Suppressed("acme", "a@b.example", Reason.MANUAL, NOW, source="cli", note="old")
    new = dataclasses.replace(old, source="import", note="new")
    assert (merged(old, new).source, merged(old, new).note) == ("cli", "new")
    bare = dataclasses.replace(old, source="", note="")
    assert merged(old, bare) == merged(bare, old) == old
