"""Policies in the words of each Postfix that we support."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import LocalProtocolError
from gatepost.postfix_version import OLDEST_SUPPORTED, PostfixVersion, parse_version
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.policy import format_policy

# Sources, for every word of a policy: since which release Postfix knows it.
#   encrypt, verify, may, none   2.3    postconf(5) smtp_tls_policy_maps
#   match=a:b                    2.3    the same; ":" between names, since "," ends an attribute
#   protocols=                   2.3    the same; the form ">=TLSv1.2" since 3.6, RELEASE_NOTES-3.6
#   servername=                  3.4    RELEASE_NOTES-3.4, postconf(5) smtp_tls_servername
# None of them has changed up to 3.11: RELEASE_NOTES of 3.7 to 3.11 and tls_policy_lookup_one() in
# src/smtp/smtp_tls_policy.c, where an unknown word makes the whole policy invalid. 3.10 adds
# policy_ttl, policy_type, policy_domain, policy_string, mx_host_pattern and policy_failure, and
# 3.9 enable_rpk; we write none of these.
VERSIONS = ["3.7.0", "3.7.11", "3.8.0", "3.8.9", "3.10.0", "3.10.5", "3.11.0", "3.11.6"]
ONE = frozenset({"mx.partner.example"})
TWO = frozenset({".partner.example", "mx.partner.example"})
POLICIES = [
    (Requirement(Level.NONE), "none"),
    (Requirement(Level.NONE, TlsVersion.TLSv1_2, ONE), "none"),
    (Requirement(Level.MAY), "may"),
    # A minimum at this level would turn old TLS into plaintext; see tls/policy.py.
    (Requirement(Level.MAY, TlsVersion.TLSv1_2), "may"),
    (Requirement(Level.MAY, match=ONE), "may"),
    (Requirement(Level.ENCRYPT), "encrypt"),
    (Requirement(Level.ENCRYPT, TlsVersion.TLSv1), "encrypt protocols=>=TLSv1"),
    (Requirement(Level.ENCRYPT, TlsVersion.TLSv1_1), "encrypt protocols=>=TLSv1.1"),
    (Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2), "encrypt protocols=>=TLSv1.2"),
    (Requirement(Level.ENCRYPT, TlsVersion.TLSv1_3), "encrypt protocols=>=TLSv1.3"),
    # "match" is an error at this level.
    (Requirement(Level.ENCRYPT, match=ONE), "encrypt"),
    (Requirement(Level.VERIFY), "verify match=hostname servername=hostname"),
    (
        Requirement(Level.VERIFY, match=ONE),
        "verify match=mx.partner.example servername=hostname",
    ),
    (
        Requirement(Level.VERIFY, TlsVersion.TLSv1_3, TWO),
        "verify match=.partner.example:mx.partner.example servername=hostname protocols=>=TLSv1.3",
    ),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("requirement", "policy"), POLICIES)
def test_policy(requirement: Requirement, policy: str, version: str) -> None:
    assert format_policy(requirement, parse_version(version)) == policy


def test_every_level_and_version_has_a_row() -> None:
    assert {requirement.level for requirement, _ in POLICIES} == set(Level)
    assert {requirement.min_version for requirement, _ in POLICIES} >= set(TlsVersion)


def test_an_unsatisfiable_requirement_has_no_policy() -> None:
    with pytest.raises(LocalProtocolError):
        format_policy(Requirement(Level.VERIFY, match=frozenset()), OLDEST_SUPPORTED)


def test_words_are_left_out_where_they_are_unknown() -> None:
    verify = Requirement(Level.VERIFY)
    assert format_policy(verify, PostfixVersion(3, 3)) == "verify match=hostname"
    assert format_policy(verify, PostfixVersion(3, 4)) == (
        "verify match=hostname servername=hostname"
    )
    ranged = Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2)
    assert format_policy(ranged, PostfixVersion(3, 6)) == "encrypt protocols=>=TLSv1.2"
    with pytest.raises(LocalProtocolError, match="no protocol ranges"):
        format_policy(Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2), PostfixVersion(3, 5, 9))


DOMAINS = st.from_regex(r"\.?([a-z0-9_]{1,10}\.){1,3}example", fullmatch=True)


@given(
    st.sampled_from(Level),
    st.sampled_from([None, *TlsVersion]),
    st.none() | st.frozensets(DOMAINS, min_size=1, max_size=5),
)
def test_postfix_would_split_the_policy_as_we_joined_it(level, minimum, names) -> None:
    policy = format_policy(Requirement(level, minimum, names), OLDEST_SUPPORTED)
    # mystrtokq() on CHARS_COMMA_SP, then split_nameval() at the first "=".
    word, *attributes = policy.replace(",", " ").split()
    assert word == level.keyword
    split = dict(attribute.split("=", 1) for attribute in attributes)
    assert len(split) == len(attributes)
    if level is Level.VERIFY:
        assert frozenset(split.pop("match").split(":")) == (names or {"hostname"})
        assert split.pop("servername") == "hostname"
    if level >= Level.ENCRYPT and minimum is not None:
        assert split.pop("protocols") == f">={minimum.keyword}"
    assert not split
