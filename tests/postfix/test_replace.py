"""Replacing a file the way Postfix does: locks, remnants, and what is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import AttachError
from gatepost.postfix.replace import create, discard_tmp, replace
from gatepost.postfix.session import alone, read_files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "main.cf"
    made.write_bytes(b"old")
    return made


@pytest.fixture
def rival(path: Path) -> Iterator[int]:
    """Hold the lock that postconf -e holds while it writes."""
    descriptor = os.open(f"{path}.tmp", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_the_new_content_takes_the_place_of_the_old(path: Path) -> None:
    replace(path, b"old", b"new")
    assert path.read_bytes() == b"new"
    assert names(path) == ["main.cf"]


@pytest.mark.usefixtures("rival")
def test_while_somebody_else_writes_it_is_refused(path: Path) -> None:
    with pytest.raises(AttachError, match=r"main\.cf\.tmp is locked"):
        replace(path, b"old", b"new", wait_s=0.05)
    assert path.read_bytes() == b"old"
    assert names(path) == ["main.cf", "main.cf.tmp"]


def test_what_a_killed_process_left_is_used_again(path: Path) -> None:
    remnant = path.with_name("main.cf.tmp")
    remnant.write_bytes(b"half of something longer than the new content")
    remnant.chmod(0o600)
    replace(path, b"old", b"new")
    assert path.read_bytes() == b"new"
    assert names(path) == ["main.cf"]


@pytest.mark.parametrize("kind", ["mode", "link"])
def test_what_was_not_made_by_this_protocol_is_never_written_into(path: Path, kind: str) -> None:
    remnant = path.with_name("main.cf.tmp")
    other = path.with_name("other")
    other.write_bytes(b"precious")
    if kind == "link":
        other.chmod(0o600)
        os.link(other, remnant)
    else:
        remnant.write_bytes(b"x")
        remnant.chmod(0o644)
    replace(path, b"old", b"new")
    assert path.read_bytes() == b"new"
    assert other.read_bytes() == b"precious"
    assert names(path) == ["main.cf", "other"]


def test_a_symbolic_link_in_place_of_the_temporary_file_is_not_followed(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.with_name("main.cf.tmp").symlink_to(target)
    with pytest.raises(AttachError, match="cannot replace"):
        replace(path, b"old", b"new")
    assert not target.exists()


def test_a_file_that_is_not_as_expected_stays(path: Path) -> None:
    with pytest.raises(AttachError, match="changed by somebody else"):
        replace(path, b"other", b"new")
    assert path.read_bytes() == b"old"
    assert names(path) == ["main.cf"]


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AttachError, match="No such file"):
        replace(tmp_path / "main.cf", b"", b"new")


def test_a_file_is_made_with_its_mode(tmp_path: Path) -> None:
    create(tmp_path / "table", b"x", 0o644)
    assert (tmp_path / "table").stat().st_mode & 0o7777 == 0o644
    with pytest.raises(AttachError, match="cannot write"):
        create(tmp_path / "nowhere/table", b"x", 0o644)


def test_a_remnant_is_removed_unless_somebody_uses_it(path: Path) -> None:
    path.with_name("main.cf.tmp").touch(0o600)
    discard_tmp(path)
    assert names(path) == ["main.cf"]


@pytest.mark.usefixtures("rival")
def test_a_file_in_use_is_no_remnant(path: Path) -> None:
    discard_tmp(path)
    assert names(path) == ["main.cf", "main.cf.tmp"]


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path):
        with pytest.raises(AttachError, match="another gatepost attach or detach"), alone(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []
    with alone(tmp_path):
        pass


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(AttachError, match="--postfix-config"):
        read_files(tmp_path)
    with pytest.raises(AttachError, match="cannot open"), alone(tmp_path / "nowhere"):
        pass
