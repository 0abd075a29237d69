"""The TLS maps, by map name and next-hop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.tlsmap import decide_policy, profile_of
from gatepost.errors import Unavailable
from gatepost.modes import Mode
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level, Requirement
from tests.world import ENFORCE, OBSERVE, OFF, PROFILES, snapshot

EVERYONE = {
    "example.org": Requirement(Level.ENCRYPT),
    ".gov.example": Requirement(Level.VERIFY),
    "xn--exmple-cua.org": Requirement(Level.ENCRYPT),
    "partner.example": Requirement(Level.VERIFY, match=frozenset({"mx.elsewhere.example"})),
}
WORLD = snapshot(everyone=EVERYONE)
VERIFY = "verify match=hostname servername=hostname"


def policy(map_name: str, nexthop: str, world: Snapshot = WORLD) -> str | None:
    return decide_policy(map_name, nexthop, world, OLDEST_SUPPORTED)


@pytest.mark.parametrize(
    ("map_name", "nexthop", "answer"),
    [
        ("tls", "example.org", "encrypt"),
        ("tls", "Example.ORG", "encrypt"),
        ("tls", "example.org.", "encrypt"),
        ("tls", "[example.org]", "encrypt"),
        ("tls", "[Example.org]:587", "encrypt"),
        ("tls", "example.org:submission", "encrypt"),
        ("tls", "exämple.org", "encrypt"),
        ("tls", "EXÄMPLE.org.", "encrypt"),
        ("tls", "xn--exmple-cua.org", "encrypt"),
        ("tls", "a.gov.example", VERIFY),
        ("tls", "[mx.gov.example]:25", VERIFY),
        ("tls", "gov.example", None),
        ("tls", ".gov.example", None),
        ("tls", ".org", None),
        ("tls", "[192.0.2.1]:25", None),
        ("tls", "other.example", None),
        ("tls-standard", "other.example", None),
        ("tls-standard", "example.org", "encrypt"),
        ("tls-private", "other.example", "encrypt protocols=>=TLSv1.2"),
        ("tls-private", "[192.0.2.1]:25", "encrypt protocols=>=TLSv1.2"),
        ("tls-private", "a.gov.example", f"{VERIFY} protocols=>=TLSv1.2"),
        # The name itself was answered; its parents have nothing to add.
        ("tls-private", ".example", None),
        ("tls-bank", "other.example", VERIFY),
        ("tls-bank", "old.example", "may"),
    ],
)
def test_answers(map_name: str, nexthop: str, answer: str | None) -> None:
    assert policy(map_name, nexthop) == answer


@pytest.mark.parametrize("map_name", ["tls-unknown", "tls-", "tls-tls-private", "tls-Private"])
def test_a_profile_that_is_gone_makes_mail_wait(map_name: str) -> None:
    with pytest.raises(Unavailable, match="names no configured profile"):
        policy(map_name, "example.org")


def test_rules_that_exclude_each_other_make_mail_wait() -> None:
    with pytest.raises(Unavailable) as caught:
        policy("tls-bank", "partner.example")
    assert str(caught.value) == (
        "partner.example: profile bank, domain partner.example and tls.domains partner.example "
        "accept no certificate name in common"
    )


@pytest.mark.parametrize("modes", [OBSERVE, OFF, replace(ENFORCE, tls=Mode.OBSERVE)])
def test_rules_for_everyone_follow_the_default_mode(modes) -> None:
    world = snapshot(everyone=EVERYONE, modes=modes)
    for map_name in ("tls", "tls-standard"):
        assert policy(map_name, "example.org", world) is None
    # A service of another profile delivers only for tenants that enforce TLS.
    assert policy("tls-private", "a.gov.example", world) == f"{VERIFY} protocols=>=TLSv1.2"


def test_the_map_names_the_profile() -> None:
    assert profile_of("tls", WORLD) is None
    assert profile_of("tls-private", WORLD) is PROFILES["private"]


@given(st.sampled_from(["tls", "tls-standard", "tls-private", "tls-bank"]), st.text(max_size=60))
def test_any_key_is_answered(map_name: str, nexthop: str) -> None:
    answer = policy(map_name, nexthop)
    if map_name == "tls-private" and not nexthop.startswith("."):
        assert answer is not None
        assert answer.split()[0] in ("encrypt", "verify")
