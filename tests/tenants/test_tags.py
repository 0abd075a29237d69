from __future__ import annotations

import pytest

from gatepost.tenants.model import PlatformLogin
from gatepost.tenants.tags import NamedTenant, named_tenant
from tests.world import index, tenant

ACME, OTHER = tenant("acme"), tenant("other")
INDEX = index([ACME, OTHER])
ANY = PlatformLogin("mailer", None)
ONLY_ACME = PlatformLogin("shop", frozenset({"acme"}))
NOT_ALLOWED = "this login may not send for the tenant named in X-Tenant-ID"


def named(values: list[str], login: PlatformLogin = ONLY_ACME) -> NamedTenant:
    return named_tenant(values, login, INDEX, "X-Tenant-ID")


@pytest.mark.parametrize("values", [["acme"], [" acme "], ["\n\tacme"], ["acme", "acme"]])
def test_the_tag_of_a_platform_login_names_the_tenant(values: list[str]) -> None:
    assert named(values) == NamedTenant(ACME)


def test_a_login_for_everybody() -> None:
    assert named(["other"], ANY) == NamedTenant(OTHER)


def test_without_a_tag_there_is_no_tenant_and_no_problem() -> None:
    assert named([]) == NamedTenant()


def test_two_tenants_are_none() -> None:
    assert named(["acme", "other"], ANY).problem == "X-Tenant-ID names more than one tenant"


@pytest.mark.parametrize(
    "value",
    [
        "other", "unheard-of", "", "ACME", "ac me", "acme, other",
        "acme\u00a0", "\x0bacme", "acme\x1c", "acme\0",
    ],
)  # fmt: skip
def test_forbidden_and_unknown_tenants_are_refused_in_the_same_words(value: str) -> None:
    assert named([value]) == NamedTenant(problem=NOT_ALLOWED)
