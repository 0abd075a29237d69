"""Keys: made, read, added to; tokens outlive the change of a key."""

from __future__ import annotations

import datetime as dt
import os
import pwd
import stat
from pathlib import Path

import pytest

from gatepost.errors import ConfigErrors, MalformedMessage, StartError
from gatepost.feedback.token import (
    MAX_AGE_DAYS,
    MAX_KEY_ID,
    Keyring,
    Purpose,
    Token,
    day_of,
    open_token,
    seal_token,
)
from gatepost.settings.install import KEY_MODE, make_directory, rotate_key, write_new
from gatepost.settings.keyring import build_keyring, format_key_file, new_key_file, rotated
from gatepost.settings.keys import KeyFile
from gatepost.settings.load import read_keys
from gatepost.settings.problems import Report
from gatepost.settings.schema import Section
from gatepost.settings.tree import parse

TODAY = dt.date(2030, 6, 1)
NOW = dt.datetime(2030, 6, 1, 12, tzinfo=dt.UTC).timestamp()
DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def keyring(path: Path, today: dt.date) -> tuple[Keyring, Report]:
    report = Report()
    return build_keyring(read_keys(path, "nobody"), str(path), today, report), report


def test_a_new_file_has_one_key_that_signs(path):
    assert write_new(path, new_key_file(), KEY_MODE)
    keys, report = keyring(path, TODAY)
    assert list(keys.keys) == [keys.current] == [1]
    assert len(keys.keys[1]) == 32
    assert report.errors == report.warnings == []
    assert new_key_file() != new_key_file()


def test_a_token_outlives_the_key_that_signed_it_as_long_as_it_is_valid(path):
    write_new(path, new_key_file(), KEY_MODE)
    old, _ = keyring(path, TODAY)
    # Until the reload, which may be a day later, the old key goes on to sign.
    token = seal_token(Token(7, b"messages", 1, day_of(NOW + DAY)), Purpose.BOUNCE, old)
    assert rotate_key(path, "nobody", TODAY) == 2

    at_once, _ = keyring(path, TODAY)
    assert at_once.current == 2
    last = TODAY + dt.timedelta(days=MAX_AGE_DAYS + 1)
    for today in (TODAY, last):
        keys, _ = keyring(path, today)
        now = NOW + (today - TODAY).days * DAY
        assert open_token(token, Purpose.BOUNCE, keys, now).tenant == 7
    keys, report = keyring(path, last + dt.timedelta(days=1))
    assert list(keys.keys) == [2]
    assert len(report.warnings) == 1
    with pytest.raises(MalformedMessage):
        open_token(token, Purpose.BOUNCE, keys, NOW)


def test_a_further_change_leaves_out_what_has_ended_and_keeps_what_has_not(path):
    write_new(path, new_key_file(), KEY_MODE)
    rotate_key(path, "nobody", TODAY)
    first = read_keys(path, "nobody")
    assert rotate_key(path, "nobody", TODAY + dt.timedelta(days=10)) == 3
    second = read_keys(path, "nobody")
    assert set(second.keys) == {"1", "2", "3"}
    assert second.keys["1"].until == first.keys["1"].until
    assert rotate_key(path, "nobody", TODAY + dt.timedelta(days=65)) == 4
    assert set(read_keys(path, "nobody").keys) == {"2", "3", "4"}


def test_numbers_go_round():
    keys = {MAX_KEY_ID: (bytes(32), None)}
    assert _rotated(format_key_file(keys, MAX_KEY_ID))[1] == 0
    both = keys | {0: (bytes(32), "2031-01-01")}
    assert _rotated(format_key_file(both, MAX_KEY_ID))[1] == 1


def test_no_number_is_left(path):
    keys = {number: (bytes(32), "2031-01-01") for number in range(MAX_KEY_ID + 1)}
    write_new(path, format_key_file(keys, 5), KEY_MODE)
    with pytest.raises(StartError, match="every key number is taken"):
        rotate_key(path, "nobody", TODAY)


def _rotated(text: str) -> tuple[str, int]:
    result = rotated(Section(KeyFile).read(parse(text.encode())[0], []), TODAY)
    assert result is not None
    return result


def test_a_file_keeps_owner_and_mode_when_a_key_is_added(path):
    write_new(path, new_key_file(), KEY_MODE)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    before = path.stat()
    rotate_key(path, "nobody", TODAY)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert list(path.parent.iterdir()) == [path]


def test_a_wrong_file_is_left_as_it_is(path):
    text = "current: 1\nkeys: {1: {secret: 00}}\n"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigErrors, match="too easy to guess"):
        rotate_key(path, "nobody", TODAY)
    assert path.read_text() == text


def test_nothing_is_overwritten(path):
    path.write_text("mine")
    assert not write_new(path, "other", KEY_MODE)
    assert path.read_text() == "mine"


def test_a_link_to_nowhere_is_something_that_is_there(path):
    path.symlink_to("/nonexistent/keys")
    assert not write_new(path, "other", KEY_MODE)
    assert path.is_symlink()


def test_whoever_is_quicker_wins(path, monkeypatch):
    original = os.link

    def slow(source: str, target: Path) -> None:
        path.write_text("quicker")
        original(source, target)

    monkeypatch.setattr("gatepost.settings.install.os.link", slow)
    assert not write_new(path, "slower", KEY_MODE)
    assert path.read_text() == "quicker"
    assert list(path.parent.iterdir()) == [path]


def test_a_key_is_readable_for_nobody_else_at_any_moment(path, monkeypatch):
    modes = []
    original = os.link

    def look(source: Path, target: Path) -> None:
        modes.append(stat.S_IMODE(source.stat().st_mode))
        original(source, target)

    monkeypatch.setattr("gatepost.settings.install.os.link", look)
    old = os.umask(0)
    try:
        write_new(path, "secret", KEY_MODE)
    finally:
        os.umask(old)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_key_belongs_to_the_account_of_the_service(path):
    nobody = pwd.getpwnam("nobody")
    write_new(path, "secret", KEY_MODE, "nobody")
    assert (path.stat().st_uid, path.stat().st_gid) == (nobody.pw_uid, nobody.pw_gid)
    other = path.with_name("other")
    write_new(other, "secret", KEY_MODE, "no-such-account")
    assert other.stat().st_uid == 0


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be written: Not a directory"):
        write_new(tmp_path / "file" / "keys.yaml", "x", KEY_MODE)
    with pytest.raises(StartError, match="cannot be written"):
        make_directory(tmp_path / "file" / "below")
    assert make_directory(tmp_path / "a" / "b")
    assert not make_directory(tmp_path / "a" / "b")
