"""A command line loads the command that is asked for, and no other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from gatepost.cli.app import COMMANDS, build
from gatepost.cli.tls import COMMANDS as TLS_COMMANDS


def names(words: list[str]) -> list[str]:
    return list(get_command(build(words)).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [[], ["--help"], ["attch"], ["--version", "check"]])
def test_help_and_mistakes_see_every_command(words: list[str]) -> None:
    assert names(words) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_there_alone(name: str) -> None:
    assert names([name, "--help"]) == [name]


@pytest.mark.parametrize("name", TLS_COMMANDS)
def test_so_is_one_of_a_group(name: str) -> None:
    group = get_command(build(["tls", name])).commands["tls"]  # type: ignore[attr-defined]
    assert list(group.commands) == [name]


def test_what_it_does_not_need_is_not_loaded() -> None:
    program = (
        "import sys; sys.argv = ['gatepost', 'check', '--help']\n"
        "from gatepost.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('aiohttp', 'cryptography', 'dns') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
