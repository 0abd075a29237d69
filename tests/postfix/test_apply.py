"""Carrying out a plan: order, backup, rollback, and a kill at every single step."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.apply import ATTACH_ORDER, DETACH_ORDER, Applied, apply
from gatepost.postfix.bounce_filter import FILE_NAME
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.journal import DIRECTORY, KEPT_BACKUPS, Journal
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("killed_apply.py")

OLD = {MAIN_CF: "a = 1\n", MASTER_CF: "smtp unix - - n - - smtp\n"}
NEW = {
    MAIN_CF: "a = 1\ngatepost_x = 2\nsmtpd_milters = $gatepost_x\n",
    MASTER_CF: "smtp unix - - n - - smtp\ngp-a-b unix - - n - - smtp\n"
    f"  -o smtp_delivery_status_filter=regexp:$config_directory/{FILE_NAME}\n",
}
ATTACH = Plan(OLD, NEW, filter_file=True)
DETACH = Plan(NEW, OLD, filter_file=False)


class FakePostfix(PostfixCommands):
    """Looks at the files when it is asked to check them."""

    def __init__(self, config_dir: Path, *, refuses: str | None = None) -> None:
        super().__init__(config_dir)
        self.refuses = refuses
        self.calls: list[str] = []

    def check(self) -> str:
        self.calls.append("check")
        if self.refuses is not None and self.refuses in (self.config_dir / MAIN_CF).read_text():
            raise PostfixUnavailable("postfix check: fatal: not like this")
        return "postfix-script: warning: not owned by root: x"

    def reload(self) -> None:
        self.calls.append("reload")


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir()
    write(directory, OLD)
    return directory


def write(directory: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")


def read(directory: Path) -> dict[str, str]:
    return {name: (directory / name).read_text(encoding="utf-8") for name in OLD}


def other_names(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()} - {*OLD, DIRECTORY}


def test_a_plan_is_carried_out_and_postfix_told(config_dir: Path) -> None:
    postfix = FakePostfix(config_dir)
    applied = apply(postfix, ATTACH, ATTACH_ORDER, reload=True)
    assert read(config_dir) == NEW
    assert postfix.calls == ["check", "reload"]
    assert applied.changed == (MASTER_CF, MAIN_CF, FILE_NAME)
    assert applied.reloaded
    assert applied.warnings.endswith("not owned by root: x")
    assert applied.backup is not None
    assert read(applied.backup) == OLD
    assert other_names(config_dir) == {FILE_NAME}


def test_without_reload_postfix_is_not_told(config_dir: Path) -> None:
    postfix = FakePostfix(config_dir)
    assert not apply(postfix, ATTACH, ATTACH_ORDER, reload=False).reloaded
    assert postfix.calls == ["check"]


def test_a_plan_without_change_does_nothing(config_dir: Path) -> None:
    postfix = FakePostfix(config_dir)
    before = {each: each.stat() for each in config_dir.iterdir()}
    assert apply(postfix, Plan(OLD, OLD), ATTACH_ORDER, reload=True) == Applied()
    assert postfix.calls == []
    assert {each: each.stat() for each in config_dir.iterdir()} == before


def test_a_missing_bounce_table_alone_is_written(config_dir: Path) -> None:
    applied = apply(FakePostfix(config_dir), Plan(OLD, OLD, True), ATTACH_ORDER, reload=True)
    assert applied.changed == (FILE_NAME,)
    assert (config_dir / FILE_NAME).stat().st_mode & 0o777 == 0o644


def test_detach_removes_the_bounce_table(config_dir: Path) -> None:
    postfix = FakePostfix(config_dir)
    apply(postfix, ATTACH, ATTACH_ORDER, reload=True)
    apply(postfix, DETACH, DETACH_ORDER, reload=True)
    assert read(config_dir) == OLD
    assert other_names(config_dir) == set()


def test_if_postfix_check_objects_the_old_files_come_back(config_dir: Path) -> None:
    postfix = FakePostfix(config_dir, refuses="gatepost")
    with pytest.raises(
        AttachError, match=r"not like this; .*main\.cf.* are again as they were"
    ) as e:
        apply(postfix, ATTACH, ATTACH_ORDER, reload=True)
    assert "without our change" not in str(e.value)
    assert read(config_dir) == OLD
    assert other_names(config_dir) == set()
    assert "reload" not in postfix.calls
    assert Journal(config_dir).unfinished() is None


def test_if_postfix_check_objects_to_the_old_files_too_it_is_said(config_dir: Path) -> None:
    with pytest.raises(AttachError, match="fails without our change, too"):
        apply(FakePostfix(config_dir, refuses="a = 1"), ATTACH, ATTACH_ORDER, reload=True)


def test_an_interrupt_during_the_check_brings_the_old_files_back(config_dir: Path) -> None:
    class Interrupted(FakePostfix):
        def check(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(Interrupted(config_dir), ATTACH, ATTACH_ORDER, reload=True)
    assert read(config_dir) == OLD


def test_a_rollback_leaves_what_somebody_else_has_written(config_dir: Path) -> None:
    class Edited(FakePostfix):
        def check(self) -> str:
            if not self.calls:
                (self.config_dir / MASTER_CF).write_text("theirs\n")
            return super().check()

    with pytest.raises(AttachError, match=r"main\.cf are again"):
        apply(Edited(config_dir, refuses="gatepost"), ATTACH, ATTACH_ORDER, reload=True)
    assert read(config_dir) == {MAIN_CF: OLD[MAIN_CF], MASTER_CF: "theirs\n"}


def test_a_file_that_changed_after_the_plan_was_made_is_not_replaced(config_dir: Path) -> None:
    write(config_dir, {MAIN_CF: "a = 2\n"})
    with pytest.raises(AttachError, match=r"main\.cf has been changed by somebody else"):
        apply(FakePostfix(config_dir), ATTACH, ATTACH_ORDER, reload=True)
    assert read(config_dir) == {**OLD, MAIN_CF: "a = 2\n"}


def test_a_failed_reload_is_told_and_made_up_for_by_the_next_run(config_dir: Path) -> None:
    class Stubborn(FakePostfix):
        def reload(self) -> None:
            raise PostfixUnavailable("postfix reload: no")

    with pytest.raises(PostfixUnavailable, match="files are in place"):
        apply(Stubborn(config_dir), ATTACH, ATTACH_ORDER, reload=True)
    assert read(config_dir) == NEW
    postfix = FakePostfix(config_dir)
    applied = apply(postfix, Plan(NEW, NEW, True), ATTACH_ORDER, reload=True)
    assert applied.resumed
    assert postfix.calls == ["check", "reload"]
    assert apply(postfix, Plan(NEW, NEW, True), ATTACH_ORDER, reload=True) == Applied()


def test_owner_mode_and_attributes_stay(config_dir: Path) -> None:
    path = config_dir / MAIN_CF
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"mine")
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    apply(FakePostfix(config_dir), ATTACH, ATTACH_ORDER, reload=True)
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert os.getxattr(path, "user.note") == b"mine"


def test_a_symbolic_link_stays_one(config_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.cf"
    (config_dir / MAIN_CF).rename(target)
    (config_dir / MAIN_CF).symlink_to(target)
    apply(FakePostfix(config_dir), ATTACH, ATTACH_ORDER, reload=True)
    assert (config_dir / MAIN_CF).is_symlink()
    assert target.read_text() == NEW[MAIN_CF]


def test_old_backups_are_dropped(config_dir: Path) -> None:
    for _ in range(KEPT_BACKUPS):
        apply(FakePostfix(config_dir), ATTACH, ATTACH_ORDER, reload=True)
        apply(FakePostfix(config_dir), DETACH, DETACH_ORDER, reload=True)
    assert len(list((config_dir / DIRECTORY).iterdir())) == KEPT_BACKUPS


def test_a_backup_is_for_its_owner_only(config_dir: Path) -> None:
    apply(FakePostfix(config_dir), ATTACH, ATTACH_ORDER, reload=True)
    assert (config_dir / DIRECTORY).stat().st_mode & 0o777 == 0o700


# A kill at every step


def steps(directory: Path, begin: Plan, verdict: str, verb: str) -> list[dict[str, str]]:
    """Return what the files hold after a kill at each step in turn, up to the last."""
    text = json.dumps({"old": begin.old, "new": begin.new, "filter_file": begin.filter_file})
    (directory / "plan").write_text(text, encoding="utf-8")
    subprocess.run(
        [sys.executable, str(SCRIPT), str(directory), verdict, verb],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    runs = sorted(
        (each for each in directory.iterdir() if each.is_dir()), key=lambda d: int(d.name)
    )
    found = [read(each) for each in runs]
    for each, present in zip(runs, found, strict=True):
        finish(each, begin, present, verdict, verb)
    return found


def finish(directory: Path, begin: Plan, present: dict[str, str], verdict: str, verb: str) -> None:
    """Run again after the kill, and look at what comes of it."""
    postfix = FakePostfix(directory, refuses="gatepost" if verdict == "refuse" else None)
    again = Plan(present, begin.new, begin.filter_file)
    order = ATTACH_ORDER if verb == "attach" else DETACH_ORDER
    if verdict == "refuse":
        with pytest.raises(AttachError):
            apply(postfix, again, order, reload=True)
        assert read(directory) == begin.old
    else:
        apply(postfix, again, order, reload=True)
        assert read(directory) == begin.new
    assert other_names(directory) <= {FILE_NAME}
    assert (FILE_NAME in other_names(directory)) == (verdict == "accept" and verb == "attach")
    assert not (directory / DIRECTORY / "unfinished").exists()


def mixtures(found: list[dict[str, str]]) -> set[tuple[bool, bool]]:
    """Return which of the files are the attached ones, main.cf first; each must be whole."""
    for present in found:
        for name, text in present.items():
            assert text in {OLD[name], NEW[name]}
    return {
        (present[MAIN_CF] == NEW[MAIN_CF], present[MASTER_CF] == NEW[MASTER_CF])
        for present in found
    }


def test_killed_at_any_step_attach_leaves_whole_files_and_is_finished_next_time(
    tmp_path: Path,
) -> None:
    found = steps(tmp_path, ATTACH, "accept", "attach")
    assert len(found) > 15
    # Never main.cf alone: its map would name services that master.cf does not have.
    assert mixtures(found) == {(False, False), (False, True), (True, True)}


def test_killed_at_any_step_detach_leaves_whole_files_and_is_finished_next_time(
    tmp_path: Path,
) -> None:
    found = steps(tmp_path, DETACH, "accept", "detach")
    assert mixtures(found) == {(True, True), (False, True), (False, False)}


def test_killed_at_any_step_of_a_rollback_the_next_run_ends_with_the_old_files(
    tmp_path: Path,
) -> None:
    found = steps(tmp_path, ATTACH, "refuse", "attach")
    assert (True, True) in mixtures(found)
    assert found[-1] == OLD
