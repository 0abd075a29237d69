"""A role of Gatepost, started as an operator would, for a measurement.

Purpose: measure the real process with its real configuration, with a Postfix directory that is
just complete enough for postconf(1).
Errors: `bench.load.LoadError` if the role does not come up.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.load import LoadError, wait_for
from bench.processes import running

SOCKETS = {"policy": ("policy", "maps"), "milter": ("milter",), "back": ("intake",)}


@dataclass(frozen=True, slots=True)
class Role:
    """A running role.

    Attributes:
        pid: Its process.
        sockets: The directory of its sockets.
    """

    pid: int
    sockets: Path

    def socket(self, name: str) -> str:
        """Return the path of ``policy``, ``maps``, ``milter`` or ``intake``."""
        return str(self.sockets / f"{name}.sock")


def postfix_stub(directory: Path) -> Path:
    """Make the configuration directory of a Postfix that never runs, and return it."""
    queue = directory / "queue"
    (queue / "gatepost").mkdir(parents=True)
    etc = directory / "etc"
    etc.mkdir()
    (etc / "main.cf").write_text(f"queue_directory = {queue}\n", encoding="ascii")
    (etc / "master.cf").write_text("", encoding="ascii")
    return etc


@contextlib.contextmanager
def role(name: str, configuration: Path, sockets: Path | None = None) -> Iterator[Role]:
    """Run one role.

    Args:
        name: ``policy``, ``milter`` or ``back``.
        configuration: The file to start it with.
        sockets: Where its sockets will be; below `postfix_stub` unless said otherwise.
    """
    sockets = sockets or configuration.parent / "postfix" / "queue" / "gatepost"
    command = [sys.executable, "-m", "gatepost", "serve", name, "--config", str(configuration)]
    log = configuration.parent / f"{name}.log"
    with log.open("wb") as output, running(command, stdout=output, stderr=subprocess.STDOUT) as it:
        try:
            for each in SOCKETS[name]:
                wait_for(str(sockets / f"{each}.sock"))
        except LoadError as error:
            raise LoadError(f"{error}; {log.read_text('utf-8', 'replace')[-1000:]}") from None
        yield Role(it.pid, sockets)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Give a directory that is thrown away and that other accounts may enter."""
    with tempfile.TemporaryDirectory(prefix="gpb-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
