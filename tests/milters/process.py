"""A real milter in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.milter_client import MilterConnection

ROOT = Path(__file__).resolve().parents[2]


class Milter:
    """The process that `tests/milters/server.py` is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.milters.server", str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready\n"

    def tell(self, do: str, name: str = "") -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps({"do": do, "name": name}), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def report(self) -> dict[str, Any]:
        """Return what has happened since the last `tell("reset")`, when no message is in hand."""
        return self.tell("report")

    def connect(self) -> MilterConnection:
        return MilterConnection(self.path)

    def stop(self) -> int:
        self._process.communicate(timeout=30)
        return self._process.returncode

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
