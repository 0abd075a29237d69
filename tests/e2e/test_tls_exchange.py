"""A real Postfix on an exported table: postmap finds each policy, mail travels as the rules ask.

Gatepost is detached here; nothing but the table is left of its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.policy_tables import read_table
from gatepost.postfix_version import parse_version
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.rules import DomainRules, Profile, TlsRules
from gatepost.tls.tables.export import export_table, format_table
from lab.postfix import PrivatePostfix
from lab.send import Mail
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MAIL_DOMAINS = {"sub.ministry.example": "mx.wrongname.example", "other.example": "mx.plain.example"}
PROFILE = Profile(
    "private",
    Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2),
    DomainRules(
        {"plain.example": Requirement(Level.ENCRYPT), "old.example": Requirement(Level.MAY)}
    ),
)
RULES = TlsRules(
    {"private": PROFILE},
    DomainRules(
        {
            ".ministry.example": Requirement(Level.VERIFY),
            "good.example": Requirement(Level.VERIFY, match=frozenset({"mx.good.example"})),
        }
    ),
)


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix() as running:
        yield running


@pytest.fixture(scope="module")
def table(postfix: PrivatePostfix) -> Path:
    version = parse_version(postfix.postconf("mail_version"))
    exported = export_table(PROFILE, RULES, version, next_hops=["[relay.good.example]:587"])
    path = postfix.config_dir / "tls_policy"
    path.write_text(format_table(exported, "Exported."))
    default = dict(line.split(" = ", 1) for line in exported.default)
    postfix.configure({"smtp_tls_policy_maps": f"texthash:{path}", **default})
    postfix.reload()
    return path


@pytest.mark.parametrize("kind", ["texthash", "hash", "lmdb"])
def test_postmap_finds_what_the_map_answered(
    postfix: PrivatePostfix, table: Path, kind: str
) -> None:
    commands = PostfixCommands(postfix.config_dir)
    if kind not in commands.postconf("-m").stdout.split():
        pytest.skip(f"this Postfix has no {kind}")
    name = f"{kind}:{table}"
    if kind != "texthash":
        commands.postmap(name, directory=table.parent)
    for key, policy in {
        "good.example": "verify match=mx.good.example servername=hostname protocols=>=TLSv1.2",
        "[good.example]": "verify match=mx.good.example servername=hostname protocols=>=TLSv1.2",
        ".ministry.example": "verify match=hostname servername=hostname protocols=>=TLSv1.2",
        "plain.example": "encrypt",
        "old.example": "may",
        "[old.example]": "may",
        "ministry.example": "",
    }.items():
        found = commands.postmap("-q", key, name, directory=table.parent)
        assert found == policy


def test_a_real_table_comes_back_as_the_rules(postfix: PrivatePostfix, table: Path) -> None:
    found = read_table(f"texthash:{table}", PostfixCommands(postfix.config_dir))
    assert {rule.domain: rule.requirement for rule in found.imported.taken} == {
        "plain.example": Requirement(Level.ENCRYPT),
        "old.example": Requirement(Level.MAY),
        ".ministry.example": Requirement(Level.VERIFY, TlsVersion.TLSv1_2),
        "good.example": Requirement(
            Level.VERIFY, TlsVersion.TLSv1_2, frozenset({"mx.good.example"})
        ),
        "relay.good.example": Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2),
    }


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("domain", "status", "text"),
    [
        ("good.example", "sent", ""),
        ("plain.example", "deferred", "TLS is required, but was not offered"),
        ("sub.ministry.example", "deferred", "Server certificate not verified"),
        # Only the level of the profile speaks of it.
        ("other.example", "deferred", "TLS is required, but was not offered"),
    ],
)
def test_mail_travels_as_the_rules_asked(
    deliver: Callable[[Mail], Any], domain: str, status: str, text: str
) -> None:
    found = deliver(Mail("a@sender.example", f"u@{domain}", domain))
    assert found.status == status, found.text
    assert text in found.text
