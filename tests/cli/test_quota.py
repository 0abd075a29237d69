"""gatepost quota show, and explain, which shows the quotas of one message."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.runtime.traffic.steady_clock import SteadyClock, system_sources
from gatepost.store.open import open_quotas
from gatepost.traffic.counters import Amount, Holder, MemoryCounters
from gatepost.traffic.quota import Claim, Limit, campaign_name
from tests.settled import write_settled

CONFIGURATION = """\
modes: {default: observe, quota: enforce}
platform: {sender_id: examplesp, quota: [9/day]}
groups: {g: {quota: [4/hour recipients]}}
tenants:
  acme:
    logins: [acme]
    senders: [acme.example]
    feedback: {campaign: X-Campaign}
    quota: [2/hour, 20/day]
    login_quota: [3/minute]
    campaign_quota: [1/hour]
    group: g
  shop: {logins: [shop], senders: [shop.example]}
  held: {logins: [held], senders: [held.example], quota: [1/hour], over_quota: hold}
"""
EXPLAIN = ("explain", "--recipient", "u@example.org")


class Cli:
    def __init__(self, directory: Path) -> None:
        self.state = f"sqlite:///{directory}/gatepost.db"
        self.path = directory / "gatepost.yaml"
        write_settled(directory / "main.cf", "")
        postfix = f"postfix: {{config_dir: {directory}}}"
        self.path.write_text(f"{postfix}\nstate: {self.state}\n{CONFIGURATION}")
        keys = directory / "keys.yaml"
        keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
        keys.chmod(0o600)

    def text(self, *words: str, status: int = 0) -> str:
        result = CliRunner().invoke(command_line(words), [*words, "--config", str(self.path)])
        assert result.exit_code == status, result.output
        return result.output

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.text(*words, "--json", status=status))

    def count(self, *claims: Claim) -> None:
        clock = SteadyClock(system_sources())
        counters = MemoryCounters()
        for number in range(2):
            counters.commit(Holder("s", f"m{number}"), claims, Amount(1, 2), clock())
        with contextlib.closing(open_quotas(self.state)) as store:
            store.write(clock.mark(), counters.take_changed(10_000))


@pytest.fixture
def gatepost(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_without_a_store_nothing_is_used(gatepost: Cli) -> None:
    shown = gatepost.json("quota", "show")
    assert {each["of"] for each in shown["quotas"]} == {
        *("tenant acme", "login acme acme", "tenant held", "group g", "platform")
    }
    assert all(each["open"] and each["used"] == 0 for each in shown["quotas"])
    assert shown["problems"] == []
    assert "tenant acme      2/hour: 0 used, open" in gatepost.text("quota", "show")


def test_what_is_used_up_is_shown_with_the_time_that_it_opens(gatepost: Cli) -> None:
    gatepost.count(Claim("tenant acme", Limit(2, 3_600)))
    lines = gatepost.text("quota", "show", "--tenant", "acme", status=1).splitlines()
    assert "2/hour: 2 used, used up, open again at " in lines[0]
    assert lines[1].endswith("20/day: 0 used, open")
    (hour,) = [
        each
        for each in gatepost.json("quota", "show", status=1)["quotas"]
        if each["quota"] == "2/hour"
    ]
    assert 3_500 < hour.pop("opens_in_s") <= 3_720
    assert hour == {
        "of": "tenant acme",
        "quota": "2/hour",
        "limit": 2,
        "window_s": 3_600,
        "unit": "messages",
        "used": 2,
        "open": False,
    }


def test_campaigns_that_have_counted_are_shown(gatepost: Cli) -> None:
    name = campaign_name("acme", "spring sale")
    gatepost.count(Claim(name, Limit(5, 3_600)), Claim("login acme other", Limit(9, 60)))
    shown = gatepost.json("quota", "show", "--tenant", "acme", status=1)["quotas"]
    used = {each["of"]: each["used"] for each in shown}
    assert used[name] == 2
    assert used["login acme other"] == 2
    assert gatepost.json("quota", "show", "--tenant", "shop")["quotas"][0]["of"] == "platform"


def test_a_store_that_cannot_be_read_is_told(gatepost: Cli, tmp_path: Path) -> None:
    (tmp_path / "gatepost.db").write_bytes(b"no database " * 100)
    text = gatepost.text("quota", "show", status=1)
    assert "how far quotas are used is not known" in text


def test_an_unknown_tenant(gatepost: Cli) -> None:
    assert "did you mean acme" in gatepost.text("quota", "show", "--tenant", "acm", status=2)


def test_explain_shows_the_quotas_of_the_message(gatepost: Cli) -> None:
    words = (*EXPLAIN, "--login", "acme", "--sender", "n@acme.example")
    document = gatepost.json(*words, "--header", "X-Campaign: spring")
    assert [each["of"] for each in document["quotas"]] == [
        *("tenant acme", "tenant acme", "login acme acme", "group g", "platform"),
        "campaign acme spring",
    ]
    gatepost.count(Claim("tenant acme", Limit(2, 3_600)))
    assert "2/hour: 2 used, used up, open again at" in gatepost.text(*words, status=1)
    assert gatepost.json(*EXPLAIN, "--login", "acme", "--sender", "")["quotas"] == []


def test_explain_of_what_is_held_is_no_refusal(gatepost: Cli) -> None:
    gatepost.count(Claim("tenant held", Limit(2, 3_600)))
    words = (*EXPLAIN, "--login", "held", "--sender", "n@held.example")
    assert "used up" in gatepost.text(*words)
