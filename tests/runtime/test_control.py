"""The control socket: asked well, asked badly, and not asked at all."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StartError
from gatepost.runtime import control
from gatepost.runtime.control import ControlServer, ask

Serve = Callable[..., Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server with handlers and return its path; it is closed at the end."""
    with contextlib.ExitStack() as stack:

        def serve(**handlers: Callable[[], Mapping[str, Any]]) -> Path:
            server = ControlServer(tmp_path / "role.ctl", handlers)
            stack.callback(server.close)
            return server.path

        yield serve


def raw(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_command_is_answered(serve: Serve) -> None:
    path = serve(status=lambda: {"pid": 7}, reload=lambda: {"ok": False, "errors": ["x"]})
    assert ask(path, "status") == {"ok": True, "pid": 7}
    assert ask(path, "reload") == {"ok": False, "errors": ["x"]}
    assert path.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize(
    "request_line",
    [
        b"what\n",
        b"[]\n",
        b"7\n",
        b'{"command": "halt"}\n',
        b'{"command": []}\n',
        b"[" * 4000 + b"\n",
    ],
)
def test_nonsense_is_answered_with_what_is_known(serve: Serve, request_line: bytes) -> None:
    path = serve(status=dict, reload=dict)
    reply = json.loads(raw(path, request_line))
    assert reply["ok"] is False
    assert "commands: status, reload" in reply["error"]
    assert ask(path, "status") == {"ok": True}


@pytest.mark.parametrize("data", [b"", b'{"command": "status"}', b"x" * 5000 + b"\n"])
def test_what_is_no_line_or_too_long_gets_no_answer(serve: Serve, data: bytes) -> None:
    path = serve(status=dict)
    with contextlib.suppress(ConnectionError):
        assert raw(path, data) == b""
    assert ask(path, "status") == {"ok": True}


def test_a_handler_that_fails_is_told_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Mapping[str, Any]:
        raise RuntimeError("broken")

    path = serve(status=fail)
    assert ask(path, "status") == {"ok": False, "error": "RuntimeError: broken"}
    assert [record.message for record in caplog.records] == ["control-failed"]


def test_a_slow_answer_does_not_hold_up_others(serve: Serve) -> None:
    go = threading.Event()

    def slow() -> Mapping[str, Any]:
        assert go.wait(10)
        return {}

    path = serve(reload=slow, status=lambda: {"pid": 1})
    with pytest.raises(StartError, match=r"no answer within 0\.01 s"):
        ask(path, "reload", timeout_s=0.01)
    assert ask(path, "status")["pid"] == 1
    go.set()


def test_more_connections_than_allowed_are_closed_and_room_comes_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_CONNECTIONS", 2)
    path = serve(status=dict)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            idle.connect(str(path))
        with pytest.raises(StartError):
            ask(path, "status")
    # Those that left are noticed when their threads read; until then there may be no room.
    for _ in range(1000):
        with contextlib.suppress(StartError):
            assert ask(path, "status") == {"ok": True}
            return
    pytest.fail("no room came back")


def test_a_large_answer_arrives_whole(serve: Serve) -> None:
    text = "x" * 5_000_000
    assert ask(serve(metrics=lambda: {"text": text}), "metrics")["text"] == text


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^not running$"):
        ask(tmp_path / "none.ctl", "status")
    dead = tmp_path / "dead.ctl"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    with pytest.raises(StartError, match=r"^not running$"):
        ask(dead, "status")


@pytest.mark.parametrize("answer", [b"", b"no json\n", b"[]\n", b'{"ok": tr'])
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "odd.ctl"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(StartError, match="answer"):
            ask(path, "status")
        thread.join()


def test_closed_it_is_gone(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "role.ctl", {})
    server.close()
    assert not server.path.exists()
    with pytest.raises(StartError, match="not running"):
        ask(server.path, "status")


def test_a_second_server_does_not_take_the_place(serve: Serve) -> None:
    path = serve(status=dict)
    with pytest.raises(StartError, match="another process answers there"):
        ControlServer(path, {})
    assert ask(path, "status") == {"ok": True}


def test_an_accept_that_fails_is_logged_and_tried_again(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    failed = threading.Event()
    real = socket.socket.accept

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        if not failed.is_set():
            failed.set()
            raise OSError(24, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    path = serve(status=dict)
    assert failed.wait(10)
    assert ask(path, "status") == {"ok": True}
    assert "control-accept" in caplog.text
