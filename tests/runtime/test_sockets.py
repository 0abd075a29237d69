"""Sockets appear complete or not at all; tests/policy_server/test_listen.py has the rest."""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from gatepost.errors import StartError
from gatepost.runtime.sockets import MAX_PATH_OCTETS, answers, listen_unix, taking_place


def test_nobody_can_connect_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        with taking_place(path, 0o660) as taking:
            listener.bind(str(taking.temporary))
            assert stat.S_IMODE(taking.temporary.stat().st_mode) == 0
            assert not path.exists()
            listener.listen()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert not taking.temporary.exists()
        assert answers(path)
        taking.file.remove()
        assert not path.exists()


@pytest.mark.parametrize("error", [StartError("libmilter cannot"), OSError(28, "No space left")])
def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "s"
    old_mask = os.umask(0o022)
    os.umask(old_mask)

    def fail() -> None:
        with socket.socket(socket.AF_UNIX) as listener, taking_place(path, 0o660) as taking:
            listener.bind(str(taking.temporary))
            raise error

    with pytest.raises(StartError):
        fail()
    assert list(tmp_path.iterdir()) == []
    mask = os.umask(old_mask)
    assert mask == old_mask


def test_a_failure_removes_nothing_of_others(tmp_path: Path) -> None:
    listener, _ = listen_unix(tmp_path / "s", 0o660)
    with pytest.raises(StartError, match="another process answers"):
        listen_unix(tmp_path / "s", 0o660)
    assert answers(tmp_path / "s")
    listener.close()


def test_a_path_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / ("x" * MAX_PATH_OCTETS)
    with pytest.raises(StartError, match="longer than the 107 octets"):
        listen_unix(path, 0o660)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_group_is_set_where_the_directory_does_not_give_it(tmp_path: Path) -> None:
    group = grp.getgrnam("daemon")
    listener, file = listen_unix(tmp_path / "s", 0o660, group="daemon")
    assert file.path.stat().st_gid == group.gr_gid
    listener.close()


def test_a_group_that_may_not_be_set_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    listener, _ = listen_unix(tmp_path / "s", 0o660, group="daemon")
    listener.close()
    assert "socket-group" in caplog.text
    assert "Postfix cannot connect" in caplog.text
