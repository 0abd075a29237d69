from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.answer import NO_OPINION, decide_tls
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.nexthop import nexthop_domain
from gatepost.tls.operator import OperatorTls
from gatepost.tls.rules import DomainRules, Profile, TlsRules
from tests.world import PROFILES

NAME = frozenset({"mx.partner.example"})
OTHER_NAME = frozenset({"mx.elsewhere.example"})
EVERYONE = DomainRules(
    {
        "example.org": Requirement(Level.ENCRYPT, TlsVersion.TLSv1_3),
        ".gov.example": Requirement(Level.VERIFY),
        "partner.example": Requirement(Level.VERIFY, match=OTHER_NAME),
        "old.example": Requirement(Level.ENCRYPT),
        "weak.example": Requirement(Level.NONE),
        "xn--exmple-cua.org": Requirement(Level.ENCRYPT),
    }
)
RULES = TlsRules(PROFILES, EVERYONE)


@pytest.mark.parametrize(
    ("nexthop", "domain"),
    [
        ("example.org", "example.org"),
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("exämple.org", "xn--exmple-cua.org"),
        ("XN--EXMPLE-CUA.ORG", "xn--exmple-cua.org"),
        ("example.org:587", "example.org"),
        ("example.org:submission", "example.org"),
        ("[mail.example.org]", "mail.example.org"),
        ("[Mail.Example.ORG]:587", "mail.example.org"),
        ("[mail.example.org]:smtp-alt", "mail.example.org"),
        ("[192.0.2.1]", None),
        ("[192.0.2.1]:25", None),
        ("192.0.2.1", None),
        ("[2001:db8::1]", None),
        ("[IPv6:2001:db8::1]:25", None),
        ("", None),
        ("[]", None),
        ("[]:25", None),
        (":25", None),
        ("example.org:", None),
        ("[a.example", None),
        ("a.example]", None),
        ("[a.example]x", None),
        ("[[a.example]]", None),
        ("/var/run/socket", None),
        ("private/lmtp", None),
    ],
)
def test_the_name_in_a_next_hop(nexthop: str, domain: str | None) -> None:
    assert nexthop_domain(nexthop) == domain


@pytest.mark.parametrize(
    ("profile", "nexthop", "requirement", "sources"),
    [
        # Nobody has an opinion.
        (None, "other.example", None, []),
        ("standard", "other.example", None, []),
        # The rules for everyone.
        (None, "example.org", Requirement(Level.ENCRYPT, TlsVersion.TLSv1_3), ["tls.domains"]),
        (
            None,
            "[Example.org]:587",
            Requirement(Level.ENCRYPT, TlsVersion.TLSv1_3),
            ["tls.domains"],
        ),
        (None, "a.gov.example", Requirement(Level.VERIFY), ["tls.domains .gov.example"]),
        (None, "gov.example", None, []),
        (None, "exämple.org", Requirement(Level.ENCRYPT), ["tls.domains xn--exmple-cua.org"]),
        (None, "weak.example", Requirement(Level.NONE), ["tls.domains"]),
        # The profile.
        ("private", "other.example", PROFILES["private"].base, ["profile private"]),
        ("private", "[192.0.2.1]:25", PROFILES["private"].base, ["profile private"]),
        ("private", "nonsense::", PROFILES["private"].base, ["profile private"]),
        ("bank", "other.example", Requirement(Level.VERIFY), ["profile bank"]),
        # Both, joined.
        (
            "private",
            "example.org",
            Requirement(Level.ENCRYPT, TlsVersion.TLSv1_3),
            ["profile private", "tls.domains example.org"],
        ),
        (
            "private",
            "x.gov.example",
            Requirement(Level.VERIFY, TlsVersion.TLSv1_2),
            ["profile private", "tls.domains .gov.example"],
        ),
        (
            "private",
            "weak.example",
            Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2),
            ["profile private", "tls.domains weak.example"],
        ),
        # An exception replaces the profile's level, also by a weaker one, and joins the others.
        (
            "bank",
            "old.example",
            Requirement(Level.ENCRYPT),
            ["profile bank, domain old.example", "tls.domains old.example"],
        ),
    ],
)
def test_every_opinion_is_joined_and_named(profile, nexthop, requirement, sources) -> None:
    answer = decide_tls(PROFILES.get(profile), nexthop, RULES)
    assert answer.requirement == requirement
    assert len(answer.opinions) == len(sources)
    for opinion, source in zip(answer.opinions, sources, strict=True):
        assert opinion.source.startswith(source)
    assert not answer.conflict


def test_an_exception_alone_is_an_opinion_also_a_weak_one() -> None:
    rules = TlsRules(PROFILES)
    answer = decide_tls(PROFILES["bank"], "old.example", rules)
    assert answer.requirement == Requirement(Level.MAY)
    answer = decide_tls(PROFILES["bank"], "partner.example", rules)
    assert answer.requirement == Requirement(Level.VERIFY, match=NAME)


