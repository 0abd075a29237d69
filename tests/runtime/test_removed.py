"""Somebody removes the directories of running roles: it is told, and a restart mends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gatepost.postfix.spec import MAPS_SOCKET, MILTER_SOCKET, POLICY_SOCKET
from gatepost.runtime.paths import ROLES
from lab.process import wait_until
from tests.runtime.place import Site

pytestmark = pytest.mark.timeout(120)

NAMES = (POLICY_SOCKET, MAPS_SOCKET, MILTER_SOCKET)


def remove(directory: Path) -> None:
    """Remove a directory in which the supervisor may be writing just now."""

    def gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    wait_until(gone, 10, "the directory to be gone")


def test_a_removed_socket_directory(site: Site) -> None:
    supervisor = site.start("")
    shutil.rmtree(site.socket_dir)
    status = site.gatepost("status")
    assert status.returncode == 1
    # The configuration is in force all the same, so the status of a reload stays 0.
    reload = site.gatepost("reload")
    assert reload.returncode == 0
    for name in NAMES:
        path = site.socket_dir / name
        assert f"DOWN        {path}: does not exist\n" in status.stdout
        assert f": {path}: does not exist; a restart mends it\n" in reload.stdout
    document = json.loads(site.gatepost("reload", "--json").stdout)
    assert [each["problem"] for each in document["sockets"]] == ["does not exist"] * 3
    assert supervisor.stop() == 0
    site.start("")
    for name in NAMES:
        site.connect(name).close()


def test_a_single_removed_socket(site: Site) -> None:
    site.start(*ROLES)
    (site.socket_dir / MILTER_SOCKET).unlink()
    lines = site.gatepost("reload").stdout.splitlines()
    told = [line for line in lines if "does not exist" in line]
    path = site.socket_dir / MILTER_SOCKET
    assert told == [f"milter: {path}: does not exist; a restart mends it"]


def test_a_removed_run_directory(site: Site) -> None:
    supervisor = site.start("")
    remove(site.run_dir)
    for name in NAMES:
        site.connect(name).close()
    for command in ("status", "reload"):
        done = site.gatepost(command)
        assert done.returncode == 1
        for role in ("policy", "milter"):
            path = site.run_dir / f"{role}.ctl"
            reason = f"serves, but {path} is gone, so it cannot be asked; restart it"
            if command == "status":
                assert f"DOWN        {role}: {reason}\n" in done.stdout
            else:
                assert f"{role}: {reason}\n" in done.stdout
    assert supervisor.stop() == 0
    assert "Traceback" not in supervisor.text()
    site.start("")
    assert site.gatepost("reload").returncode == 0
