"""What every store must do with what the survey finds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.store.open import open_survey
from gatepost.store.sqlite_survey import PAGE
from gatepost.store.survey import SurveyStore
from gatepost.tls.dane import TlsaState
from gatepost.tls.dns_answer import Outcome, Tlsa
from gatepost.tls.survey.knowledge import (
    DomainKnowledge,
    MxOf,
    MxOutcome,
    ResolvedDomain,
    ResolvedHost,
    Standing,
    Sts,
    evidence_of,
)
from gatepost.tls.survey.model import (
    CertificateFacts,
    CertificateVerdict,
    ChainStatus,
    DaneVerdict,
    Probed,
    Target,
    Verdict,
)

DAY = 86_400.0
NOON = 1_800_000_000 // 86_400 * 86_400 + 12 * 3600.0
A = Target("192.0.2.1", "mx1.a.example")
B = Target("192.0.2.2", "mx2.a.example")

GOOD = CertificateFacts(
    "aa", "bb", ("mx1.a.example", "*.b.example"), "CN=CA", NOON - DAY, NOON + DAY, "EC", 256,
    False, 2,
)  # fmt: skip


@pytest.fixture
def survey(url: str) -> Iterator[SurveyStore]:
    with contextlib.closing(open_survey(url)) as opened:
        yield opened


def probed(target: Target = A, at: float = NOON, verdict: Verdict = Verdict.TLS) -> Probed:
    found = Probed(target, at, 0.5, verdict, "" if verdict is Verdict.TLS else "why")
    if verdict is not Verdict.TLS:
        return found
    return replace(
        found, version="TLSv1.3", cipher="C", certificate=GOOD, chain=ChainStatus(0),
        dane=DaneVerdict.MATCH, greeting="220 \xe9\r\n", ehlo="250 hi\r\n",
    )  # fmt: skip


def resolve(survey: SurveyStore, at: float, *targets: Target, domain: str = "a.example") -> None:
    hosts = {each.host: None for each in targets}
    survey.resolved(
        [ResolvedDomain(domain, at, MxOutcome.FOUND, tuple(MxOf(h, 10) for h in hosts), True,
                        Sts.ENFORCE)],
        [
            ResolvedHost(host, at, Outcome.FOUND,
                         tuple(t.address for t in targets if t.host == host), True,
                         TlsaState.USABLE)
            for host in hosts
        ],
    )  # fmt: skip


def probe(survey: SurveyStore, *probes: Probed) -> None:
    for each in probes:
        assert survey.begin([each.target], each.at, each.at - DAY) == [each.target]
    survey.finish(probes)


def known(survey: SurveyStore, domain: str = "a.example") -> DomainKnowledge:
    found = survey.domain(domain)
    assert found is not None
    return found


def test_an_empty_store_knows_nothing(survey: SurveyStore) -> None:
    assert survey.domain("a.example") is None
    assert list(survey.domains()) == []
    assert survey.known_targets(["a.example"], 0, 0, NOON) == (set(), [])
    assert survey.begin([], NOON, 0) == []
    survey.finish([])
    survey.resolved([], [])
    assert survey.changes(0) == []
    assert survey.runs(5) == []


def test_what_was_found_comes_back(survey: SurveyStore) -> None:
    resolve(survey, NOON, A, B)
    probe(survey, probed())
    found = known(survey)
    assert (found.outcome, found.secure, found.sts) == (MxOutcome.FOUND, True, Sts.ENFORCE)
    assert (found.resolved_at, found.first_at) == (NOON, NOON)
    one, two = found.hosts
    assert (one.host, one.preference, one.secure, one.tlsa) == (
        "mx1.a.example", 10, True, TlsaState.USABLE,
    )  # fmt: skip
    [seen] = one.addresses
    assert (seen.address, seen.verdict, seen.settled, seen.version) == (
        "192.0.2.1", Verdict.TLS, Verdict.TLS, "TLSv1.3",
    )  # fmt: skip
    assert (seen.certificate, seen.certificate_streak, seen.dane) == (
        CertificateVerdict.VALID, 1, DaneVerdict.MATCH,
    )  # fmt: skip
    assert (seen.first_at, seen.last_at, seen.tls_at, seen.tls_since) == (NOON,) * 4
    assert two.addresses[0].verdict is None


def test_an_address_is_begun_once_a_day_whoever_asks(survey: SurveyStore, url: str) -> None:
    assert survey.begin([A, B], NOON, NOON - DAY) == [A, B]
    with contextlib.closing(open_survey(url)) as other:
        again = replace(A, host="another.example")
        assert other.begin([again, B], NOON + DAY - 1, NOON - 1) == []
        assert other.begin([again], NOON + DAY, NOON) == [again]
    assert survey.begun_since(NOON) == [(again, NOON + DAY)]
    assert survey.interrupted(0) == 2


def test_a_clock_that_was_wrong_does_not_keep_anybody_out_for_years(survey: SurveyStore) -> None:
    resolve(survey, NOON + 900 * DAY, A)
    survey.begin([A], NOON + 900 * DAY, 0)
    assert survey.known_targets(["a.example"], NOON - DAY, NOON - DAY, NOON) == (set(), [])
    resolve(survey, NOON, A)
    assert survey.known_targets(["a.example"], NOON, NOON - DAY, NOON) == ({"a.example"}, [A])
    assert survey.begin([A], NOON, NOON - DAY) == [A]
    # A small step of it has nobody visited twice.
    survey.begin([B], NOON + 3600, 0)
    assert survey.begin([B], NOON, NOON - DAY) == []


def test_an_ended_probe_is_not_interrupted(survey: SurveyStore) -> None:
    probe(survey, probed(), probed(B))
    assert survey.interrupted(0) == 0


def test_streaks_grow_break_and_start_again(survey: SurveyStore) -> None:
    resolve(survey, NOON, A)
    words = ["tls", "unknown", "tls", "unreachable", "tls", "none", "broken", "tls", "tls"]
    for day, word in enumerate(words):
        probe(survey, probed(A, NOON + day * DAY, Verdict(word)))
    [seen] = known(survey).hosts[0].addresses
    assert (seen.tls_streak, seen.tls_since, seen.tls_at) == (2, NOON + 7 * DAY, NOON + 8 * DAY)
    assert (seen.other_at, seen.reached_at) == (NOON + 6 * DAY, NOON + 8 * DAY)
    assert (seen.previous, seen.settled, seen.changed_at) == (
        Verdict.BROKEN, Verdict.TLS, NOON + 7 * DAY,
    )  # fmt: skip
    assert (seen.probes, seen.first_at, seen.last_at) == (9, NOON, NOON + 8 * DAY)
    changes = [(each.was, each.now) for each in survey.changes(0) if each.kind == "tls"]
    assert changes == [("tls", "none"), ("none", "broken"), ("broken", "tls")]
    assert [each.at for each in survey.changes(NOON + 7 * DAY)] == [NOON + 7 * DAY]


def test_a_bad_moment_keeps_what_is_known_of_tls(survey: SurveyStore) -> None:
    resolve(survey, NOON, A)
    probe(survey, probed())
    probe(survey, probed(A, NOON + DAY, Verdict.UNKNOWN))
    [seen] = known(survey).hosts[0].addresses
    assert (seen.verdict, seen.settled, seen.version) == (Verdict.UNKNOWN, Verdict.TLS, "TLSv1.3")
    assert seen.certificate is CertificateVerdict.VALID
    assert survey.changes(0) == []


def test_certificates_have_streaks_and_changes_of_their_own(survey: SurveyStore) -> None:
    resolve(survey, NOON, A)
    bad = ChainStatus(10, "expired")
    for day, chain in enumerate([ChainStatus(0), ChainStatus(0), bad, ChainStatus(0)]):
        probe(survey, replace(probed(A, NOON + day * DAY), chain=chain))
    [seen] = known(survey).hosts[0].addresses
    assert (seen.certificate_streak, seen.certificate_since) == (1, NOON + 3 * DAY)
    assert seen.certificate_bad_at == NOON + 2 * DAY
    assert [(each.kind, each.was, each.now) for each in survey.changes(0)] == [
        ("certificate", "valid", "expired"),
        ("certificate", "expired", "valid"),
    ]


def test_a_certificate_that_cannot_be_read_is_not_the_valid_one_of_before(
    survey: SurveyStore,
) -> None:
    resolve(survey, NOON, A)
    probe(survey, probed())
    probe(survey, replace(probed(A, NOON + DAY), certificate=None))
    [seen] = known(survey).hosts[0].addresses
    assert (seen.certificate, seen.certificate_streak) == (CertificateVerdict.INVALID, 0)
    assert not evidence_of(known(survey), NOON).verified


def test_another_host_of_the_address_is_judged_by_what_is_proven(survey: SurveyStore) -> None:
    fits, not_asked = replace(A, host="mx.b.example"), replace(A, host="mx.c.example")
    resolve(survey, NOON, fits, domain="b.example")
    resolve(survey, NOON, not_asked, domain="c.example")
    probe(survey, probed())
    assert known(survey, "b.example").hosts[0].addresses[0].certificate is CertificateVerdict.VALID
    [seen] = known(survey, "c.example").hosts[0].addresses
    assert seen.certificate is CertificateVerdict.NOT_ASKED
    assert seen.tls_streak == 1


def test_hosts_and_addresses_that_left_dns_do_not_count(survey: SurveyStore) -> None:
    resolve(survey, NOON, A, B)
    probe(survey, probed(), probed(B, verdict=Verdict.NONE))
    assert evidence_of(known(survey), NOON).standing is Standing.NOT
    resolve(survey, NOON + 1, A)
    assert [host.host for host in known(survey).hosts] == [A.host]
    assert evidence_of(known(survey), NOON).standing is Standing.ALWAYS


def test_a_failed_lookup_keeps_what_was_found(survey: SurveyStore) -> None:
    resolve(survey, NOON, A)
    survey.resolved(
        [ResolvedDomain("a.example", NOON + DAY, MxOutcome.FAILED)],
        [ResolvedHost(A.host, NOON + DAY, Outcome.FAILED)],
    )
    found = known(survey)
    assert (found.outcome, found.resolved_at) == (MxOutcome.FOUND, NOON)
    assert [each.address for each in found.hosts[0].addresses] == [A.address]
    assert survey.known_targets(["a.example"], NOON + DAY, 0, NOON + DAY) == ({"a.example"}, [A])


def test_known_targets_leave_out_what_is_old_or_was_probed(survey: SurveyStore) -> None:
    resolve(survey, NOON, A, B)
    survey.begin([A], NOON, 0)
    assert survey.known_targets(["a.example", "b.example"], NOON, NOON - DAY, NOON + DAY) == (
        {"a.example"}, [B],
    )  # fmt: skip
    assert survey.known_targets(["a.example"], NOON + 1, NOON - DAY, NOON + DAY) == (set(), [])


def test_known_targets_bring_their_tlsa_records(survey: SurveyStore) -> None:
    records = (Tlsa(3, 1, 1, b"\x00\xff" * 16), Tlsa(2, 0, 2, b"x" * 64))
    survey.resolved(
        [ResolvedDomain("a.example", NOON, MxOutcome.FOUND, (MxOf(A.host, 1),))],
        [ResolvedHost(A.host, NOON, Outcome.FOUND, (A.address,), True, TlsaState.USABLE, records)],
    )
    assert survey.known_targets(["a.example"], NOON, 0, NOON + DAY)[1] == [replace(A, tlsa=records)]


def test_a_domain_whose_hosts_are_missing_is_looked_up_again(survey: SurveyStore) -> None:
    survey.resolved([ResolvedDomain("a.example", NOON, MxOutcome.FOUND, (MxOf(A.host, 1),))], [])
    assert survey.known_targets(["a.example"], NOON, 0, NOON + DAY) == (set(), [])


def test_a_domain_without_mail_exchangers_is_known(survey: SurveyStore) -> None:
    survey.resolved([ResolvedDomain("null.example", NOON, MxOutcome.NULL)], [])
    assert survey.known_targets(["null.example"], NOON, 0, NOON + DAY) == ({"null.example"}, [])
    assert known(survey, "null.example").hosts == ()


def test_all_domains_are_paged_through_once(survey: SurveyStore) -> None:
    names = [f"d{number:05}.example" for number in range(PAGE * 2 + 7)]
    survey.resolved([ResolvedDomain(name, NOON, MxOutcome.NULL) for name in names], [])
    assert [each.domain for each in survey.domains()] == names
    survey.resolved([ResolvedDomain(names[3], NOON + 5, MxOutcome.NULL)], [])
    assert [each.domain for each in survey.domains(resolved_since=NOON + 1)] == [names[3]]


def test_runs_are_listed_newest_first(survey: SurveyStore) -> None:
    first, second = survey.run_begins(NOON, "a.txt"), survey.run_begins(NOON + 1, "b.txt")
    survey.run_ends(first, NOON + 9)
    assert [(run.id, run.ended_at, run.source) for run in survey.runs(5)] == [
        (second, None, "b.txt"),
        (first, NOON + 9, "a.txt"),
    ]
