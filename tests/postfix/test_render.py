"""What attach and detach say, and that their diff is one that patch(1) takes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix.apply import Applied
from gatepost.postfix.attach import Outcome
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Change, Plan, note, warning
from gatepost.postfix.render import describe, diff_with_reasons, document
from gatepost.postfix_version import PostfixVersion

OLD = {MAIN_CF: "a = 1\nsmtpd_milters = inet:x\nz = 9", MASTER_CF: "smtp\n"}
NEW = {
    MAIN_CF: "a = 1\nsmtpd_milters = $gatepost_milter, inet:x\nz = 9\n"
    "# gatepost begin\n#: why\ngatepost_milter = y\n# gatepost end\n",
    MASTER_CF: "smtp\n",
}
PLAN = Plan(
    OLD,
    NEW,
    changes=(
        Change(MAIN_CF, "smtpd_milters = $gatepost_milter, inet:x", "Ours is first."),
        Change(MAIN_CF, "gatepost_milter = y", "why", in_block=True),
    ),
    notes=(note("This is so."), warning("This may bite.")),
)
FACTS = PostfixFacts(
    PostfixVersion(3, 7, 11), Path("/etc/postfix"), Path("/var/spool/postfix"), running=True
)
DRY = Outcome(Path("/etc/postfix"), PLAN, FACTS, (MAIN_CF,), ("milter.sock: nothing",))
DONE = replace(
    DRY,
    unanswered=(),
    applied=Applied((MAIN_CF,), Path("/etc/postfix/gatepost-backup/t"), reloaded=True),
)


def said(
    outcome: Outcome, verb: str = "attach", *, dry_run: bool = False, options: str = ""
) -> str:
    return "\n".join(describe(outcome, verb, dry_run=dry_run, options=options))


def test_a_line_that_changes_in_place_has_its_reason_above_it() -> None:
    lines = list(diff_with_reasons(PLAN, MAIN_CF, "/etc/postfix"))
    place = lines.index("+smtpd_milters = $gatepost_milter, inet:x")
    assert lines[place - 1] == "#   Ours is first."


def test_a_line_in_the_block_has_its_reason_in_the_file_and_only_there() -> None:
    lines = list(diff_with_reasons(PLAN, MAIN_CF, "/etc/postfix"))
    place = lines.index("+gatepost_milter = y")
    assert lines[place - 1] == "+#: why"
    assert "#   why" not in lines


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
@pytest.mark.parametrize("old", ["", "a", "a\n", "a\r\nb", "a\n\nb\n"])
@pytest.mark.parametrize("new", ["b", "b\n", "a\n# x\r\n"])
def test_the_diff_of_the_document_is_exact(old: str, new: str, tmp_path: Path) -> None:
    plan = Plan({MAIN_CF: old, MASTER_CF: ""}, {MAIN_CF: new, MASTER_CF: ""})
    outcome = replace(DRY, plan=plan)
    path = tmp_path / MAIN_CF
    path.write_bytes(old.encode())
    diff = document(outcome)["diff"][MAIN_CF]
    subprocess.run(
        ["patch", "-s", "--binary", str(path)], input=diff.encode(), check=True, cwd=tmp_path
    )
    assert path.read_bytes() == new.encode()


def test_a_dry_run_warns_first_and_says_that_nothing_was_done() -> None:
    text = said(DRY, dry_run=True, options=" --config /x")
    assert text.index("warning: This may bite.") < text.index("note: This is so.")
    assert "warning: milter.sock: nothing. While nobody answers, Postfix refuses mail" in text
    assert text.endswith("Nothing was changed. To do it: gatepost attach --config /x")


def test_afterwards_the_backup_and_the_way_back_are_named() -> None:
    text = said(DONE, options=" --config /x")
    assert "Written: main.cf. postfix check accepts it." in text
    assert "/etc/postfix/gatepost-backup/t" in text
    assert "Postfix has been told to reload." in text
    assert "To undo: gatepost detach --config /x" in text


@pytest.mark.parametrize(
    ("running", "sentence"),
    [
        (True, "Not in force yet. To tell Postfix: postfix -c /etc/postfix reload"),
        (False, "Postfix does not run; it reads the new files when it starts."),
    ],
)
def test_without_a_reload_it_is_said_what_is_left_to_do(*, running: bool, sentence: str) -> None:
    assert DONE.applied is not None
    done = replace(
        DONE, facts=replace(FACTS, running=running), applied=replace(DONE.applied, reloaded=False)
    )
    assert sentence in said(done)


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        ("attach", "Nothing to do: attached, and as the configuration asks for."),
        ("detach", "Nothing to do: nothing of Gatepost's is in these files."),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_to_do(*, verb: str, sentence: str, dry_run: bool) -> None:
    outcome = replace(DRY, plan=Plan(OLD, OLD), changed=(), unanswered=(), applied=Applied())
    assert said(outcome, verb, dry_run=dry_run).endswith(sentence)


def test_what_postfix_check_says_is_shown() -> None:
    assert DONE.applied is not None
    done = replace(DONE, applied=replace(DONE.applied, warnings="not owned by root: x"))
    assert "\n    not owned by root: x\n" in said(done)


def test_the_document_has_everything() -> None:
    made = document(DONE)
    assert made["changes"][0]["reason"] == "Ours is first."
    assert made["notes"][1] == {"weight": "warning", "text": "This may bite."}
    assert made["applied"]["backup"] == "/etc/postfix/gatepost-backup/t"
    assert document(DRY)["applied"] is None
