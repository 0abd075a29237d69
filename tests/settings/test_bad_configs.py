"""Every kind of mistake, with all that is said about it; see tests/bad_configs/README.md."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gatepost.errors import ConfigErrors
from gatepost.settings import Loader

CASES = sorted(
    path for path in (Path(__file__).parents[1] / "bad_configs").iterdir() if path.is_dir()
)
KEYS = f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n"
NOT_COPIED = ("expected", "setup")


def prepare(case: Path, directory: Path) -> None:
    """Make a configuration as it would be on a host."""
    shutil.copytree(case, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    keys = directory / "keys.yaml"
    if not keys.exists():
        keys.write_text(KEYS)
    keys.chmod(0o600)
    setup = case / "setup"
    for line in setup.read_text().splitlines() if setup.exists() else ():
        _set_up(*line.split(), directory=directory)


def _set_up(verb: str, *words: str, directory: Path) -> None:
    path = directory / words[-1]
    match verb:
        case "mode":
            path.chmod(int(words[0], 8))
        case "owner":
            os.chown(path, int(words[0]), -1)
        case "group":
            os.chown(path, -1, int(words[0]))
        case "remove":
            path.unlink()
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(directory / "nowhere")
        case _:
            raise AssertionError(verb)


def told() -> list[str]:
    """Return what is said about the configuration in the current directory."""
    try:
        warnings, errors = Loader(Path("gatepost.yaml")).load().warnings, ()
    except ConfigErrors as error:
        warnings, errors = error.warnings, error.errors
    return [*(f"warning: {each}" for each in warnings), *map(str, errors)]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_what_is_said(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_root = (case / "setup").exists() and (case / "setup").read_text()
    if needs_root and os.geteuid() and ("owner" in needs_root or "group" in needs_root):
        pytest.skip("changing the owner of a file needs root")
    prepare(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = told()
    expected = case / "expected"
    assert "\n".join(lines) + "\n" == expected.read_text(encoding="utf-8")
    is_warning = [line.startswith("warning: ") for line in lines]
    assert all(is_warning) == case.name.startswith("warning-")
