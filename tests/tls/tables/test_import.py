"""From Postfix's TLS policies to rules: each word is a rule, a loss that is told, or left."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.tables.policy import lowest_version, read_policy
from gatepost.tls.tables.rules import Imported, take, take_everything
from gatepost.tls.tables.source import Entry, Format, read_entries
from gatepost.tls.tables.yaml_text import format_yaml

V10, V11, V12, V13 = TlsVersion
ENCRYPT, VERIFY = Requirement(Level.ENCRYPT), Requirement(Level.VERIFY)


def names(*values: str) -> Requirement:
    return Requirement(Level.VERIFY, match=frozenset(values))


@pytest.mark.parametrize(
    ("policy", "requirement"),
    [
        ("none", Requirement(Level.NONE)),
        ("may", Requirement(Level.MAY)),
        ("encrypt", ENCRYPT),
        ("ENCRYPT", ENCRYPT),
        ("encrypt protocols=>=TLSv1.2", Requirement(Level.ENCRYPT, V12)),
        ("encrypt,protocols=!SSLv2:!SSLv3", Requirement(Level.ENCRYPT, V10)),
        ("encrypt Protocols=TLSv1.2:TLSv1.3", Requirement(Level.ENCRYPT, V12)),
        ("verify", VERIFY),
        ("verify match=hostname servername=hostname", VERIFY),
        ("verify match=mx.Partner.Example", names("mx.partner.example")),
        ("verify match=a.example:.b.example", names("a.example", ".b.example")),
        ("verify match=a.example match=b.example", names("a.example", "b.example")),
        ("secure", names("d.example", ".d.example")),
        ("verify match=nexthop", names("d.example")),
        ("secure match=dot-nexthop", names(".d.example")),
        ("secure match=hostname", VERIFY),
    ],
)
def test_what_a_rule_says_whole(policy: str, requirement: Requirement) -> None:
    found = read_policy(policy, "d.example")
    assert found.requirement == requirement
    assert found.losses == ()


@pytest.mark.parametrize(
    ("policy", "requirement", "loss"),
    [
        ("none ciphers=high", Requirement(Level.NONE), "ignores attributes"),
        ("may protocols=>=TLSv1.2", Requirement(Level.MAY), "in plaintext"),
        ("encrypt ciphers=high", ENCRYPT, "smtp_tls_mandatory_ciphers"),
        ("encrypt exclude=aNULL", ENCRYPT, "smtp_tls_mandatory_exclude_ciphers"),
        ("encrypt connection_reuse=yes", ENCRYPT, "smtp_tls_connection_reuse"),
        ("verify enable_rpk=yes", VERIFY, "smtp_tls_enable_rpk"),
        ("encrypt servername=hostname", ENCRYPT, "smtp_tls_servername"),
        ("verify servername=mx.x.example", VERIFY, "smtp_tls_servername"),
        ("encrypt protocols=TLSv1.2", Requirement(Level.ENCRYPT, V12), "newer ones"),
        ("encrypt protocols=>=TLSv1:<=TLSv1.2", Requirement(Level.ENCRYPT, V10), "newer ones"),
        ("encrypt protocols=nonsense", ENCRYPT, "only a lowest version"),
        ("verify match=hostname:a.example", names("a.example"), "only the names"),
        ("secure match=a.example policy_type=sts", names("a.example"), "tls.mta_sts"),
        (
            "secure match=a.example { policy_string = version: STSv1 }",
            names("a.example"),
            "mta_sts",
        ),
    ],
)
def test_what_a_rule_does_not_say_is_told(policy: str, requirement: Requirement, loss: str) -> None:
    found = read_policy(policy, "d.example")
    assert found.requirement == requirement
    assert any(loss in each for each in found.losses)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("", "no policy"),
        ("dane", "tls.dane"),
        ("dane-only", "tls.dane"),
        ("fingerprint match=aa:bb", "pins certificates"),
        ("verify tafile=/etc/ca.pem", "smtp_tls_CAfile"),
        ("strict", "is no level"),
        ("encrypt match=a.example", "is an error"),
        ("verify match=a..example", "no host name"),
        ("encrypt fast", "is no attribute"),
        ("encrypt protocols", "'protocols' is no attribute"),
        ("encrypt cipher=high", "is no attribute"),
    ],
)
def test_what_no_rule_asks_for_is_left(policy: str, why: str) -> None:
    found = read_policy(policy, "d.example")
    assert found.requirement is None
    assert why in found.losses[0]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (">=TLSv1.2", (V12, True)),
        ("!SSLv2:!SSLv3:!TLSv1:!TLSv1.1", (V12, True)),
        ("!SSLv2", (V10, True)),
        ("!TLSv1", (V11, True)),
        ("TLSv1.3", (V13, True)),
        ("TLSv1:TLSv1.3", (V10, False)),
        (">=TLSv1.1:!TLSv1.1", (V12, True)),
        ("!TLSv1.1", (V10, False)),
        ("!TLSv1:!TLSv1.1:!TLSv1.2:!TLSv1.3", None),
        ("<=TLSv1.2", None),
        (">=0301", None),
        ("", None),
    ],
)
def test_lowest_versions(value: str, found: tuple[TlsVersion, bool] | None) -> None:
    assert lowest_version(value) == found


def imported(text: str, form: Format = Format.KEYS) -> Imported:
    return take(read_entries(text, "t", form), form)


def rules(found: Imported) -> dict[str, Requirement]:
    return {each.domain: each.requirement for each in found.taken}


def test_a_table_that_rules_say_whole() -> None:
    found = imported(".gov.example encrypt\nExample.COM verify\nm\xfcnchen.example encrypt\n")
    assert rules(found) == {
        ".gov.example": ENCRYPT,
        "example.com": VERIFY,
        "xn--mnchen-3ya.example": ENCRYPT,
    }
    assert found.complete


def test_brackets_and_ports_are_rules_for_more_and_that_is_told() -> None:
    found = imported("[relay.example]:587 encrypt\nb.example:25 may\n")
    assert rules(found) == {"relay.example": ENCRYPT, "b.example": Requirement(Level.MAY)}
    assert all("on every port" in each.losses[-1] for each in found.taken)
    assert not found.complete


def test_brackets_beside_the_name_itself_lose_nothing() -> None:
    assert imported("a.example encrypt\n[a.example] encrypt\n").complete


def test_two_entries_that_are_one_rule_ask_for_both() -> None:
    found = imported("a.example verify\n[a.example]:587 encrypt protocols=>=TLSv1.2\n")
    assert rules(found) == {"a.example": Requirement(Level.VERIFY, V12)}
    assert "what any of them asks" in found.taken[0].losses[-1]
    assert [entry.where for entry in found.taken[0].entries] == ["t:1", "t:2"]


def test_two_entries_that_exclude_each_other() -> None:
    found = imported("a.example verify match=x.example\n[a.example] verify match=y.example\n")
    assert rules(found) == {"a.example": names("x.example")}
    assert "choose one" in found.left[0].why


def test_of_two_with_one_key_the_first_counts_as_with_postmap() -> None:
    found = imported("a.example encrypt\nA.Example may\n")
    assert rules(found) == {"a.example": ENCRYPT}
    assert "takes the first entry" in found.left[0].why


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("[192.0.2.1]", "address"),
        ("[2001:db8::1]:25", "address"),
        ("*.example.com", "'.example.com'"),
        ("/var/run/lmtp", "UNIX-domain"),
        ("..", "remove it"),
    ],
)
def test_keys_that_are_no_rules(key: str, why: str) -> None:
    found = imported(f"{key} encrypt\n")
    assert found.taken == ()
    assert why in found.left[0].why


def test_secure_of_sub_domains() -> None:
    found = imported(".gov.example secure\n")
    assert rules(found) == {".gov.example": names(".gov.example")}
    assert len(found.taken[0].losses) == 1


def test_patterns_in_their_order() -> None:
    found = imported(
        "/^(.*\\.)?a\\.example$/ encrypt\n/\\.b\\.a\\.example$/ may\n/x$/ verify\n"
        "/^c\\.example$/ verify\n/./ encrypt\n/^d\\.example$/ none\n",
        Format.PATTERNS,
    )
    assert rules(found) == {"a.example": ENCRYPT, ".a.example": ENCRYPT, "c.example": VERIFY}
    whys = {left.entry.where: left.why for left in found.left}
    assert "never reached: t:1 matches first" in whys["t:2"]
    assert "no patterns" in whys["t:3"]
    assert "never reached: t:5 matches first" in whys["t:6"]
    assert "may match first" in found.taken[2].losses[0]
    assert found.everything is not None
    assert found.everything.requirement == ENCRYPT


def test_a_pattern_for_parents_is_never_reached_before_one_for_everything() -> None:
    found = imported("/^\\.a\\.example$/ encrypt\n/./ may\n", Format.PATTERNS)
    assert found.taken == ()
    assert "whole name first" in found.left[0].why


def test_conditions_substitutions_and_networks_are_left() -> None:
    text = "if /x/\n/^a\\.example$/ may\nendif\n/^(.*)$/ secure match=$1\n"
    found = imported(text, Format.PATTERNS)
    assert (len(found.left), found.taken, found.everything) == (4, (), None)
    [left] = imported("192.0.2.0/24 encrypt\n", Format.NETWORKS).left
    assert "about names" in left.why


def test_a_static_table_is_a_profile_or_a_setting_of_postfix() -> None:
    found = take_everything(Entry("*", "encrypt protocols=>=TLSv1.2", "static:{…}"))
    assert "level: encrypt\n      min_version: TLSv1.2" in format_yaml(found, "x", "private")
    assert "smtp_tls_security_level" in format_yaml(found, "x")
    assert take_everything(Entry("*", "secure", "s")).everything is None


def test_the_block_names_file_and_line_and_is_yaml() -> None:
    text = (
        "# x\nnull encrypt\n.b.example verify match=.c.example:d.example ciphers=high\nx\x1b dane\n"
    )
    found = imported(text)
    block = format_yaml(found, "From t.")
    assert "    # t:2: null encrypt\n" in block
    assert yaml.safe_load(block) == {
        "tls": {
            "domains": {
                "null": {"level": "encrypt"},
                ".b.example": {"level": "verify", "match": [".c.example", "d.example"]},
            }
        }
    }
    assert "\x1b" not in block
    [of_profile] = yaml.safe_load(format_yaml(found, "From t.", "bank"))["tls"]["profiles"].values()
    assert of_profile["level"] == "may"
    assert len(of_profile["domains"]) == 2


WORDS = st.sampled_from(
    [
        "none",
        "may",
        "encrypt",
        "verify",
        "secure",
        "dane",
        "fingerprint",
        "match=a.example:hostname",
        "protocols=>=TLSv1.2",
        "protocols=!SSLv2:!TLSv1.2",
        "ciphers=high",
        "tafile=x",
        "{ a = b }",
        "=",
    ]
)
KEYS = st.sampled_from(
    ["a.example", "[a.example]:25", ".a.example", "A.Example", "[192.0.2.1]", "*", "b"]
)


@given(st.lists(st.tuples(KEYS, st.lists(WORDS, max_size=4).map(" ".join)), max_size=8))
def test_every_entry_is_a_rule_or_is_left_and_no_rule_is_weaker(
    pairs: list[tuple[str, str]],
) -> None:
    text = "".join(f"{key} {policy}\n" for key, policy in pairs)
    entries = read_entries(text, "t", Format.KEYS)
    found = take(entries, Format.KEYS)
    told = [
        *(e for rule in found.taken for e in rule.entries),
        *(left.entry for left in found.left),
    ]
    assert {entry.where for entry in entries} == {entry.where for entry in told}
    for rule in found.taken:
        for entry in rule.entries:
            asked = read_policy(entry.value, rule.domain).requirement
            assert asked is not None
            assert rule.requirement.join(asked) == rule.requirement
    yaml.safe_load(format_yaml(found, "x\ny"))
