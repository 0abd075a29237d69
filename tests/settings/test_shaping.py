"""The rules of shaping that ship with Gatepost, and a file of the operator's own."""

from __future__ import annotations

from pathlib import Path

from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.traffic.shaping import CLASSES, SUSPEND, Group, Rule, Target
from gatepost.traffic.warmup import SCHEDULES, Warmup

KEYS = f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n"
HEAD = "platform: {sender_id: examplesp}\nmaillog: /var/log/mail.log\n"


def load(directory: Path, text: str, rules: str = "") -> Snapshot:
    keys = directory / "keys.yaml"
    keys.write_text(KEYS, encoding="utf-8")
    keys.chmod(0o600)
    (directory / "rules.yaml").write_text(rules, encoding="utf-8")
    path = directory / "gatepost.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    return Loader(path).load().snapshot


def test_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert not load(tmp_path, "shaping: {}\n").shaping.on
    assert not load(tmp_path, "shaping: {rules: off}\n").shaping.on


def test_the_rules_that_ship_with_gatepost(tmp_path: Path) -> None:
    shaping = load(tmp_path, "shaping: {rules: standard}\n").shaping
    assert shaping.on
    assert [rule.name for rule in shaping.rules] == ["blocked", "reputation", "rate-limited"]
    assert {name for rule in shaping.rules for name in rule.classes} == CLASSES
    assert shaping.rules[0].to == SUSPEND
    assert all(rule.share for rule in shaping.rules)
    assert shaping.group_of_host("a-com.olc.protection.outlook.com") == "outlook-consumer"
    assert shaping.group_of_host("a-com.mail.protection.outlook.com") is None


def test_a_file_of_ones_own_takes_their_place(tmp_path: Path) -> None:
    rules = """\
providers: {big: {hosts: [.mail.example], domains: [own.example]}}
rules:
  ours: {text: [slow ... down], providers: [big], count: 2, within: 1m, to: 1/8, lasts: 5m,
    step: 1m, at_most: 1h}
"""
    shaping = load(tmp_path, "shaping: {rules: rules.yaml}\n", rules).shaping
    assert shaping.rules == (
        Rule(
            "ours",
            frozenset(),
            ((" slow ", " down "),),
            frozenset({"big"}),
            2,
            60,
            0.0,
            Target(1 / 8),
            300,
            60,
            3_600,
        ),
    )
    assert shaping.groups == (Group("big", (".mail.example",), frozenset({"own.example"})),)


def test_warm_ups_and_the_services_that_they_need(tmp_path: Path) -> None:
    text = """\
lanes:
  bulk: {concurrency: 5}
  fresh: {concurrency: 5, warmup: {start: 2026-12-01, days: [50, 100], lane: bulk}}
tls: {profiles: {private: {level: encrypt}}}
tenants:
  acme: {logins: [a], senders: [a.example], lane: fresh, profile: private,
    modes: {default: enforce}}
  globex: {logins: [g], senders: [g.example], modes: {default: enforce},
    warmup: {start: 2026-12-01, days: sendgrid, lane: bulk}}
"""
    found = load(tmp_path, text)
    assert found.warmups.lanes == {"fresh": Warmup(20_788, (50, 100), "bulk")}
    assert found.warmups.tenants == {"globex": Warmup(20_788, SCHEDULES["sendgrid"], "bulk")}
    # The profile is kept, whatever the lane.
    assert {"gp-bulk-private", "gp-bulk-standard", "gp-fresh-private"} <= found.services.keys()
