"""Which destinations earn a rule, keep it, or lose it: one row for each thing that decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.history import (
    DAY_S,
    Criteria,
    Deliveries,
    Finding,
    judge,
    own_word,
    why_lost,
    written,
)
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import Downgrade, PromotedRule
from gatepost.tls.rules import DomainRules, Profile, TlsRules
from gatepost.tls.survey.knowledge import (
    AddressKnowledge,
    DomainKnowledge,
    HostKnowledge,
    MxOutcome,
)
from gatepost.tls.survey.model import CertificateVerdict, Verdict

TODAY = 21_000 * DAY_S
NOW = TODAY + 3600.0
DOMAIN = "a.example"
MAIL = Deliveries(1204, relays=frozenset({"mx0.a.example"}), good_at=NOW - 60)
ENCRYPT, VERIFY = Criteria(), Criteria(Level.VERIFY)

GOOD = AddressKnowledge(
    "192.0.2.1",
    Verdict.TLS,
    settled=Verdict.TLS,
    tls_at=NOW - DAY_S,
    tls_since=NOW - 10 * DAY_S,
    tls_streak=5,
    reached_at=NOW - DAY_S,
)
VALID = replace(
    GOOD,
    certificate=CertificateVerdict.VALID,
    certificate_streak=4,
    certificate_since=NOW - 10 * DAY_S,
)


def known(*addresses: AddressKnowledge, resolved_at: float = NOW - DAY_S) -> DomainKnowledge:
    hosts = tuple(HostKnowledge(f"mx{n}.a.example", n, (a,)) for n, a in enumerate(addresses))
    return DomainKnowledge(DOMAIN, MxOutcome.FOUND, resolved_at, 0.0, hosts)


def finding(
    mail: Deliveries = MAIL,
    survey: DomainKnowledge | None = known(GOOD),  # noqa: B008  # nobody changes it
    criteria: Criteria = ENCRYPT,
    before: PromotedRule | None = None,
) -> Finding:
    return judge(DOMAIN, mail, survey, criteria, NOW, before)


def test_what_always_had_tls_is_raised_with_the_numbers() -> None:
    found = finding()
    assert found.rule == PromotedRule(
        Requirement(Level.ENCRYPT),
        TODAY,
        TODAY + 60 * DAY_S,
        Downgrade.DEFER,
        None,
        "1204 deliveries from 2027-06-01 to 2027-07-01, all encrypted; 1 MX address, at least "
        "5 probes in a row with TLS at each, since 2027-06-21 or earlier",
    )
    assert not found.lost


@pytest.mark.parametrize(
    ("mail", "why"),
    [
        (replace(MAIL, plaintext=1), "1 of 1204 deliveries in plaintext"),
        (replace(MAIL, unknown=2), "2 of 1204 deliveries of which the log does not tell"),
        (replace(MAIL, refused=3), "3 not delivered"),
        (Deliveries(), "0 deliveries, not more than 0"),
        (replace(MAIL, relays=frozenset({"relay.example"})), "by way of relay.example"),
    ],
)
def test_what_the_log_says_against_it(mail: Deliveries, why: str) -> None:
    found = finding(mail)
    assert found.rule is None
    assert why in found.why


@pytest.mark.parametrize(
    ("survey", "why"),
    [
        (None, "run gatepost tls survey"),
        (known(GOOD, resolved_at=NOW - 40 * DAY_S), "run gatepost tls survey"),
        (known(replace(GOOD, tls_streak=2)), "only 2 good probes in a row, and 3 are asked"),
        (known(replace(GOOD, tls_since=NOW - 6 * DAY_S)), "since 2027-06-25 only, and 7 days"),
        (known(replace(GOOD, tls_at=NOW - 15 * DAY_S)), "last seen with TLS on 2027-06-16"),
        (
            known(GOOD, replace(GOOD, settled=Verdict.NONE, other_at=NOW - 20 * DAY_S)),
            "mx1.a.example[192.0.2.1]: none",
        ),
        # It has TLS now, and did not at some time in the period.
        (known(replace(GOOD, other_at=NOW - 29 * DAY_S, previous=Verdict.NONE)), "none"),
        (
            known(GOOD, AddressKnowledge("192.0.2.9", Verdict.UNKNOWN, "421", reached_at=NOW)),
            "mx1.a.example[192.0.2.9]: 421",
        ),
    ],
)
def test_what_the_survey_says_against_it(survey: DomainKnowledge | None, why: str) -> None:
    found = finding(survey=survey)
    assert found.rule is None
    assert why in found.why


def test_hosts_that_nobody_could_reach_do_not_count() -> None:
    dead = AddressKnowledge("192.0.2.4", Verdict.UNREACHABLE, last_at=NOW)
    assert finding(survey=known(GOOD, dead)).rule is not None


def test_traffic() -> None:
    assert finding(criteria=Criteria(traffic_over=1203)).rule is not None
    assert finding(criteria=Criteria(traffic_over=1204)).rule is None


def test_verify_needs_certificates_that_were_always_valid() -> None:
    assert "certificate" in finding(criteria=VERIFY).why
    found = finding(survey=known(VALID), criteria=VERIFY)
    assert found.rule is not None
    assert found.rule.requirement == Requirement(Level.VERIFY)
    short = replace(VALID, certificate_streak=2)
    assert "only 2 good probes" in finding(survey=known(short), criteria=VERIFY).why
    once_bad = replace(VALID, certificate_bad_at=NOW - 20 * DAY_S)
    assert finding(survey=known(once_bad), criteria=VERIFY).rule is None
    assert finding(survey=known(once_bad)).rule is not None


RULE = PromotedRule(
    Requirement(Level.ENCRYPT), TODAY - 50 * DAY_S, TODAY + 10 * DAY_S, Downgrade.DEFER, None, "old"
)
ALERT = replace(RULE, downgrade=Downgrade.ALERT)
PLAIN = replace(
    GOOD, verdict=Verdict.NONE, settled=Verdict.NONE, other_at=NOW - DAY_S, tls_at=NOW - 9 * DAY_S
)


def test_a_rule_goes_on_while_the_evidence_does() -> None:
    found = finding(before=RULE)
    assert found.rule is not None
    assert (found.rule.since, found.rule.expires) == (RULE.since, TODAY + 60 * DAY_S)
    assert found.rule.evidence.startswith("1204 deliveries")


def test_what_an_operator_set_is_kept() -> None:
    edited = replace(ALERT, expires=TODAY + 300 * DAY_S)
    found = finding(before=edited)
    assert found.rule is not None
    assert found.rule.expires == edited.expires
    assert found.rule.downgrade is Downgrade.ALERT


def test_too_little_new_evidence_leaves_a_rule_to_its_end() -> None:
    found = finding(Deliveries(), None, before=RULE)
    assert found.rule == RULE
    assert not found.lost
    ended = replace(RULE, expires=NOW)
    assert written({DOMAIN: finding(Deliveries(), None, before=ended)}, NOW) == {}
    assert written({DOMAIN: found}, NOW) == {DOMAIN: RULE}


def test_a_rule_that_has_ended_begins_anew_with_new_evidence() -> None:
    found = finding(before=replace(RULE, expires=NOW - 1))
    assert found.rule is not None
    assert found.rule.since == TODAY


def test_a_rule_is_raised_to_verify_and_never_lowered() -> None:
    raised = finding(survey=known(VALID), criteria=VERIFY, before=RULE)
    assert raised.rule is not None
    assert raised.rule.requirement == Requirement(Level.VERIFY)
    assert raised.rule.since == TODAY
    # Not enough for verify: as before.
    same = finding(criteria=VERIFY, before=RULE)
    assert same.rule is not None
    assert (same.rule.requirement, same.rule.since) == (RULE.requirement, RULE.since)
    verify = replace(RULE, requirement=Requirement(Level.VERIFY))
    kept = finding(before=verify)
    assert kept.rule == verify


@pytest.mark.parametrize(
    ("mail", "survey", "why"),
    [
        (replace(MAIL, plaintext=1, bad_at=NOW - 10), known(GOOD), "last on 2027-07-01"),
        (replace(MAIL, refused=9, good_at=None, bad_at=NOW - 10), known(GOOD), "without the TLS"),
        (MAIL, known(PLAIN), "mx0.a.example[192.0.2.1]: none on 2027-06-30"),
    ],
)
@pytest.mark.parametrize("rule", [RULE, ALERT])
def test_a_destination_that_drops_tls_is_told_and_marked(
    mail: Deliveries, survey: DomainKnowledge, why: str, rule: PromotedRule
) -> None:
    found = finding(mail, survey, before=rule)
    assert found.lost
    assert why in found.why
    assert found.rule == replace(rule, dropped=TODAY)
    assert found.rule.in_force(NOW) is (rule.downgrade is Downgrade.DEFER)
    # The day on which it was noticed stays.
    again = judge(DOMAIN, mail, survey, ENCRYPT, NOW + 3 * DAY_S, found.rule)
    assert again.rule == found.rule


@pytest.mark.parametrize(
    ("mail", "survey"),
    [
        # Plaintext, and then TLS again.
        (replace(MAIL, plaintext=1, good_at=NOW - 5, bad_at=NOW - 10), known(GOOD)),
        # Before there was a rule.
        (replace(MAIL, refused=1, good_at=None, bad_at=RULE.since - 1), known(GOOD)),
        (MAIL, known(replace(PLAIN, other_at=RULE.since - 1))),
        (
            MAIL,
            known(replace(GOOD, certificate=CertificateVerdict.EXPIRED, certificate_bad_at=NOW)),
        ),
    ],
)
def test_what_is_no_loss(mail: Deliveries, survey: DomainKnowledge) -> None:
    assert why_lost(RULE, mail, survey) == ""


def test_a_certificate_is_a_loss_for_verify() -> None:
    rule = replace(RULE, requirement=Requirement(Level.VERIFY))
    bad = replace(VALID, certificate=CertificateVerdict.EXPIRED, certificate_bad_at=NOW)
    assert "certificate expired on 2027-07-01" in why_lost(rule, MAIL, known(bad))


def test_tls_that_comes_back_takes_the_mark_away() -> None:
    for rule in (RULE, ALERT):
        marked = replace(rule, dropped=TODAY - 5 * DAY_S)
        found = finding(before=marked)
        assert found.rule is not None
        assert found.rule.dropped is None
        assert found.rule.in_force(NOW)


def test_the_words_of_the_configuration_are_not_overruled() -> None:
    rules = TlsRules(
        {
            "bank": Profile(
                "bank",
                Requirement(Level.VERIFY),
                DomainRules({"c.example": Requirement(Level.MAY)}),
            )
        },
        DomainRules(
            {".b.example": Requirement(Level.ENCRYPT), "d.example": Requirement(Level.NONE)}
        ),
    )
    assert "already" in own_word("x.b.example", rules, Level.ENCRYPT, NOW)
    assert "tls.domains says encrypt of .b.example" in own_word(
        "x.b.example", rules, Level.VERIFY, NOW
    )
    assert "profile bank says may" in own_word("c.example", rules, Level.ENCRYPT, NOW)
    assert "tls.domains says none" in own_word("d.example", rules, Level.ENCRYPT, NOW)
    assert own_word("a.example", rules, Level.ENCRYPT, NOW) == ""


ADDRESSES = st.builds(
    AddressKnowledge,
    st.just("192.0.2.1"),
    settled=st.sampled_from([None, *Verdict]),
    tls_at=st.sampled_from([0.0, NOW - DAY_S]),
    tls_since=st.sampled_from([0.0, NOW - 9 * DAY_S]),
    tls_streak=st.integers(0, 4),
    other_at=st.sampled_from([0.0, NOW - 40 * DAY_S, NOW - DAY_S]),
    reached_at=st.sampled_from([0.0, NOW - DAY_S]),
)


@given(
    mail=st.builds(
        Deliveries,
        st.integers(0, 3),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(0, 1),
        st.sampled_from([frozenset(), frozenset({"mx0.a.example"}), frozenset({"x"})]),
    ),
    addresses=st.lists(ADDRESSES, max_size=3),
)
def test_nothing_is_raised_against_the_evidence(
    mail: Deliveries, addresses: list[AddressKnowledge]
) -> None:
    found = finding(mail, known(*addresses))
    if found.rule is not None:
        assert mail.sent > 0
        assert mail.plaintext + mail.unknown + mail.refused == 0
        assert mail.relays <= {f"mx{n}.a.example" for n in range(len(addresses))}
        assert all(seen.other_at < NOW - 30 * DAY_S for seen in addresses)
        reached = [seen for seen in addresses if seen.reached_at or seen.tls_at]
        assert reached
        assert all(seen.tls_streak >= 3 for seen in reached if seen.tls_at)
    else:
        assert found.why
