"""A disk without room for the store: mail flows, it is told, and what waits is stored later."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.runtime.paths import ROLES
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import send_many
from lab.world import World
from tests.e2e.failures import CONFIGURATION, MAIN, OBSERVED, check_arrived, mails, status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MESSAGES = 200


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(main=MAIN) as running:
        yield running


@pytest.fixture
def small_disk(world: World, postfix: PrivatePostfix) -> Iterator[tuple[Gatepost, Path]]:
    """Return Gatepost, attached, and the directory of its store, which is a disk of 1 MiB."""
    gatepost = world.gatepost(postfix, CONFIGURATION)
    state = gatepost.directory / "state"
    state.mkdir(exist_ok=True)
    options = f"size=1m,mode=0750,uid={pwd.getpwnam('nobody').pw_uid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", state], check=True)
    try:
        with gatepost:
            gatepost.attach()
            yield gatepost, state
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)


def test_a_full_disk_under_load(
    world: World, postfix: PrivatePostfix, small_disk: tuple[Gatepost, Path]
) -> None:
    gatepost, state = small_disk
    filler = state / "filler"
    fill = subprocess.run(["dd", "if=/dev/zero", f"of={filler}"], capture_output=True, check=False)
    assert b"No space left" in fill.stderr
    pids = {role: gatepost.pid(role) for role in ROLES}
    sent = mails("full", MESSAGES)
    outcome = send_many(postfix.address, sent, sessions=5)
    assert outcome.replies == {"250": MESSAGES}
    check_arrived(world.fleet, sent)
    wait_until(
        lambda: any(
            "store-unavailable" in each["text"] for each in status(gatepost, "milter")["troubles"]
        ),
        20,
        "the milter to say so",
    )
    assert status(gatepost, "milter")["waiting_rows"] > 0
    assert "store-unavailable" in gatepost.command("status")
    filler.unlink()
    wait_until(lambda: status(gatepost, "milter")["waiting_rows"] == 0, 40, "it to be stored")
    assert "recorder_dropped" not in status(gatepost, "milter")["counts"]
    assert {role: gatepost.pid(role) for role in ROLES} == pids
    found = gatepost.json("report", "what-if")
    observed = sum(1 for each in sent if each.login == OBSERVED)
    tags = {row["action"]: row["count"] for row in found["what_if"] if row["feature"] == "tag"}
    assert tags == {"remove-header": observed, "add-header": observed}
