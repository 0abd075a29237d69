"""What attach and detach say of lanes' own instances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix.apply import Applied
from gatepost.postfix.attach import Outcome
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.apart import Apart, Left
from gatepost.postfix.instances.life import Change
from gatepost.postfix.instances.place import Place
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan
from gatepost.postfix.render import describe, document
from gatepost.postfix_version import OLDEST_SUPPORTED

FACTS = PostfixFacts(
    OLDEST_SUPPORTED, Path("/etc/postfix"), Path("/var/spool/postfix"), running=True
)
FILES = {MAIN_CF: "a = b\n", MASTER_CF: ""}
PLACE = Place("burst", Path("/etc/postfix-gp-burst"), Path("/q-gp-burst"), Path("/d-gp-burst"))
MADE = Change(PLACE, {}, {MAIN_CF: "x = 1\n", MASTER_CF: "y\n"})
OUTCOME = Outcome(
    Path("/etc/postfix"),
    Plan(FILES, FILES),
    FACTS,
    ("/etc/postfix-gp-burst/main.cf",),
    applied=Applied(),
    apart=Apart(wanted=(MADE,)),
)


def said(outcome: Outcome, verb: str = "attach", *, dry_run: bool = False) -> str:
    return " ".join(" ".join(describe(outcome, verb, dry_run=dry_run)).split())


def test_one_that_is_made_is_shown_whole() -> None:
    text = said(OUTCOME)
    assert "+x = 1" in text
    assert "Lane burst: its instance /etc/postfix-gp-burst made." in text
    assert "Not in force" not in text
    assert "Written" not in text
    dry = said(replace(OUTCOME, applied=None), dry_run=True)
    assert "would be made" in dry
    assert "Nothing was changed." in dry
    (instance,) = document(OUTCOME)["instances"]
    assert instance["changed"] == [MAIN_CF, MASTER_CF]
    assert "+y\n" in instance["diff"][MASTER_CF]


def test_without_a_reload_it_has_to_be_started_by_hand() -> None:
    assert "postfix -c /etc/postfix-gp-burst start" in said(replace(OUTCOME, told=False))
    assert "start" not in said(OUTCOME)
    same = replace(OUTCOME, changed=(), apart=Apart(wanted=(replace(MADE, old=MADE.new),)))
    assert "Nothing to do" in said(same)
    started = said(replace(same, started=("burst",)))
    assert "Lane burst: its instance /etc/postfix-gp-burst started." in started
    assert "Nothing to do" not in started


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "goes on giving them back to this one"),
        ({"told": False}, "gives them back after a run without --no-reload"),
        ({"facts": replace(FACTS, running=False)}, "gives them back when Postfix runs"),
    ],
)
def test_one_that_still_has_mail_is_told_with_what_to_do(changes: dict, expected: str) -> None:
    left = Left("burst", "/etc/postfix-gp-burst", 3)
    outcome = replace(OUTCOME, apart=Apart(leaving=(MADE,)), left=(left,), **changes)
    text = said(outcome, "detach")
    assert "3 messages are still in the queue of its instance /etc/postfix-gp-burst" in text
    assert expected in text
    assert text.endswith("Then, once more: gatepost detach")
    assert document(outcome)["left"] == [
        {"lane": "burst", "config_dir": "/etc/postfix-gp-burst", "messages": 3}
    ]
    gone = said(replace(outcome, left=()), "detach")
    assert "its instance /etc/postfix-gp-burst emptied into this one and removed." in gone
