"""Rules that evidence has earned: when they hold, and how they join the others."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gatepost.decisions.tlsmap import decide_policy
from gatepost.modes import Mode
from gatepost.postfix.services import attach_spec
from gatepost.postfix.spec import Hook
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.snapshot import Snapshot
from gatepost.tls.answer import NO_OPINION, decide_tls
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.operator import OperatorTls
from gatepost.tls.promoted import Downgrade, PromotedRule, PromotedRules
from gatepost.tls.rules import DomainRules, TlsRules
from policy_server.tls_maps import TlsMaps
from tests.world import DAY, ENFORCE, NOW, OBSERVE, PROFILES, snapshot, tenant

ENCRYPT = Requirement(Level.ENCRYPT)
RULE = PromotedRule(ENCRYPT, NOW - 5 * DAY, NOW + 5 * DAY)
PROMOTED = PromotedRules({"a.example": RULE}, configured=True)
RULES = TlsRules(PROFILES, promoted=PROMOTED)
ACME = tenant("acme", senders=("acme.example",), profile="private")


def world(**fields: object) -> Snapshot:
    made = snapshot(ACME, **fields)
    return replace(made, tls=replace(made.tls, promoted=PROMOTED))


@pytest.mark.parametrize(
    ("rule", "now", "found"),
    [
        (RULE, NOW, True),
        (RULE, RULE.since, True),
        (RULE, RULE.since - 1, False),
        (RULE, RULE.expires - 1, True),
        (RULE, RULE.expires, False),
        (RULE, 0.0, True),
        (replace(RULE, dropped=NOW - DAY), NOW, True),
        (replace(RULE, dropped=NOW - DAY, downgrade=Downgrade.ALERT), NOW, False),
        (replace(RULE, downgrade=Downgrade.ALERT), NOW, True),
    ],
)
def test_when_a_rule_holds(rule: PromotedRule, now: float, *, found: bool) -> None:
    rules = PromotedRules({"a.example": rule})
    wanted = ("tls.promoted a.example", ENCRYPT) if found else None
    assert rules.find("a.example", now) == wanted


def test_a_rule_is_for_one_destination_only() -> None:
    assert PROMOTED.find("x.a.example", NOW) is None
    assert PROMOTED.find("example", NOW) is None


def test_how_long_an_answer_stays() -> None:
    assert PROMOTED.until("a.example", NOW) == RULE.expires
    assert PROMOTED.until("a.example", RULE.since - DAY) == RULE.since
    assert PROMOTED.until("a.example", RULE.expires) == math.inf
    assert PROMOTED.until("b.example", NOW) == math.inf


@pytest.mark.parametrize("key", ["a.example", "A.Example", "[a.example]", "a.example:25"])
def test_the_opinion_is_joined_and_named(key: str) -> None:
    answer = decide_tls(None, key, RULES, now=NOW)
    assert answer.requirement == ENCRYPT
    assert [each.source for each in answer.opinions] == ["tls.promoted a.example"]
    assert decide_tls(None, key, RULES, now=RULE.expires) == NO_OPINION


def test_it_strengthens_and_never_weakens() -> None:
    verify = Requirement(Level.VERIFY)
    rules = replace(RULES, everyone=DomainRules({"a.example": verify}))
    assert decide_tls(None, "a.example", rules, now=NOW).requirement == verify
    weak = replace(RULES, everyone=DomainRules({"a.example": Requirement(Level.MAY)}))
    assert decide_tls(None, "a.example", weak, now=NOW).requirement == ENCRYPT
    operator = OperatorTls("verify")
    assert decide_tls(None, "a.example", RULES, operator, now=NOW).requirement == verify


def test_the_maps_answer_until_the_rule_ends() -> None:
    clock = [NOW]
    maps = TlsMaps(OLDEST_SUPPORTED, clock=lambda: clock[0])
    config = world()
    assert maps.policy("tls", "a.example", config) == "encrypt"
    assert maps.policy("tls", "b.example", config) is None
    clock[0] = RULE.expires - 1
    assert maps.policy("tls", "a.example", config) == "encrypt"
    clock[0] = RULE.expires
    assert maps.policy("tls", "a.example", config) is None
    # The profile's own level stays.
    assert maps.policy("tls-private", "a.example", config) == "encrypt protocols=>=TLSv1.2"


def test_it_follows_the_default_mode_as_rules_for_everyone_do() -> None:
    watched = world(modes=OBSERVE)
    assert decide_policy("tls", "a.example", watched, OLDEST_SUPPORTED, now=NOW) is None
    enforced = world(modes=ENFORCE)
    assert decide_policy("tls", "a.example", enforced, OLDEST_SUPPORTED, now=NOW) == "encrypt"


def test_a_file_that_is_named_needs_the_hook_also_while_it_is_empty() -> None:
    bare = snapshot(ACME, modes=ENFORCE)
    assert Hook.TLS not in attach_spec(bare).hooks
    named = replace(bare, tls=replace(bare.tls, promoted=PromotedRules(configured=True)))
    assert Hook.TLS in attach_spec(named).hooks
    off = replace(named, modes=replace(named.modes, tls=Mode.OFF))
    assert Hook.TLS not in attach_spec(off).hooks
