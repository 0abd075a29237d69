"""What is installed: three packages and their data, and nothing that a checkout has besides."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gatepost", "milters", "policy_server")

# Imported name to distribution, where the two differ.
DISTRIBUTIONS = {
    "Milter": "pymilter",
    "milter": "pymilter",
    "dkim": "dkimpy",
    "dns": "dnspython",
    "prometheus_client": "prometheus-client",
    "sqlite_utils": "sqlite-utils",
    "yaml": "PyYAML",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Build from a copy, since setuptools leaves folders behind where it builds."""
    source = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, source)
    shutil.rmtree(source / "build", ignore_errors=True)
    out = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as opened:
        yield opened


def metadata_file(wheel: zipfile.ZipFile, name: str) -> str:
    found = next(each for each in wheel.namelist() if each.endswith(f".dist-info/{name}"))
    return wheel.read(found).decode()


def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_top_level_names_are_exactly_the_three_packages(wheel: zipfile.ZipFile) -> None:
    names = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in names if not re.match(r"gatepost-.*\.(dist-info|data)$", name)} == {
        *PACKAGES
    }


def test_every_module_is_in(wheel: zipfile.ZipFile) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert wanted == {name for name in wheel.namelist() if name.endswith(".py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_announced(wheel: zipfile.ZipFile, package: str) -> None:
    assert f"{package}/py.typed" in wheel.namelist()


def test_data_that_modules_read_is_in(wheel: zipfile.ZipFile) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for kind in ("*.yaml", "*.lua")
        for path in (ROOT / package).rglob(kind)
    }
    assert wanted
    assert wanted <= set(wheel.namelist())


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    assert "gatepost = gatepost.cli.app:main" in metadata_file(wheel, "entry_points.txt")


def test_the_licence_is_named_and_included(wheel: zipfile.ZipFile) -> None:
    assert "License-Expression: GPL-3.0-or-later" in metadata_file(wheel, "METADATA")
    assert "GNU GENERAL PUBLIC LICENSE" in metadata_file(wheel, "licenses/LICENSE")


def test_what_administrators_copy_is_included(wheel: zipfile.ZipFile) -> None:
    files = [path for path in (ROOT / "postfix-conf").rglob("*") if path.is_file()]
    for path in files:
        inside = f"/share/gatepost/{path.relative_to(ROOT).as_posix()}"
        assert any(name.endswith(inside) for name in wheel.namelist()), inside


def imported(package: str) -> set[str]:
    """Return the top-level names that a package imports, inside functions too."""
    names = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names


def test_what_is_imported_is_required_and_nothing_else() -> None:
    names = set().union(*map(imported, PACKAGES)) - sys.stdlib_module_names - {*PACKAGES}
    required = {re.split(r"[<>=!~; \[]", each)[0] for each in settings()["project"]["dependencies"]}
    assert {DISTRIBUTIONS.get(name, name) for name in names} == required


def test_the_version_has_one_source() -> None:
    from gatepost import __version__  # noqa: PLC0415 the other tests need no import of the package

    assert importlib.metadata.version("gatepost") == __version__


def test_the_first_heading_of_the_changelog_is_unreleased_or_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## (.*)$", text, re.MULTILINE)
    assert heading is not None
    assert heading[1] == "Unreleased" or heading[1].startswith(
        importlib.metadata.version("gatepost")
    )
