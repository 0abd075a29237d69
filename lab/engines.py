"""What nodes of a fleet share: a Valkey and a PostgreSQL of their own, on one address of the lab.

Limits: data of Valkey is in memory alone, and gone when it is killed.
Errors: `LabError` if one is not installed or does not start.
Security: without passwords; the address is one of the lab.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path

from lab.postgres import PrivatePostgres
from lab.process import Daemon, LabError, run

ADDRESS = "10.98.0.254"
VALKEY_PORT = 6379
POSTGRES_PORT = 5432
_START_S = 15


class Valkey:
    """A Valkey or Redis; a context manager."""

    url = f"valkey://{ADDRESS}:{VALKEY_PORT}"

    def __init__(self, directory: Path) -> None:
        """Name a directory for its files, made if it is missing."""
        self._directory = directory
        self._daemon: Daemon | None = None

    def __enter__(self) -> Valkey:
        """Start it."""
        run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"])
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.kill()

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            LabError: If it does not.
        """
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            raise LabError("neither valkey-server nor redis-server is installed")
        self._directory.mkdir(exist_ok=True)
        options = ["--bind", ADDRESS, "--port", str(VALKEY_PORT), "--protected-mode", "no"]
        options += ["--save", "", "--dir", str(self._directory), "--maxmemory", "64mb"]
        self._daemon = Daemon([program, *options], self._directory / "valkey.log")
        self._daemon.wait_until(_answers, _START_S, "Valkey to answer")

    def kill(self) -> None:
        """Kill it; idempotent."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None


def open_to_nodes(postgres: PrivatePostgres) -> str:
    """Let nodes of the lab into a PostgreSQL that listens on `ADDRESS`; return its URL for them."""
    with (postgres.directory / "data" / "pg_hba.conf").open("a", encoding="ascii") as file:
        file.write("host all all 10.96.0.0/12 trust\n")
    postgres.sql("select pg_reload_conf()")
    return f"postgresql://gatepost@{ADDRESS}:{POSTGRES_PORT}/gatepost?connect_timeout=2"


def _answers() -> bool:
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, VALKEY_PORT), 1) as probe:
        probe.sendall(b"PING\r\n")
        return probe.recv(5) == b"+PONG"
    return False
