"""What a profile would have refused: each kind of delivery under each kind of requirement."""

from __future__ import annotations

import pytest

from gatepost.decisions.tls_what_if import DomainFate, what_if
from gatepost.maillog.evidence import Seen, TenantDomain
from gatepost.maillog.model import TlsClass
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.rules import DomainRules, Profile, TlsRules

NOW = 1_800_000_000.0
A = "a.example"
MAY = Profile("standard", Requirement(Level.MAY))
ENCRYPT = Profile("private", Requirement(Level.ENCRYPT))
MODERN = Profile("modern", Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2))
VERIFY = Profile("bank", Requirement(Level.VERIFY))
NAMED = Profile(
    "named", Requirement(Level.MAY),
    DomainRules({A: Requirement(Level.VERIFY, match=frozenset({"x.example"}))}),
)  # fmt: skip


def seen(tls: TlsClass, count: int = 2, version: str = "TLSv1.3") -> Seen:
    return Seen(tls, version, count, 1, NOW, NOW)


def fate(
    profile: Profile, *all_seen: Seen, rules: TlsRules | None = None, valid: bool | None = None
) -> DomainFate:
    rows = [TenantDomain("acme", A, all_seen)]
    [found] = what_if(rows, profile, rules or TlsRules({}), lambda _: valid, NOW)
    return found


@pytest.mark.parametrize(
    ("profile", "tls", "version", "valid", "refused", "unknown"),
    [
        (MAY, TlsClass.PLAINTEXT, "", None, 0, 0),
        (ENCRYPT, TlsClass.PLAINTEXT, "", None, 2, 0),
        (ENCRYPT, TlsClass.ENCRYPTED, "TLSv1", None, 0, 0),
        (ENCRYPT, TlsClass.UNKNOWN, "", None, 0, 2),
        (MODERN, TlsClass.ENCRYPTED, "TLSv1.1", None, 2, 0),
        (MODERN, TlsClass.ENCRYPTED, "TLSv1.2", None, 0, 0),
        (MODERN, TlsClass.ENCRYPTED, "", None, 0, 2),
        (VERIFY, TlsClass.AUTHENTICATED, "TLSv1.3", None, 0, 0),
        (VERIFY, TlsClass.ENCRYPTED, "TLSv1.3", None, 0, 2),
        (VERIFY, TlsClass.ENCRYPTED, "TLSv1.3", True, 0, 0),
        (VERIFY, TlsClass.ENCRYPTED, "TLSv1.3", False, 2, 0),
        # Which names the certificate had, nobody wrote down.
        (NAMED, TlsClass.AUTHENTICATED, "TLSv1.3", True, 0, 2),
        (NAMED, TlsClass.PLAINTEXT, "", True, 2, 0),
    ],
)
def test_each_kind(
    profile: Profile, tls: TlsClass, version: str, refused: int, unknown: int, *, valid: bool | None
) -> None:
    found = fate(profile, seen(tls, version=version), valid=valid)
    assert (found.sent, found.refused, found.unknown) == (2, refused, unknown)
    assert bool(found.why) is bool(refused or unknown)


def test_what_did_not_go_out_does_not_count() -> None:
    found = fate(ENCRYPT, seen(TlsClass.REFUSED, 9), seen(TlsClass.ENCRYPTED, 3))
    assert (found.sent, found.refused) == (3, 0)


def test_rules_for_everyone_are_joined() -> None:
    rules = TlsRules({}, DomainRules({A: Requirement(Level.ENCRYPT)}))
    assert fate(MAY, seen(TlsClass.PLAINTEXT), rules=rules).refused == 2


def test_domains_of_all_tenants_together_the_worst_first() -> None:
    rows = [
        TenantDomain("acme", A, (seen(TlsClass.PLAINTEXT, 1),)),
        TenantDomain("acme", "b.example", (seen(TlsClass.PLAINTEXT, 2),)),
        TenantDomain("beta", A, (seen(TlsClass.PLAINTEXT, 4), seen(TlsClass.ENCRYPTED, 5))),
    ]
    found = what_if(rows, ENCRYPT, TlsRules({}), lambda _: None, NOW)
    assert [(each.domain, each.refused, each.sent) for each in found] == [
        (A, 5, 10),
        ("b.example", 2, 2),
    ]
