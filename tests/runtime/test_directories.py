"""``gatepost serve --prepare``: which directories it makes, takes, and leaves alone."""

from __future__ import annotations

import os
import stat

import pytest

from tests.runtime.place import Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize(
    ("setting", "name"),
    [("service.run_dir", "run"), ("postfix.socket_dir", "q/gatepost"), ("state", "state")],
)
def test_a_directory_that_is_not_ours_stops_the_start_and_is_left_as_it_is(
    site: Site, setting: str, name: str
) -> None:
    path = site.directory / name
    path.mkdir()
    path.chmod(0o755)
    (path / "somebody-elses").touch()
    done = site.gatepost("serve", "--prepare")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"gatepost: {path}: is there already and belongs to root, so ")
    assert f"; name a directory in {setting} that is Gatepost's alone, or" in done.stderr
    assert done.stderr.count("\n") == 1
    for role in ("", "policy"):
        process = site.spawn(role)
        assert process.wait() == 1
        assert f"{path}: is there already and belongs to root, so " in process.text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    # The remedy is a command that helps.
    os.system(done.stderr.rstrip().partition(", run: ")[2])
    assert site.gatepost("serve", "--prepare").returncode == 0


def test_what_was_made_before_is_fine_with_files_in_it(site: Site) -> None:
    assert site.gatepost("serve", "--prepare").returncode == 0
    made = (site.run_dir, site.socket_dir, site.database.parent)
    before = {path: path.stat() for path in made}
    for path in made:
        (path / "file").touch()
    assert site.gatepost("serve", "--prepare").returncode == 0
    for path, was in before.items():
        assert (path.stat().st_mode, path.stat().st_gid) == (was.st_mode, was.st_gid)


def test_a_directory_of_another_account_is_left_to_it(site: Site) -> None:
    theirs = site.directory / "q" / "milters"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 1, 1)
    site.configure(
        postfix={"config_dir": str(site.postfix_dir), "group": "root", "socket_dir": "milters"}
    )
    done = site.gatepost("serve", "--prepare")
    assert (done.returncode, theirs.stat().st_uid) == (1, 1)
    assert "q/milters: is there already and belongs to daemon" in done.stderr