def test_opinions_that_exclude_each_other_conflict() -> None:
    answer = decide_tls(PROFILES["bank"], "partner.example", RULES)
    assert answer.conflict
    assert [opinion.source for opinion in answer.opinions] == [
        "profile bank, domain partner.example",
        "tls.domains partner.example",
    ]
    assert not NO_OPINION.conflict


@pytest.mark.parametrize("profile", [None, *PROFILES])
@pytest.mark.parametrize("key", [".gov.example", ".org", ".example", "."])
def test_a_parent_key_has_no_opinion(profile: str | None, key: str) -> None:
    # Postfix asks it only after the name itself was not found; a rule for sub-domains was found
    # with the name.
    assert decide_tls(PROFILES.get(profile or ""), key, RULES) == NO_OPINION


BASES = st.builds(Requirement, st.sampled_from(Level), st.sampled_from([None, *TlsVersion]))
HOPS = st.sampled_from(
    ["a.example", "A.example.", "[a.example]", "x.a.example:25", "b.example", "[192.0.2.1]"]
)
TABLES = st.dictionaries(st.sampled_from(["a.example", ".a.example", ".example"]), BASES)


@given(BASES, TABLES, TABLES, HOPS)
def test_no_rule_for_everyone_weakens_a_profile(base, exceptions, everyone, nexthop) -> None:
    profile = Profile("p", base, DomainRules(exceptions))
    alone = decide_tls(profile, nexthop, TlsRules({})).requirement
    joined = decide_tls(profile, nexthop, TlsRules({}, DomainRules(everyone))).requirement
    if alone is not None:
        assert joined is not None
        assert joined.join(alone) == joined


@pytest.mark.parametrize(
    ("level", "ours", "joined"),
    [
        ("", Level.ENCRYPT, Requirement(Level.ENCRYPT)),
        ("none", Level.ENCRYPT, Requirement(Level.ENCRYPT)),
        ("may", Level.ENCRYPT, Requirement(Level.ENCRYPT)),
        ("may", Level.NONE, Requirement(Level.NONE)),
        ("encrypt", Level.ENCRYPT, Requirement(Level.ENCRYPT)),
        ("encrypt", Level.VERIFY, Requirement(Level.VERIFY)),
        ("verify", Level.ENCRYPT, Requirement(Level.VERIFY)),
        ("verify", Level.VERIFY, Requirement(Level.VERIFY)),
        (
            "secure",
            Level.ENCRYPT,
            Requirement(Level.VERIFY, match=frozenset({"any.example", ".any.example"})),
        ),
        # No answer leaves the operator's level, and the exceptions that the operator makes.
        ("encrypt", Level.MAY, None),
        ("encrypt", Level.NONE, None),
        ("verify", Level.MAY, None),
        # Cannot be joined; attach asks before it goes so far.
        ("dane", Level.ENCRYPT, Requirement(Level.ENCRYPT)),
        ("dane-only", Level.VERIFY, Requirement(Level.VERIFY)),
        ("fingerprint", Level.ENCRYPT, Requirement(Level.ENCRYPT)),
    ],
)
@pytest.mark.parametrize("whose", ["profile", "everyone"])
def test_an_answer_never_asks_for_less_than_the_operator(
    level: str, ours: Level, joined: Requirement | None, whose: str
) -> None:
    requirement = Requirement(ours)
    table = DomainRules({"any.example": requirement})
    profile = Profile("p", Requirement(Level.MAY), table) if whose == "profile" else None
    rules = TlsRules({}, DomainRules() if whose == "profile" else table)
    for nexthop in ("any.example", "[any.example]:25"):
        answer = decide_tls(profile, nexthop, rules, OperatorTls(level))
        assert answer.requirement == joined
        told = [opinion.source for opinion in answer.opinions]
        asks = level in {"encrypt", "verify", "secure"} and joined is not None
        assert (f"smtp_tls_security_level {level}" in told) is asks


def test_where_we_have_no_opinion_the_operators_needs_no_word() -> None:
    operator = OperatorTls("verify")
    assert decide_tls(None, "any.example", TlsRules({}), operator) == NO_OPINION


def test_an_exception_from_a_strict_profile_falls_as_low_as_the_operator_lets_it() -> None:
    table = DomainRules({"any.example": Requirement(Level.MAY)})
    profile = Profile("p", Requirement(Level.VERIFY), table)
    answer = decide_tls(profile, "any.example", TlsRules({}), OperatorTls("encrypt"))
    assert answer.requirement == Requirement(Level.ENCRYPT)


def test_secure_and_names_that_exclude_each_other() -> None:
    match = frozenset({"mx.other.example"})
    rules = TlsRules({}, DomainRules({"any.example": Requirement(Level.VERIFY, match=match)}))
    assert decide_tls(None, "any.example", rules, OperatorTls("secure")).conflict


def test_secure_and_an_address_literal() -> None:
    profile = Profile("p", Requirement(Level.ENCRYPT))
    answer = decide_tls(profile, "[192.0.2.1]", TlsRules({}), OperatorTls("secure"))
    assert answer.requirement == Requirement(Level.VERIFY)
