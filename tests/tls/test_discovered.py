"""The answer with what a destination publishes: MTA-STS, TLSA records, and too little of both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.postfix_version import PostfixVersion
from gatepost.tls.answer import NO_OPINION, TlsAnswer, decide_tls
from gatepost.tls.dane import MxHost, TlsaState
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.levels import Dane, Level, Requirement, TlsVersion
from gatepost.tls.mtasts.policy import StsMode, StsPolicy
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.policy import format_policy
from gatepost.tls.rules import DomainRules, Profile, TlsRules

DOMAIN = "dest.example"
PINNED = frozenset({"mx.partner.example"})
STANDARD = Profile("standard", Requirement(Level.MAY))
PRIVATE = Profile("private", Requirement(Level.ENCRYPT, TlsVersion.TLSv1_3))
BANK = Profile("bank", Requirement(Level.VERIFY))
PARTNER = Profile(
    "partner",
    Requirement(Level.ENCRYPT),
    DomainRules({DOMAIN: Requirement(Level.VERIFY, match=PINNED)}),
)
RULES = TlsRules({}, dane=True, mta_sts=True)
ENFORCE = StsPolicy(StsMode.ENFORCE, 86_400, ("mx1.dest.example", "*.mail.example"))
U, N, H, L = TlsaState.USABLE, TlsaState.NONE, TlsaState.HIDDEN, TlsaState.UNREACHABLE


def known(
    *states: TlsaState,
    sts: StsPolicy | None = None,
    names: tuple[str, ...] = ("mx1.dest.example", "mx2.mail.example", "other.example"),
    failure: str = "",
) -> Knowledge:
    hosts = tuple(
        MxHost(name, state, "SERVFAIL") for name, state in zip(names, states, strict=False)
    )
    return Knowledge(hosts, True, sts, "2026", DOMAIN, failure)


def ask(
    profile: Profile | None, knowledge: Knowledge, operator: OperatorTls = ASKS_NOTHING
) -> TlsAnswer:
    return decide_tls(profile, DOMAIN, RULES, operator, knowledge)


STS = Requirement(
    Level.VERIFY, TlsVersion.TLSv1_2, frozenset({"mx1.dest.example", "mx2.mail.example"})
)


@pytest.mark.parametrize(
    ("profile", "knowledge", "requirement"),
    [
        # Nothing published, nothing asked.
        (STANDARD, known(N), None),
        (None, known(N), None),
        (PRIVATE, known(N), PRIVATE.base),
        (BANK, known(N), BANK.base),
        # RFC 8461 §5: enforce asks for verification of the hosts that the policy names.
        (STANDARD, known(N, N, N, sts=ENFORCE), STS),
        (None, known(N, N, N, sts=ENFORCE), STS),
        (
            PRIVATE,
            known(N, N, N, sts=ENFORCE),
            Requirement(Level.VERIFY, TlsVersion.TLSv1_3, STS.match),
        ),
        (BANK, known(N, N, N, sts=ENFORCE), STS),
        # §5: testing and none change nothing.
        (STANDARD, known(N, sts=StsPolicy(StsMode.TESTING, 1, ("a.example",))), None),
        (PRIVATE, known(N, sts=StsPolicy(StsMode.NONE, 1)), PRIVATE.base),
        # DANE, as Postfix decides it by host at level may, and strictly elsewhere.
        (STANDARD, known(U, N), Requirement(Level.MAY, dane=Dane.OPPORTUNISTIC)),
        (STANDARD, known(H, N), Requirement(Level.MAY, dane=Dane.OPPORTUNISTIC)),
        (None, known(U), Requirement(Level.MAY, dane=Dane.OPPORTUNISTIC)),
        (PRIVATE, known(U, N), Requirement(Level.VERIFY, TlsVersion.TLSv1_3, dane=Dane.ONLY)),
        (BANK, known(U, N), Requirement(Level.VERIFY, dane=Dane.ONLY)),
        # RFC 8461 §2: DANE before MTA-STS, and what STS asks is asked of the other hosts.
        (STANDARD, known(U, N, sts=ENFORCE), Requirement(Level.VERIFY, dane=Dane.ONLY)),
        (STANDARD, known(U, U, sts=ENFORCE), Requirement(Level.VERIFY, dane=Dane.ONLY)),
        # Names that the operator wrote down take the place of what DNS says.
        (PARTNER, known(U, sts=ENFORCE), Requirement(Level.VERIFY, match=PINNED)),
        (PARTNER, known(failure="SERVFAIL"), Requirement(Level.VERIFY, match=PINNED)),
    ],
)
def test_the_join(
    profile: Profile | None, knowledge: Knowledge, requirement: Requirement | None
) -> None:
    answer = ask(profile, knowledge)
    assert (answer.requirement, answer.waits) == (requirement, "")


@pytest.mark.parametrize(
    ("profile", "knowledge", "waits"),
    [
        (PRIVATE, known(failure="dest.example MX: SERVFAIL"), "dest.example MX: SERVFAIL"),
        (PRIVATE, known(H, N), "TLSA lookup of mx1.dest.example failed: SERVFAIL"),
        (BANK, known(L), "addresses of mx1.dest.example not found: SERVFAIL"),
        # Level may: open. Postfix looks for itself.
        (STANDARD, known(failure="SERVFAIL"), ""),
        (None, known(failure="SERVFAIL"), ""),
        (STANDARD, known(L), ""),
        # A cached policy applies although MX cannot be looked up.
        (STANDARD, known(sts=ENFORCE, failure="SERVFAIL"), ""),
        # RFC 8461 §5: no host that fits, so none is delivered to.
        (
            STANDARD,
            known(N, names=("other.example",), sts=ENFORCE),
            "no MX host of dest.example is named by its MTA-STS policy",
        ),
        (
            PRIVATE,
            known(N, names=("a.b.mail.example",), sts=ENFORCE),
            "no MX host of dest.example is named by its MTA-STS policy",
        ),
        # RFC 8461 §2: a policy does not stand in for TLSA records that cannot be looked up.
        (STANDARD, known(H, sts=ENFORCE), "TLSA lookup of mx1.dest.example failed: SERVFAIL"),
        (None, known(H, N, sts=ENFORCE), "TLSA lookup of mx1.dest.example failed: SERVFAIL"),
        # With usable TLSA records the policy has nothing to say.
        (STANDARD, known(U, names=("other.example",), sts=ENFORCE), ""),
        # RFC 7672 §2.1.2: one host with trouble among others that are known.
        (PRIVATE, known(L, N), ""),
        (PRIVATE, known(H, U), ""),
    ],
)
def test_when_mail_waits(profile: Profile | None, knowledge: Knowledge, waits: str) -> None:
    assert ask(profile, knowledge).waits == waits


UNSIGNED = replace(known(U, N), mx_secure=False)


@pytest.mark.parametrize(
    ("profile", "knowledge", "requirement"),
    [
        (PRIVATE, UNSIGNED, PRIVATE.base),
        (BANK, UNSIGNED, BANK.base),
        (STANDARD, UNSIGNED, Requirement(Level.MAY, dane=Dane.OPPORTUNISTIC)),
        (STANDARD, replace(known(U, U, sts=ENFORCE), mx_secure=False), STS),
    ],
)
def test_section_2_2_1_what_dane_is_worth_behind_an_unsigned_list(
    profile: Profile, knowledge: Knowledge, requirement: Requirement
) -> None:
    answer = ask(profile, knowledge)
    assert (answer.requirement, answer.waits) == (requirement, "")


@pytest.mark.parametrize("knowledge", [None, replace(known(N), dane=False), UNSIGNED])
def test_the_operator_s_dane_only_holds_whatever_is_known(knowledge: Knowledge | None) -> None:
    only = OperatorTls("dane-only")
    answer = decide_tls(PRIVATE, DOMAIN, RULES, only, knowledge)
    assert answer.requirement is not None
    assert answer.requirement.dane is Dane.ONLY
    pinned = decide_tls(PARTNER, DOMAIN, RULES, only, knowledge)
    assert "cannot both be asked for" in pinned.waits
    assert decide_tls(STANDARD, DOMAIN, RULES, only, None) is NO_OPINION


def test_fail_open_and_closed_are_the_profile_s_choice() -> None:
    unknown = known(failure="SERVFAIL")
    opened = Profile("a", PRIVATE.base, fail_closed=False)
    closed = Profile("a", STANDARD.base, fail_closed=True)
    assert ask(opened, unknown).waits == ""
    assert ask(opened, unknown).requirement == PRIVATE.base, "open is no less than its own level"
    assert ask(opened, unknown).notes == ("not known, and let pass: SERVFAIL",)
    assert ask(closed, unknown).waits == "SERVFAIL"


def test_a_policy_without_mx_lookup_is_held_to_its_patterns() -> None:
    answer = ask(STANDARD, known(sts=ENFORCE, failure="SERVFAIL"))
    assert answer.requirement is not None
    assert answer.requirement.match == {"mx1.dest.example", ".mail.example"}


ONLY = Requirement(Level.VERIFY, TlsVersion.TLSv1_3, dane=Dane.ONLY)


@pytest.mark.parametrize(
    ("level", "profile", "knowledge", "requirement", "waits"),
    [
        # dane of the operator's own is what we find out ourselves.
        ("dane", PRIVATE, known(N), PRIVATE.base, ""),
        ("dane", PRIVATE, known(U), ONLY, ""),
        ("dane", STANDARD, known(failure="SERVFAIL"), None, ""),
        ("dane-only", PRIVATE, known(N), ONLY, ""),
        # The operator's own strict level is joined.
        ("verify", PRIVATE, known(N), Requirement(Level.VERIFY, TlsVersion.TLSv1_3), ""),
        ("encrypt", STANDARD, known(U, N), Requirement(Level.VERIFY, dane=Dane.ONLY), ""),
        ("encrypt", STANDARD, known(N), None, ""),
        ("verify", STANDARD, known(N, sts=ENFORCE, names=("mx1.dest.example",)), Requirement(
            Level.VERIFY, TlsVersion.TLSv1_2, frozenset({"mx1.dest.example"})), ""),
    ],
)  # fmt: skip
def test_beside_the_operator_s_own_level(
    level: str, profile: Profile, knowledge: Knowledge, requirement: Requirement, waits: str
) -> None:
    answer = ask(profile, knowledge, OperatorTls(level))
    assert (answer.requirement, answer.waits) == (requirement, waits)


@pytest.mark.parametrize("profile", [PRIVATE, BANK, PARTNER])
@pytest.mark.parametrize("sts", [None, ENFORCE])
@pytest.mark.parametrize("states", [(a, b) for a in TlsaState for b in TlsaState])
@pytest.mark.parametrize("failure", ["", "SERVFAIL"])
def test_knowledge_never_weakens_what_a_profile_asks(
    profile: Profile, sts: StsPolicy | None, states: tuple[TlsaState, ...], failure: str
) -> None:
    without = decide_tls(profile, DOMAIN, RULES).requirement
    answer = ask(profile, known(*states, sts=sts, failure=failure))
    assert without is not None
    if not answer.waits:
        assert answer.requirement is not None
        assert answer.requirement.level >= without.level
        assert (answer.requirement.min_version or 0) >= (without.min_version or 0)
        assert answer.requirement.dane is not Dane.OPPORTUNISTIC


def test_parent_keys_have_no_opinion() -> None:
    answer = decide_tls(BANK, ".example", RULES, ASKS_NOTHING, known(U, sts=ENFORCE))
    assert answer is NO_OPINION


def test_the_opinion_names_policy_and_set_aside_policy() -> None:
    answer = ask(STANDARD, known(N, sts=ENFORCE))
    assert [opinion.source for opinion in answer.opinions] == [
        "MTA-STS policy 2026 of dest.example"
    ]
    answer = ask(STANDARD, known(U, N, sts=ENFORCE))
    assert [opinion.source for opinion in answer.opinions] == [
        "DANE: usable TLSA records at 1 of 2 MX hosts"
    ]
    assert answer.notes == (
        "MTA-STS policy 2026 of dest.example: DANE goes before it (RFC 8461 §2)",
    )


STS_WORDS = (
    "policy_type=sts policy_domain=dest.example { policy_string = version: STSv1 } "
    "{ policy_string = mode: enforce } { policy_string = mx: mx1.dest.example } "
    "{ policy_string = mx: *.mail.example } { policy_string = max_age: 86400 } "
    "mx_host_pattern=mx1.dest.example mx_host_pattern=*.mail.example"
)
VERIFY_WORDS = (
    "verify match=mx1.dest.example:mx2.mail.example servername=hostname protocols=>=TLSv1.2"
)


@pytest.mark.parametrize(
    ("version", "knowledge", "policy"),
    [
        ((3, 7, 11), known(N, N, sts=ENFORCE), VERIFY_WORDS),
        ((3, 8, 6), known(N, N, sts=ENFORCE), VERIFY_WORDS),
        ((3, 10, 13), known(N, N, sts=ENFORCE), f"{VERIFY_WORDS} {STS_WORDS}"),
        ((3, 11, 0), known(N, N, sts=ENFORCE), f"{VERIFY_WORDS} {STS_WORDS}"),
        ((3, 10, 13), known(U, N, sts=ENFORCE), "dane-only"),
        ((3, 7, 11), known(U, N), "dane"),
    ],
)
def test_in_postfix_s_words(
    version: tuple[int, int, int], knowledge: Knowledge, policy: str
) -> None:
    answer = ask(STANDARD, knowledge)
    assert answer.requirement is not None
    assert format_policy(answer.requirement, PostfixVersion(*version), answer.sts) == policy


def test_dane_keeps_the_lowest_version_where_tls_is_required() -> None:
    answer = ask(PRIVATE, known(U))
    assert answer.requirement is not None
    words = format_policy(answer.requirement, PostfixVersion(3, 7, 11), answer.sts)
    assert words == "dane-only protocols=>=TLSv1.3"


def test_a_huge_policy_is_not_told_in_full() -> None:
    huge = StsPolicy(
        StsMode.ENFORCE, 1, ("mx1.dest.example", *(f"mx{n}.example" for n in range(999)))
    )
    answer = ask(STANDARD, known(N, sts=huge))
    assert answer.requirement is not None
    words = format_policy(answer.requirement, PostfixVersion(3, 11, 0), answer.sts)
    assert words == "verify match=mx1.dest.example servername=hostname protocols=>=TLSv1.2"


@pytest.mark.parametrize(
    ("closed", "sts", "waits"),
    [(True, None, True), (None, None, False), (False, None, False), (True, ENFORCE, False)],
)
def test_who_says_fail_closed_waits_for_a_policy_that_nobody_can_see(
    *, closed: bool | None, sts: StsPolicy | None, waits: bool
) -> None:
    profile = replace(PRIVATE, fail_closed=closed)
    why = "" if sts else "the MTA-STS record cannot be looked up: SERVFAIL"
    answer = ask(profile, replace(known(N, N, N, sts=sts), sts_failure=why))
    assert answer.waits == (why if waits else "")
