"""sd_notify, from both sides."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.runtime.notify import (
    NotifyListener,
    notify,
    notify_ready,
    notify_reloading,
    notify_stopping,
)


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifyListener]:
    opened = NotifyListener(tmp_path / "notify.sock")
    monkeypatch.setenv("NOTIFY_SOCKET", str(opened.path))
    yield opened
    opened.close()


def test_what_is_said_arrives_with_who_said_it(listener: NotifyListener) -> None:
    assert notify_ready("three tenants")
    assert notify_reloading()
    assert notify_stopping()
    assert select.select([listener], [], [], 10)[0] == [listener]
    assert listener.receive() == (os.getpid(), {"READY": "1", "STATUS": "three tenants"})
    heard = listener.receive()
    assert heard is not None
    assert heard[1]["RELOADING"] == "1"
    assert heard[1]["MONOTONIC_USEC"].isdecimal()
    assert listener.receive() == (os.getpid(), {"STOPPING": "1"})
    assert listener.receive() is None


def test_only_we_may_write_to_it(listener: NotifyListener) -> None:
    assert listener.path.stat().st_mode & 0o777 == 0o600


def test_without_anybody_who_listens_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    assert not notify("READY=1")


def test_an_abstract_address_works_as_systemd_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gatepost-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_a_stale_socket_is_replaced_and_the_own_one_removed(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left_over:
        left_over.bind(str(path))
    NotifyListener(path).close()
    assert not path.exists()
