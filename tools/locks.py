"""Check that locks/ fits pyproject.toml, or choose all versions anew with ``--write UV``.

Purpose: three locks, each with a hash for every file that pip may take: ``build.txt`` has what
builds the others, ``run.txt`` what an installation needs, ``dev.txt`` the tools as well. The check
needs no network, so it finds a forgotten ``./dev lock`` but not a newer version.
Source: PEP 508; pip's requirements file format.
Errors: exit status 1, with one line for each difference.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = Path("locks")
_PIN = re.compile(r"([\w.\-]+)==([^ ;\\]+)")


def pins(name: str) -> dict[str, str]:
    """Return distribution to version, as one lock has them."""
    text = (LOCKS / name).read_text(encoding="utf-8")
    return {canonicalize_name(found[1]): found[2] for found in _PIN.finditer(text)}


def without_hash(name: str) -> Iterator[str]:
    """Yield one line for each pin that has no hash below it."""
    text = (LOCKS / name).read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[\w])", text):
        if _PIN.match(entry) and "--hash=" not in entry:
            yield f"locks/{name}: {entry.split()[0]} has no hash"


def unmet(requirements: list[str], name: str) -> Iterator[str]:
    """Yield one line for each requirement that a lock does not satisfy."""
    locked = pins(name)
    for each in map(Requirement, requirements):
        version = locked.get(canonicalize_name(each.name))
        if version is None:
            yield f"locks/{name}: {each.name} is missing; run ./dev lock"
        elif not each.specifier.contains(version, prereleases=True):
            yield f"locks/{name}: {each.name} {version} is not {each.specifier}; run ./dev lock"


def check() -> list[str]:
    """Return all differences."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    run = settings["project"]["dependencies"]
    dev = settings["project"]["optional-dependencies"]["dev"]
    found = [
        *unmet(settings["build-system"]["requires"], "build.txt"),
        *unmet(run, "run.txt"),
        *unmet([*run, *dev], "dev.txt"),
    ]
    tested = pins("dev.txt")
    found += [
        f"locks/run.txt: {name} {version} is not the version that is tested"
        for name, version in {**pins("run.txt"), **pins("build.txt")}.items()
        if tested.get(name) != version
    ]
    return [*found, *(each for path in sorted(LOCKS.iterdir()) for each in without_hash(path.name))]


def write(uv: str) -> None:
    """Choose the newest versions that pyproject.toml allows, the same in all three locks."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    build = "\n".join(settings["build-system"]["requires"])
    command = [
        *(uv, "pip", "compile", "--quiet", "--universal", "--upgrade", "--generate-hashes"),
        *("--python-version", "3.11", "--no-emit-index-url", "--no-header", "--allow-unsafe"),
    ]
    dev = str(LOCKS / "dev.txt")
    subprocess.run([*command, "--extra", "dev", "pyproject.toml", "-o", dev], check=True)
    run = str(LOCKS / "run.txt")
    subprocess.run([*command, "-c", dev, "pyproject.toml", "-o", run], check=True)
    subprocess.run(
        [*command, "-c", dev, "-", "-o", str(LOCKS / "build.txt")],
        input=build.encode(),
        check=True,
    )


def main(arguments: list[str]) -> int:
    """Check, or write with the uv that is named."""
    if arguments[:1] == ["--write"]:
        write(arguments[1])
    found = check()
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
