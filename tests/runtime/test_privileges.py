"""Directories made as root, and a life without root afterwards."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.errors import StartError
from gatepost.runtime.privileges import (
    Account,
    Directory,
    become,
    find_account,
    find_group,
    group_name,
    prepare,
    user_name,
)

ROOT = Path(__file__).resolve().parents[2]
NOBODY = pwd.getpwnam("nobody")
ME = pwd.getpwuid(os.geteuid())

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

BECOME = """
import os, sys
from pathlib import Path
from gatepost.errors import StartError
from gatepost.runtime.privileges import become, find_account
become(find_account("nobody"))
print(os.getresuid(), os.getresgid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("for good")
become(find_account("nobody"))
try:
    become(find_account("root"))
except StartError as error:
    print(error)
"""


def test_accounts_and_groups() -> None:
    assert find_account("nobody") == Account("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    assert find_account("").uid == os.geteuid()
    with pytest.raises(StartError, match=r"adduser --system --group --no-create-home .* nosuch"):
        find_account("nosuch")
    assert group_name(find_group("nogroup")) == "nogroup"
    assert group_name(4_000_000) == "4000000"
    assert (user_name(NOBODY.pw_uid), user_name(4_000_000)) == ("nobody", "4000000")
    with pytest.raises(StartError, match=r"there is no group nosuch; .* in postfix\.group"):
        find_group("nosuch")


def test_missing_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    before = os.umask(0o077)
    try:
        prepare([Directory(path)], find_account(ME.pw_name))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.stat().st_mode) == (0o750 if os.geteuid() == 0 else 0o700)


@as_root
def test_owner_group_and_mode_are_set_and_then_kept(tmp_path: Path) -> None:
    postfix = grp.getgrnam("daemon").gr_gid
    path = tmp_path / "gatepost"
    wanted = [Directory(path, 0o2750, postfix)]
    for _ in range(2):
        prepare(wanted, find_account("nobody"))
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, postfix)
        assert stat.S_IMODE(found.st_mode) == 0o2750
    # What is made in it belongs to that group.
    (path / "x").touch()
    assert (path / "x").stat().st_gid == postfix


def rights(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


@as_root
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_a_directory_of_roots_with_anything_in_it_is_not_taken(tmp_path: Path, user: str) -> None:
    path = tmp_path / "lib"
    path.mkdir(mode=0o755)
    (path / "dpkg").mkdir()
    before = rights(path)
    group = "nogroup" if user == "nobody" else "root"
    message = (
        f"{path}: is there already and belongs to root, so its owner and mode are left alone; "
        "name a directory in state that is Gatepost's alone, or if this one is meant to be, run: "
        f"chown {user}:{group} {path} && chmod 0750 {path}"
    )
    with pytest.raises(StartError, match=re.escape(message)):
        prepare([Directory(path, setting="state")], find_account(user))
    assert rights(path) == before


@as_root
def test_a_directory_of_somebody_else_is_not_taken_even_if_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.mkdir()
    os.chown(path, pwd.getpwnam("daemon").pw_uid, -1)
    path.chmod(0o700)
    before = rights(path)
    with pytest.raises(StartError, match="is there already and belongs to daemon"):
        prepare([Directory(path)], find_account("nobody"))
    assert rights(path) == before


@as_root
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_an_empty_directory_that_root_made_for_us_is_taken(tmp_path: Path, user: str) -> None:
    path = tmp_path / "made"
    path.mkdir(mode=0o755)
    account = find_account(user)
    prepare([Directory(path)], account)
    assert rights(path) == (account.uid, account.gid, 0o750)
    (path / "gatepost.db").touch()
    prepare([Directory(path)], account)


@as_root
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_one_directory_may_lie_in_another(tmp_path: Path, user: str) -> None:
    inner, outer = tmp_path / "gatepost" / "run", tmp_path / "gatepost"
    account = find_account(user)
    for _ in range(2):
        prepare([Directory(inner), Directory(outer)], account)
        assert rights(inner) == rights(outer) == (account.uid, account.gid, 0o750)


@as_root
def test_a_directory_of_ours_gets_its_mode_again(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "milter.ctl").touch()
    os.chown(path, NOBODY.pw_uid, 0)
    prepare([Directory(path)], find_account("nobody"))
    assert rights(path) == (NOBODY.pw_uid, NOBODY.pw_gid, 0o750)


@as_root
def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(StartError, match="cannot make this directory"):
        prepare([Directory(tmp_path / "link")], find_account("nobody"))
    assert target.stat().st_uid == 0


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="file: is in the way and is no directory"):
        prepare([Directory(tmp_path / "file")], find_account(""))
    with pytest.raises(StartError, match="start as root once, or make it by hand"):
        prepare([Directory(tmp_path / "file" / "below")], find_account(""))


def test_becoming_who_we_are_is_nothing() -> None:
    become(find_account(ME.pw_name))


@as_root
def test_root_is_left_for_good() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BECOME], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    uids, rest, refused = done.stdout.split("\n")[:3]
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    assert uids == f"({uid}, {uid}, {uid}) ({gid}, {gid}, {gid}) [{gid}]"
    assert rest == "for good"
    assert refused.startswith("started as user nobody; start as root or as root")
