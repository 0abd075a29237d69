"""A place where real roles can run: configuration, directories, and a Postfix that never does."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import select
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from gatepost.runtime.command import role_command, role_environment
from gatepost.runtime.control import ask
from gatepost.runtime.notify import NotifyListener
from gatepost.runtime.paths import control_path
from tests.settled import write_settled

TIMEOUT_S = 30


class Process:
    """One process of ours: what it says on standard error, and when it says that it is ready."""

    def __init__(self, command: list[str], directory: Path) -> None:
        # Short, as the path of a socket has to be.
        self._listener = NotifyListener(Path(tempfile.mktemp(dir=directory)))
        # A process that leaves root has to reach it, as it reaches systemd's.
        self._listener.path.chmod(0o666)
        self.log = directory / f"log-{self._listener.path.name}"
        environment = role_environment() | {"NOTIFY_SOCKET": str(self._listener.path)}
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, stdout=log, env=environment
            )
        self.pid = self._popen.pid
        self._ended = os.pidfd_open(self.pid)

    def wait_ready(self) -> None:
        """Wait until it says READY=1, at its start or after a reload."""
        while True:
            ready, _, _ = select.select([self._listener, self._ended], [], [], TIMEOUT_S)
            while (heard := self._listener.receive()) is not None:
                if heard[1].get("READY") == "1":
                    return
            assert self._ended not in ready, f"it has ended: {self.text()}"
            assert ready, f"not ready in time: {self.text()}"

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self) -> int:
        return self._popen.wait(TIMEOUT_S)

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def close(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        os.close(self._ended)
        self._listener.close()


class Site:
    """Directories and files in one place."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.postfix_dir = directory / "pf"
        self.socket_dir = directory / "q" / "gatepost"
        self.run_dir = directory / "run"
        self.config = directory / "gatepost.yaml"
        self.database = directory / "state" / "gatepost.db"
        self._processes: list[Process] = []
        self.postfix_dir.mkdir()
        (directory / "q").mkdir()
        self.main_cf = f"compatibility_level = 3.6\nqueue_directory = {directory}/q\n"
        write_settled(self.postfix_dir / "main.cf", self.main_cf)
        write_settled(self.postfix_dir / "master.cf", "")
        keys = directory / "keys.yaml"
        keys.write_text(f"current: 1\nkeys: {{1: {{secret: {'ab' * 32}}}}}\n")
        keys.chmod(0o600)
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Write a configuration of one tenant, with changes at the top."""
        whole: dict[str, Any] = {
            "postfix": {
                "config_dir": str(self.postfix_dir),
                "group": grp.getgrgid(os.getegid()).gr_name,
            },
            "service": {
                "user": pwd.getpwuid(os.geteuid()).pw_name,
                "run_dir": str(self.run_dir),
                "grace": "5s",
            },
            "log": {"to": "stderr"},
            "state": f"sqlite:///{self.database}",
            "metrics": "off",
            "platform": {"sender_id": "examplesp"},
            "tenants": {"acme": {"logins": ["acme"], "senders": ["acme.example"]}},
        }
        self.service = whole["service"]
        self.config.write_text(yaml.safe_dump(whole | changes))

    def spawn(self, role: str) -> Process:
        """Start a role, or with "" the supervisor, and return at once."""
        command = role_command(role or "policy", self.config)
        if not role:
            command[command.index("policy_server")] = "gatepost"
            command.insert(command.index("gatepost") + 1, "serve")
        process = Process(command, self.directory)
        self._processes.append(process)
        return process

    def start(self, *roles: str) -> Process:
        """Start roles, and return the last one when all are ready."""
        for process in [self.spawn(role) for role in roles]:
            process.wait_ready()
        return process

    def gatepost(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this configuration."""
        command = role_command("policy", self.config)
        at = command.index("policy_server")
        command[at : at + 1] = ["gatepost", *arguments]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=role_environment(),
            timeout=TIMEOUT_S,
            check=False,
        )

    def status(self, role: str) -> dict[str, Any]:
        return ask(control_path(self.run_dir, role), "status")

    def connect(self, name: str) -> socket.socket:
        """Return a connection to one of the sockets that Postfix uses."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(self.socket_dir / name))
        return connection

    def close(self) -> None:
        for process in self._processes:
            process.close()
        # What a killed supervisor has left behind.
        for path in self.run_dir.glob("*.lock"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)
