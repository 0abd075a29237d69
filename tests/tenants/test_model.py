from __future__ import annotations

import pytest

from gatepost.tenants.model import PlatformLogin, tenant_number
from tests.world import index, tenant

ACME = tenant("acme", senders=("acme.example", ".mail.acme.example"))
OTHER = tenant("other", senders=(".other.example",))
PLAIN = tenant("plain", senders=("plain.example",))

CASES = [
    ("acme.example", ACME),
    ("www.acme.example", None),
    ("mail.acme.example", None),
    ("a.mail.acme.example", ACME),
    ("b.a.mail.acme.example", ACME),
    ("other.example", None),
    ("x.other.example", OTHER),
    ("another.example", None),
    ("example", None),
]


@pytest.mark.parametrize(("domain", "owner"), CASES)
def test_a_leading_dot_covers_subdomains_only(domain, owner) -> None:
    assert index([ACME, OTHER]).owner(domain) is owner


@pytest.mark.parametrize(("domain", "owner"), CASES)
def test_the_index_and_the_tenant_agree(domain, owner) -> None:
    for each in (ACME, OTHER):
        assert each.owns(domain) == (each is owner)


def test_without_leading_dots_one_look_up_does() -> None:
    only = index([PLAIN])
    assert not only.has_suffixes
    assert only.owner("plain.example") is PLAIN
    assert only.owner("x.plain.example") is None


def test_the_nearest_parent_owns() -> None:
    outer = tenant("outer", senders=(".example",))
    inner = tenant("inner", senders=(".a.example",))
    assert index([outer, inner]).owner("x.a.example") is inner
    assert index([outer, inner]).owner("a.example") is outer


def test_tenant_numbers_are_48_bits_and_stay() -> None:
    numbers = {tenant_number(f"t{i}") for i in range(2000)}
    assert len(numbers) == 2000
    assert all(number < 1 << 48 for number in numbers)
    # Tokens outlive a release, so this may never change.
    assert tenant_number("acme") == 0x1A6D6B8E44F7


def test_platform_login() -> None:
    assert PlatformLogin("m", None).may("anybody")
    assert PlatformLogin("m", frozenset({"acme"})).may("acme")
    assert not PlatformLogin("m", frozenset({"acme"})).may("other")
    assert not PlatformLogin("m", frozenset()).may("acme")
