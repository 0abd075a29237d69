"""Asking sockets: who answers in the right protocol, and who does not."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatepost.postfix import reach
from gatepost.postfix.reach import unanswered
from gatepost.postfix.spec import AttachSpec, Hook

if TYPE_CHECKING:
    from tests.postfix.conftest import Roles

ALL = AttachSpec(frozenset(Hook))
NAMES = ("milter.sock", "policy.sock", "maps.sock")


@pytest.fixture
def queue() -> Iterator[Path]:
    # A socket's path has at most 107 octets.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_roles_that_answer(queue: Path, roles: Callable[[Path], Roles]) -> None:
    role = roles(queue)
    assert unanswered(ALL, queue) == []
    role.answer = lambda _name, _key: "TEMP the database is down"
    assert unanswered(ALL, queue) == []
    # The question counts as no message and no recipient.
    assert role.requests == []


@pytest.mark.parametrize("name", NAMES)
def test_a_role_that_is_gone(name: str, queue: Path, roles: Callable[[Path], Roles]) -> None:
    roles(queue).stop(name)
    (sentence,) = unanswered(ALL, queue)
    assert sentence == f"{queue}/gatepost/{name}: nothing listens there"


def test_only_the_sockets_that_postfix_will_use_are_asked(queue: Path) -> None:
    assert unanswered(AttachSpec(frozenset()), queue) == []
    (sentence,) = unanswered(AttachSpec(frozenset({Hook.MILTER})), queue)
    assert "milter.sock" in sentence


def greet(listener: socket.socket) -> None:
    """Be a server of another protocol."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"220 hello\r\n")
        connection.recv(4096)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("milter.sock", "no milter"),
        ("policy.sock", "no policy service"),
        ("maps.sock", "no socketmap server"),
    ],
)
def test_somebody_else_behind_a_socket(
    name: str, expected: str, queue: Path, roles: Callable[[Path], Roles]
) -> None:
    role = roles(queue)
    role.stop(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(role.directory / name))
        listener.listen(1)
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        (sentence,) = unanswered(ALL, queue)
        thread.join()
    assert sentence == f"{role.directory}/{name}: what answers there is {expected}"


def test_a_socket_file_that_a_killed_process_left(queue: Path) -> None:
    (queue / "gatepost").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(queue / "gatepost/milter.sock"))
    (sentence,) = unanswered(AttachSpec(frozenset({Hook.MILTER})), queue)
    assert sentence.endswith("nothing listens there")


def test_somebody_who_never_answers(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "TIMEOUT_S", 0.05)
    (queue / "gatepost").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(queue / "gatepost/milter.sock"))
        silent.listen(1)
        (sentence,) = unanswered(AttachSpec(frozenset({Hook.MILTER})), queue)
    assert sentence.endswith("no answer within 0.05 s")
