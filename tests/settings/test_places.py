"""Directories that are the system's or Postfix's, and those that may be ours."""

from __future__ import annotations

import pytest

from gatepost.settings import kinds, kinds_store
from gatepost.settings.problems import Rejected

QUEUE = (
    "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved "
    "trace dev etc lib usr"
)


@pytest.mark.parametrize("name", QUEUE.split())
def test_what_postfix_keeps_in_its_queue_directory_is_not_ours(name: str) -> None:
    with pytest.raises(Rejected, match="is a directory of Postfix's own queue directory"):
        kinds.SOCKET_DIR.parse(name)


@pytest.mark.parametrize("name", ["gatepost", "gatepost2", "Private", "private-2", "milters"])
def test_other_names_below_the_queue_directory(name: str) -> None:
    assert kinds.SOCKET_DIR.parse(name) == name


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "///run", "/run/", "/run/.", "/run/gatepost/..", "/var/run", "/var//lib"),
        *("/tmp", "/var/tmp", "/etc", "/usr", "/usr/local", "/home", "/root", "/dev/shm", "/var"),
        *("/var/lib/postfix", "/var/spool/postfix", "/srv", "/opt", "/mnt"),
    ],
)
def test_directories_of_the_system(path: str) -> None:
    with pytest.raises(Rejected, match="belongs to the system"):
        kinds.OWN_DIRECTORY.parse(path)
    with pytest.raises(Rejected, match="which belongs to the system"):
        kinds_store.STORE.parse(f"sqlite:///{path.rstrip('/')}/gatepost.db")


@pytest.mark.parametrize("path", ["/run/gatepost", "/srv/gatepost", "/home/mail/run", "/run/a/b"])
def test_other_directories(path: str) -> None:
    assert kinds.OWN_DIRECTORY.parse(path) == path
    url = f"sqlite:///{path}/gatepost.db"
    assert kinds_store.STORE.parse(url) == url


def test_a_path_that_is_not_absolute_is_told_as_before() -> None:
    with pytest.raises(Rejected, match="is not an absolute path"):
        kinds.OWN_DIRECTORY.parse("run")
