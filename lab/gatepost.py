"""Gatepost for one private Postfix: configuration, processes and commands.

Purpose: run what an administrator runs, by the same command line: ``gatepost serve``, ``attach``,
``reload``; and kill what a crash would kill.
Format: `directory` gets ``gatepost.yaml``, ``keys.yaml``, ``state/``,
``run/`` and ``log``.
Errors: `LabError` with what the command or the log says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gatepost.errors import StartError
from gatepost.postfix.spec import INTAKE_SOCKET
from gatepost.runtime.control import ask
from gatepost.runtime.paths import ROLES, SOCKETS, control_path
from lab.postfix import PrivatePostfix
from lab.process import Daemon, LabError, accepts, wait_for_exit, wait_until

_START_S = 30
_COMMAND_S = 60


class Gatepost:
    """Gatepost beside one Postfix; a context manager that starts and stops its processes."""

    def __init__(
        self,
        directory: Path,
        postfix: PrivatePostfix,
        configuration: Mapping[str, Any],
        *,
        user: str = "nobody",
    ) -> None:
        """Write the configuration and its keys.

        Args:
            directory: For all files; made if it is missing.
            postfix: The Postfix to attach to.
            configuration: What gatepost.yaml is to say, beside paths, which are set here.
            user: Account of the processes.
        """
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        self.directory = directory
        self.postfix = postfix
        self.config = directory / "gatepost.yaml"
        self.log = directory / "log"
        self.run_dir = directory / "run"
        self._user = user
        self._takes_returns = False
        # By role; the supervisor, which runs all of them, under the name "".
        self._daemons: dict[str, Daemon] = {}
        keys = directory / "keys.yaml"
        if not keys.exists():
            secret = os.urandom(32).hex()
            keys.write_text(f'current: 1\nkeys:\n  1: {{secret: "{secret}"}}\n', encoding="ascii")
            keys.chmod(0o600)
            shutil.chown(keys, user)
        self.configure(configuration)

    def __enter__(self) -> Gatepost:
        """Start all processes."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all processes."""
        self.stop()

    def configure(self, configuration: Mapping[str, Any]) -> None:
        """Write gatepost.yaml anew; call `reload` afterwards."""
        whole: dict[str, Any] = {
            "postfix": {"config_dir": str(self.postfix.config_dir)},
            "service": {"user": self._user, "run_dir": str(self.run_dir), "grace": "5s"},
            "log": {"to": "stderr"},
            "state": f"sqlite:///{self.directory}/state/gatepost.db",
            "metrics": "off",
            "keys": "keys.yaml",
            "feedback": {"intake_dir": str(self.directory / "intake")},
        }
        for name, value in configuration.items():
            whole[name] = {**whole[name], **value} if isinstance(whole.get(name), dict) else value
        platform = whole.get("platform", {})
        self._takes_returns = bool(platform.keys() & {"bounce_domain", "feedback_domain"})
        self.write(yaml.safe_dump(whole, sort_keys=False))

    def write(self, text: str) -> None:
        """Write gatepost.yaml as it is given, also if it makes no sense."""
        temporary = self.config.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.rename(self.config)

    def start(self, *roles: str) -> None:
        """Start ``gatepost serve`` and return when all roles answer.

        Args:
            roles: Start these as processes of their own, ``gatepost serve ROLE``, which nobody
                starts again when they die; without any, all under the supervisor, which does.

        Raises:
            LabError: If they do not.
        """
        for role in roles or ("",):
            if role in self._daemons:
                # One that was killed is collected here.
                self._daemons.pop(role).stop()
            arguments = ["serve", role] if role else ["serve"]
            daemon = Daemon([*_command(), *arguments, "--config", self.config], self.log)
            self._daemons[role] = daemon
        for role in roles or ROLES:
            daemon = self._daemons[role if roles else ""]
            daemon.wait_until(lambda: self.answers(role), _START_S, f"the role {role} to answer")  # noqa: B023

    def stop(self) -> None:
        """Stop everything that `start` has started; idempotent."""
        while self._daemons:
            _, daemon = self._daemons.popitem()
            daemon.stop(15)

    @property
    def supervised(self) -> bool:
        """Return whether ``gatepost serve`` runs, which starts again what was killed."""
        return "" in self._daemons and self._daemons[""].running

    def answers(self, role: str) -> bool:
        """Tell whether a role answers on its control socket, and listens where Postfix asks it."""
        directory = self.postfix.queue_dir / "gatepost"
        sockets = SOCKETS[role]
        if role == "back" and self._takes_returns:
            sockets += (INTAKE_SOCKET,)
        return self.pid(role) is not None and all(accepts(directory / name) for name in sockets)

    def answering(self) -> bool:
        """Tell whether every role answers."""
        return all(map(self.answers, ROLES))

    def pid(self, role: str) -> int | None:
        """Return the process id of a role, or None if it does not answer."""
        try:
            return int(ask(control_path(self.run_dir, role), "status")["pid"])
        except (StartError, KeyError, ValueError):
            return None

    def kill(self, role: str) -> None:
        """Kill a role as a crash would, and return when it is gone.

        Raises:
            LabError: If it does not run.
        """
        pid = self.pid(role)
        if pid is None:
            raise LabError(f"the role {role} does not run")
        os.kill(pid, signal.SIGKILL)
        wait_for_exit(pid, 5)

    def wait_answering(self) -> None:
        """Wait until every role answers.

        Raises:
            LabError: If one does not.
        """
        wait_until(self.answering, _START_S, "all roles of Gatepost to answer")

    # Commands

    def command(self, *arguments: str, status: int = 0) -> str:
        """Run a command of Gatepost and return what it printed, standard error included.

        Args:
            arguments: The command with its options; ``--config`` is added.
            status: The exit status that it must have.

        Raises:
            LabError: If it has another one.
        """
        out, errors = self._run(arguments, status)
        return out + errors

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run a command with ``--json`` and return the document."""
        return json.loads(self._run([*arguments, "--json"], status)[0])

    def attach(self, *arguments: str) -> str:
        """Attach, and return when Postfix works by the new configuration."""
        return self._change_postfix("attach", *arguments)

    def detach(self, *arguments: str) -> str:
        """Detach, and return when Postfix works by the new configuration."""
        return self._change_postfix("detach", *arguments)

    def reload(self, status: int = 0) -> str:
        """Run ``gatepost reload``."""
        return self.command("reload", status=status)

    def log_lines(self) -> list[str]:
        """Return what the processes logged."""
        return self.log.read_text("utf-8", "replace").splitlines()

    def _change_postfix(self, *arguments: str) -> str:
        with self.postfix.settling():
            printed = self.command(*arguments, "--no-reload")
        if "--dry-run" not in arguments:
            self.postfix.reload()
        return printed

    def _run(self, arguments: Sequence[str], status: int) -> tuple[str, str]:
        done = subprocess.run(
            [*_command(), *arguments, "--config", str(self.config)],
            capture_output=True,
            timeout=_COMMAND_S,
            check=False,
        )
        out, errors = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
        if done.returncode != status:
            raise LabError(
                f"gatepost {' '.join(arguments)}: status {done.returncode}: {out}{errors}"
            )
        return out, errors


def _command() -> list[str]:
    return [sys.executable, "-m", "gatepost"]
