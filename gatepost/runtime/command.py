"""The command line of a role's process.

Purpose: the core starts the two adapter packages without importing them.
Security: Python's ``-P`` keeps the current directory out of the module search path, so a directory
``milters`` where somebody happens to stand is not run; our own place is named instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import gatepost

MODULES: Mapping[str, str] = {
    "policy": "policy_server",
    "milter": "milters",
    "back": "gatepost.runtime.back",
    "api": "gatepost.runtime.api",
}

_HOME = str(Path(gatepost.__file__).resolve().parents[1])


def role_command(role: str, config: Path) -> list[str]:
    """Return the command that runs a role in the foreground."""
    # Absolute: whoever runs it may stand elsewhere.
    return [sys.executable, "-P", "-m", MODULES[role], "--config", str(config.absolute())]


def role_environment() -> dict[str, str]:
    """Return the environment for that command."""
    path = os.environ.get("PYTHONPATH", "")
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [_HOME, path]))}
