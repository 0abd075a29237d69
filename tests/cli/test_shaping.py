"""gatepost shaping and gatepost warmup: what is slowed, and how far warm-ups are."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.feedback.events import Event, EventKind
from gatepost.maillog.evidence import Batch, LogPosition
from gatepost.store.open import open_deliveries, open_events, open_lanes
from gatepost.traffic.shaping import Slowed
from gatepost.traffic.warmup import day_of
from tests.settled import write_settled

SLOW = ("shaping", "slow", "bulk", "google.com", "--for", "2h", "--reason", "ticket 4711")


class Cli:
    def __init__(self, directory: Path) -> None:
        self.state = f"sqlite:///{directory}/gatepost.db"
        self.path = directory / "gatepost.yaml"
        self.directory = directory
        write_settled(directory / "main.cf", "")
        self.configure()
        keys = directory / "keys.yaml"
        keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
        keys.chmod(0o600)
        for opener in (open_lanes, open_events):
            opener(self.state).close()  # type: ignore[operator]

    def configure(self, rules: str = "standard", mode: str = "enforce") -> None:
        today, tomorrow = (
            time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400 * days)) for days in (0, 1)
        )
        self.path.write_text(
            f"""\
postfix: {{config_dir: {self.directory}}}
service: {{run_dir: {self.directory}/run}}
state: {self.state}
maillog: /var/log/mail.log
platform: {{sender_id: examplesp}}
modes: {{lane: {mode}, sender: enforce}}
shaping: {{rules: {rules}}}
lanes:
  bulk: {{}}
  fresh: {{warmup: {{start: {today}, days: [5, 9], lane: bulk}}}}
tenants:
  acme: {{logins: [a], senders: [a.example], warmup: {{start: {tomorrow}, days: [5], lane: bulk}}}}
  old: {{logins: [o], senders: [o.example], warmup: {{start: 2020-01-01, days: [5], lane: bulk}}}}
"""
        )

    def text(self, *words: str, status: int = 0) -> str:
        result = CliRunner().invoke(command_line(words), [*words, "--config", str(self.path)])
        assert result.exit_code == status, result.output
        return result.output

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.text(*words, "--json", status=status))

    def events(self) -> list[Event]:
        with contextlib.closing(open_events(self.state)) as store:
            return [each.event for each in store.page(0, 10).events]

    def sent(self, count: int) -> None:
        position = LogPosition("log", 1, count, "/log")
        with contextlib.closing(open_deliveries(self.state)) as store:
            day = day_of(time.time())
            assert store.add(Batch([], position, None, sent={("lane fresh", day): count}))


@pytest.fixture
def gatepost(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_an_operator_slows_a_lane_and_lifts_it_again(gatepost: Cli) -> None:
    assert gatepost.text("shaping", "list") == "nothing is slowed\n"
    shown = gatepost.text(*SLOW, "--to", "30/minute")
    assert shown.startswith("bulk to google.com: slowed to 30/minute, free again ")
    assert shown.endswith("ticket 4711\n")
    assert gatepost.text("shaping", "list", status=1) == shown
    (slowed,) = gatepost.json("shaping", "list", status=1)["slowed"]
    assert (slowed["rate_per_minute"], slowed["until"] - slowed["since"]) == (30, 7_200)
    # A second one takes the place of the first.
    assert "suspended" in gatepost.text(*SLOW, "--to", "suspend")
    lifted = gatepost.text("shaping", "lift", "bulk", "google.com", "--reason", "sorted out")
    assert lifted == "bulk to google.com: lifted; in force 2 s later\n"
    assert "nothing slows it" in gatepost.text("shaping", "lift", "bulk", "google.com", status=1)
    events = gatepost.events()
    assert {each.kind for each in events} == {EventKind.SHAPING_CHANGED}
    assert [each.details["state"] for each in events] == ["slowed", "slowed", "lifted"]
    assert all(each.details["by"] for each in events)


def test_what_rules_did_is_told_and_what_is_over_only_on_request(gatepost: Cli) -> None:
    now = time.time()
    with contextlib.closing(open_lanes(gatepost.state)) as store:
        store.slow(Slowed("bulk", "a.example", now, (0, 5), 60, 60, "450", "fast", "", 40, 2))
        store.slow(Slowed("bulk", "b.example", now - 130, (2, 4), 60, 60, "450", "fast"))
    shown = gatepost.text("shaping", "list", status=1)
    assert "bulk to a.example: suspended, free again" in shown
    assert "(by rule fast, 3 times in a row): 450" in shown
    assert "b.example" not in shown
    shown = gatepost.text("shaping", "list", "--remembered", status=1)
    assert "bulk to b.example: free again (by rule fast): 450" in shown


def test_explain_says_what_slows_a_message(gatepost: Cli) -> None:
    message = ("explain", "--login", "a", "--sender", "n@a.example", "--recipient", "u@b.example")
    assert gatepost.json(*message)["slowed"] == []
    for lane in ("normal", "bulk"):
        gatepost.text(*SLOW[:2], lane, *SLOW[3:], "--to", "suspend")
    assert "slowed     normal to google.com: suspended, free again" in gatepost.text(*message)
    (slowed,) = gatepost.json(*message)["slowed"]
    assert (slowed["lane"], slowed["rate_per_minute"]) == ("normal", 0)
    gatepost.configure("off")
    assert gatepost.json(*message)["slowed"] == []


@pytest.mark.parametrize(
    ("rules", "mode", "why"),
    [
        ("off", "enforce", "shaping.rules is off"),
        ("standard", "observe", "the general mode of lane is observe"),
    ],
)
def test_what_has_no_effect_is_called_so(gatepost: Cli, rules: str, mode: str, why: str) -> None:
    gatepost.configure(rules, mode)
    assert why in gatepost.text(*SLOW, "--to", "suspend")
    assert why in gatepost.text("shaping", "list", status=1)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("slow", "bulc", "google.com", "--to", "suspend"), "did you mean bulk?"),
        (("slow", "bulk", "Google", "--to", "suspend"), "can be no provider"),
        (("slow", "bulk", "google.com", "--to", "1/8"), "a share is for rules"),
        (("slow", "bulk", "google.com", "--to", "fast"), "write suspend, or a rate"),
    ],
)
def test_mistakes(gatepost: Cli, words: tuple[str, ...], problem: str) -> None:
    options = ("--for", "2h", "--reason", "why")
    assert problem in gatepost.text("shaping", *words, *options, status=2)
    assert gatepost.events() == []


def test_warm_ups(gatepost: Cli) -> None:
    gatepost.sent(4)
    assert gatepost.text("warmup", "show").splitlines() == [
        "lane fresh: day 1 of 2, 4 of 5 sent",
        "tenant acme: begins on "
        + time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
        + "; until then all takes lane bulk",
        "tenant old: over since its day 1; nothing is held back",
    ]


def test_a_warm_up_that_is_used_up(gatepost: Cli) -> None:
    gatepost.sent(5)
    shown = gatepost.json("warmup", "show", status=1)
    assert [row["over"] for row in shown["warmups"]] == [True, False, False]
    assert "used up, what is above takes lane bulk" in gatepost.text("warmup", "show", status=1)
