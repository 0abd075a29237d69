"""The sockets: appear complete, never taken from a living process, removed only if still ours."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from gatepost.errors import StartError
from gatepost.wire.netstring import encode_netstring
from gatepost.wire.socketmap import Ok
from policy_server.listen import open_socket
from policy_server.maps import maps
from policy_server.serve import Endpoint, serve


def test_mode_and_backlog(tmp_path: Path) -> None:
    own = open_socket(tmp_path / "s", group=None)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    own.listener.close()


def test_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    open_socket(path, group=None).listener.close()
    own = open_socket(path, group=None)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    own.listener.close()


def test_socket_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    own = open_socket(path, group=None)
    with pytest.raises(StartError, match="another process answers there"):
        open_socket(path, group=None)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    own.listener.close()


def test_a_full_backlog_belongs_to_a_living_process(tmp_path: Path) -> None:
    path = tmp_path / "s"
    own = open_socket(path, group=None, backlog=0)
    waiting = []
    for _ in range(3):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(str(path))
        except BlockingIOError:
            client.close()
            break
        waiting.append(client)
    with pytest.raises(StartError, match="another process answers there"):
        open_socket(path, group=None)
    for client in waiting:
        client.close()
    own.listener.close()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_is_no_socket_is_not_removed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    path.write_text("precious") if what == "file" else path.mkdir()
    with pytest.raises(StartError, match="is no socket"):
        open_socket(path, group=None)
    assert path.exists()


def test_missing_directory_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot listen: No such file or directory"):
        open_socket(tmp_path / "none" / "s", group=None)


def test_remove_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "s"
    old = open_socket(path, group=None)
    old.listener.close()
    new = open_socket(path, group=None)
    old.remove()
    assert path.exists()
    new.remove()
    assert not path.exists()
    new.listener.close()


def test_stop_answers_what_waits_in_the_backlog(tmp_path: Path) -> None:
    """A connection that the kernel has taken for us is answered although nobody accepted it yet."""

    async def scenario() -> None:
        path = tmp_path / "s"
        own = open_socket(path, group=None)
        loop = asyncio.get_running_loop()
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(str(path))
        client.send(encode_netstring(b"map key"))
        stop = asyncio.Event()
        stop.set()
        await serve([Endpoint(own, maps(lambda _: Ok("yes"), lambda _: None))], stop, 5)
        assert await loop.sock_recv(client, 100) == encode_netstring(b"OK yes")
        assert await loop.sock_recv(client, 100) == b""
        assert not path.exists()
        client.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
