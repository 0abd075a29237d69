"""What a role imports before it reads its configuration: nothing that only a setting calls for.

Each start of a role, and each restart after a crash, waits for it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from gatepost.runtime.command import role_environment

# Each takes as long to import as a third of a role, or longer.
ONLY_IF_ASKED_FOR = {"aiohttp", "fastapi", "psycopg", "pydantic", "redis", "uvicorn"}


@pytest.mark.parametrize("module", ["gatepost.runtime.back", "milters", "policy_server"])
def test_what_only_a_setting_calls_for_is_not_imported(module: str) -> None:
    module = module if module.startswith("gatepost") else f"{module}.__main__"
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=role_environment(),
    )  # fmt: skip
    assert ONLY_IF_ASKED_FOR.isdisjoint(done.stdout.split())
