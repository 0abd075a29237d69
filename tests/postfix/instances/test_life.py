"""What is done to the directories of an instance, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.instances.apart import lanes_present
from gatepost.postfix.instances.life import (
    Change,
    bring_up,
    change_of,
    give_back,
    take_away,
    waiting,
)
from gatepost.postfix.instances.place import MARK, Place
from gatepost.postfix.plan import MAIN_CF, MASTER_CF

NEW = {MAIN_CF: f"{MARK}, new\n", MASTER_CF: "new\n"}


class Commands:
    """Stands in for Postfix's commands."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.runs = False
        self.fails = ""

    def __call__(self, name: str) -> None:
        self.done.append(name)
        if name == self.fails:
            raise PostfixUnavailable(f"{name} fails")
        if name in {"start", "stop"}:
            self.runs = name == "start"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands()
    for name in ("check", "start", "stop", "reload", "flush"):
        monkeypatch.setattr(PostfixCommands, name, lambda _self, name=name: found(name))
    monkeypatch.setattr(PostfixCommands, "running", lambda _self: found.runs)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("burst", *(tmp_path / f"{name}-gp-burst" for name in ("etc", "queue", "data")))


def put(place: Place, queue: str, name: str = "4AAAA") -> None:
    directory = place.queue_directory / queue / "4"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text("mail")


def test_it_is_made_checked_and_started_once(place: Place, commands: Commands) -> None:
    before = os.umask(0o077)
    try:
        bring_up(change_of(place, NEW), "root", run=True)
    finally:
        os.umask(before)
    assert commands.done == ["check", "start"]
    assert (place.config_dir / MAIN_CF).read_text() == NEW[MAIN_CF]
    directories = (place.config_dir, place.queue_directory, place.data_directory)
    assert [each.stat().st_mode & 0o777 for each in directories] == [0o755, 0o755, 0o700]
    assert (place.config_dir / MAIN_CF).stat().st_mode & 0o777 == 0o644
    assert change_of(place, NEW).changed == ()
    bring_up(change_of(place, NEW), "root", run=True)
    assert commands.done == ["check", "start"], "nothing to do a second time"
    assert lanes_present(place.config_dir.with_name("etc")) == ("burst",)


def test_nobody_may_read_more_there_than_in_the_main_instance(
    place: Place, commands: Commands
) -> None:
    main = place.config_dir.with_name("etc")
    main.mkdir()
    for name, mode in ((MAIN_CF, 0o644), (MASTER_CF, 0o600)):
        (main / name).write_text("")
        (main / name).chmod(mode)
    bring_up(change_of(place, NEW), "root", run=False)
    modes = [(place.config_dir / name).stat().st_mode & 0o777 for name in (MAIN_CF, MASTER_CF)]
    assert modes == [0o644, 0o600]
    assert commands.done == ["check"]


def test_one_that_does_not_run_is_started_and_one_that_was_half_removed_is_whole_again(
    place: Place, commands: Commands
) -> None:
    assert bring_up(change_of(place, NEW), "root", run=True)
    assert not bring_up(change_of(place, NEW), "root", run=True)
    commands.runs = False
    assert bring_up(change_of(place, NEW), "root", run=True)
    commands("stop")
    place.queue_directory.rmdir()
    commands.done.clear()
    assert not bring_up(change_of(place, NEW), "root", run=False)
    assert place.queue_directory.exists()
    assert commands.done == ["check"]


def test_a_change_is_a_reload_and_one_that_fails_is_taken_back(
    place: Place, commands: Commands
) -> None:
    bring_up(change_of(place, NEW), "root", run=True)
    commands.done.clear()
    changed = {**NEW, MASTER_CF: "changed\n"}
    bring_up(change_of(place, changed), "root", run=True)
    assert commands.done == ["check", "reload"]
    commands.fails = "check"
    with pytest.raises(AttachError, match="lane burst could not be brought up: check fails"):
        bring_up(change_of(place, NEW), "root", run=True)
    assert (place.config_dir / MASTER_CF).read_text() == "changed\n"


def test_one_that_cannot_be_made_leaves_nothing_behind(place: Place, commands: Commands) -> None:
    commands.fails = "start"
    with pytest.raises(AttachError, match="start fails"):
        bring_up(change_of(place, NEW), "root", run=True)
    assert not place.config_dir.exists()
    assert not place.queue_directory.exists()


def test_what_attach_has_not_made_is_left_alone(place: Place) -> None:
    place.config_dir.mkdir()
    (place.config_dir / MAIN_CF).write_text("myhostname = x\n")
    with pytest.raises(AttachError, match="attach has not made it"):
        change_of(place, NEW)
    with pytest.raises(AttachError, match="attach has not made it"):
        take_away(place)
    assert lanes_present(place.config_dir.with_name("etc")) == ()


def test_a_queue_that_somebody_else_has_there_is_not_taken(place: Place) -> None:
    place.queue_directory.mkdir()
    assert change_of(place, NEW).changed == (MAIN_CF, MASTER_CF), "one that is empty is nobody's"
    put(place, "deferred")
    with pytest.raises(AttachError, match="queue-gp-burst is there and attach has not made it"):
        change_of(place, NEW)


def test_mail_in_any_queue_keeps_it(place: Place, commands: Commands) -> None:
    bring_up(change_of(place, NEW), "root", run=True)
    for number, queue in enumerate(("maildrop", "incoming", "active", "deferred", "hold"), 1):
        put(place, queue)
        assert waiting(place) == number
        assert take_away(place) == number
    assert commands.runs, "it goes on"
    assert place.config_dir.exists()


def test_an_empty_one_is_stopped_and_removed(place: Place, commands: Commands) -> None:
    bring_up(change_of(place, NEW), "root", run=True)
    (place.queue_directory / "defer").mkdir()
    (place.queue_directory / "defer" / "4AAAA").write_text("why it waited once")
    assert take_away(place) == 0
    assert not commands.runs
    assert not any(
        each.exists() for each in (place.config_dir, place.queue_directory, place.data_directory)
    )
    assert take_away(place) == 0


def test_it_gives_back_until_it_is_empty_and_waits_for_nothing_on_hold(
    place: Place, commands: Commands
) -> None:
    bring_up(change_of(place, NEW), "root", run=True)
    put(place, "deferred")
    put(place, "hold", "4BBBB")
    commands.done.clear()
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            (place.queue_directory / "deferred/4/4AAAA").unlink()

    leaving = Change(place, NEW, {**NEW, MASTER_CF: "without services\n"})
    assert give_back(leaving, 60.0, clock=lambda: sum(slept), sleep=sleep) == 1
    assert commands.done == ["reload", "flush"]
    assert (place.config_dir / MASTER_CF).read_text() == "without services\n"


def test_it_waits_no_longer_than_told(place: Place, commands: Commands) -> None:
    bring_up(change_of(place, NEW), "root", run=False)
    put(place, "deferred")
    slept: list[float] = []
    left = give_back(Change(place, NEW, NEW), 5.0, clock=lambda: sum(slept), sleep=slept.append)
    assert left == 1
    assert 5.0 <= sum(slept) < 5.5
    assert commands.done == ["check", "start", "flush", "flush", "flush"]
