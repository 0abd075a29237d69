"""feedback rates: tables whose numbers are those of the events, and Gmail beside them."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.reporting import GMAIL
from gatepost.store.gmail import GmailDay
from gatepost.store.open import open_events, open_gmail

NOW = time.time()
TODAY = int(NOW // 86_400)
YAHOO = "yahoodns.net"


@pytest.fixture
def gatepost(tmp_path: Path):
    path = tmp_path / "gatepost.yaml"
    path.write_text(f"state: sqlite:///{tmp_path}/gatepost.db\n")

    def gatepost(*words, status=0):
        words = ("feedback", "rates", *words, "--config", str(path))
        result = CliRunner().invoke(command_line(words), words)
        assert result.exit_code == status, result.output
        return result.output

    return gatepost


@pytest.fixture
def happen(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/gatepost.db"
    with (
        contextlib.closing(open_events(url)) as events,
        contextlib.closing(open_gmail(url)) as gmail,
    ):

        def happen(kind, count, provider=YAHOO, at=NOW, tenant="acme", details=None, **labels):
            stem = f"{kind}{provider}{at}{tenant}{labels}{details}"
            events.add(
                [
                    Event(
                        f"{stem}{number}",
                        kind,
                        at,
                        tenant,
                        provider=provider,
                        details=details or {},
                        **labels,
                    )
                    for number in range(count)
                ]
            )

        happen.gmail = gmail
        yield happen


def fill(happen):
    happen(EventKind.DELIVERED, 1000, campaign="spring")
    happen(EventKind.DELIVERED, 400, GMAIL, campaign="spring")
    happen(EventKind.COMPLAINED, 3, campaign="spring")
    happen(EventKind.UNSUBSCRIBED, 14, campaign="spring")
    hard = {"class": "invalid-recipient", "severity": "hard"}
    happen(EventKind.BOUNCED, 20, campaign="spring", details=hard)
    happen(EventKind.BOUNCED, 5, campaign="spring", details={"class": "spam-block"})
    happen(EventKind.DELIVERED, 10, tenant="other", campaign="x\x1b[2J")
    happen(EventKind.DELIVERED, 7, at=NOW - 30 * 86_400)


def test_rates_by_tenant(happen, gatepost):
    fill(happen)
    happen.gmail.add(
        [
            GmailDay(TODAY, "a.example", "tacme", 0.002),
            GmailDay(TODAY, "b.example", "tacme", 0.004),
            GmailDay(TODAY - 1, "a.example", "tacme", 0.001),
        ]
    )
    head, acme, other, empty, classes = gatepost().splitlines()
    columns = ["tenant", "delivered", "complaints", "hard bounces", "unsubscribed", "at Gmail"]
    assert re.split(r"  +", head) == columns
    assert re.split(r"  +", acme) == [
        "acme",
        "1,400",
        "0.30% [0.10-0.88] 3",
        "1.40% [0.91-2.16] 20",
        "1.00% [0.60-1.67] 14",
        "0.25% (worst 0.40%, 2 d)",
    ]
    nothing = "0.00% [0.00-27.75] 0"
    assert re.split(r"  +", other) == ["other", "10", nothing, nothing, nothing, "-"]
    assert len({line.index(word) for line, word in ((head, "at"), (acme, "0.25%"))}) == 1
    assert (empty, classes) == ("", "bounced: invalid-recipient 20, spam-block 5")


def test_rates_by_campaign_and_provider(happen, gatepost):
    fill(happen)
    happen.gmail.add(
        [
            GmailDay(TODAY, "a.example", "cspring", 0.002),
            GmailDay(TODAY, "a.example", "", 0.003),
        ]
    )
    lines = gatepost("--by", "campaign").splitlines()
    assert lines[1].startswith("acme/spring  ")
    assert lines[1].endswith("0.20% (worst 0.20%, 1 d)")
    # A label is hostile text.
    assert lines[2].startswith("other/x\\x1b[2J  ")
    lines = gatepost("--by", "provider", "--tenant", "acme").splitlines()
    assert lines[1].startswith("yahoodns.net *")
    assert "* reports complaints message by message" in lines
    assert lines[2].split()[:3] == [GMAIL, "400", "-"]
    assert lines[2].endswith("0.30% (worst 0.30%, 1 d)")
    assert gatepost("--by", "mail-type").splitlines()[1].startswith("acme/(none)")


def test_rates_as_json(happen, gatepost):
    fill(happen)
    found = json.loads(gatepost("--tenant", "acme", "--by", "campaign", "--json"))
    (rates,) = found["rates"]
    assert (found["by"], rates["tenant"], rates["campaign"]) == ("campaign", "acme", "spring")
    assert rates["bounced"] == {
        "total": 25,
        "hard": 20,
        "classes": {"invalid-recipient": 20, "spam-block": 5},
    }
    complaints = rates["complaints"]
    assert (complaints["count"], complaints["of"]) == (3, 1000)
    assert round(complaints["low"], 4) == 0.0010
    assert rates["gmail"] is None


def test_the_period_reaches_as_far_back_as_asked(happen, gatepost):
    fill(happen)
    assert "1,400" in gatepost("--tenant", "acme")
    assert "1,407" in gatepost("--tenant", "acme", "--since", "5w")


def test_what_is_not_known_is_no_rate(happen, gatepost):
    happen(EventKind.DELIVERED, 5, GMAIL)
    assert gatepost().splitlines()[1].split()[:3] == ["acme", "5", "-"]
    (rates,) = json.loads(gatepost("--json"))["rates"]
    assert rates["complaints"] == {"count": 0, "of": 0, "share": None, "low": None, "high": None}


def test_many_lines_are_cut(happen, gatepost):
    for number in range(3):
        happen(EventKind.DELIVERED, 1, tenant=f"t{number}")
    assert gatepost("--limit", "2").splitlines()[-1] == "and 1 more; --limit shows more, --json all"


@pytest.mark.usefixtures("happen")
def test_nothing_yet(gatepost):
    assert gatepost().splitlines()[0] == "no delivery, bounce or complaint in the last 7d"


def test_without_a_database(gatepost):
    assert "nothing was recorded yet" in gatepost(status=2)
    assert "--since takes a period" in gatepost("--since", "soon", status=2)
