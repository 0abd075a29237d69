"""Gatepost as the lab runs it: started, killed, reloaded, attached, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import LabError, wait_until
from lab.send import Mail, send
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

ROLES = ("policy", "milter", "back")
TENANT = {"tenants": {"acme": {"logins": ["acme"], "senders": ["acme.example"]}}}


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix() as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, TENANT) as running:
        yield running


def uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def pids(gatepost: Gatepost) -> list[int]:
    found = [gatepost.pid(role) for role in ROLES]
    return [pid for pid in found if pid is not None]


def test_three_roles_answer_and_none_is_root(gatepost: Gatepost) -> None:
    found = pids(gatepost)
    assert len(set(found)) == 3
    assert all(map(uid, found))


def test_a_killed_role_is_started_again(gatepost: Gatepost) -> None:
    before = gatepost.pid("milter")
    gatepost.kill("milter")
    assert gatepost.pid("milter") is None
    gatepost.wait_answering()
    assert gatepost.pid("milter") not in {None, before}


def test_reload_takes_a_good_configuration_and_refuses_a_bad_one(gatepost: Gatepost) -> None:
    try:
        gatepost.configure({"tenants": {**TENANT["tenants"], "beta": {"logins": ["beta"]}}})
        assert "in force" in gatepost.reload()
        gatepost.configure({"tenants": {"beta": {"no_such_key": 1}}})
        assert "no_such_key" in gatepost.reload(status=1)
    finally:
        gatepost.configure(TENANT)
    gatepost.reload()


def test_attach_and_detach_come_into_force_and_leave_the_files_as_they_were(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    files = [postfix.config_dir / name for name in ("main.cf", "master.cf")]
    before = [file.read_bytes() for file in files]
    gatepost.attach("--dry-run")
    assert [file.read_bytes() for file in files] == before
    gatepost.attach()
    assert [file.read_bytes() for file in files] != before
    send(postfix.address, Mail("x@acme.example", "u@plain.example", "attached", login="acme"))
    world.fleet.wait_subject("attached")
    assert any("tenant=acme" in line for line in gatepost.log_lines())
    gatepost.detach()
    assert [file.read_bytes() for file in files] == before


def test_json_is_read_and_an_unexpected_status_is_an_error(gatepost: Gatepost) -> None:
    assert gatepost.json("status")["ok"] is True
    with pytest.raises(LabError, match="gatepost reload: status 0"):
        gatepost.reload(status=1)


def test_roles_alone_stay_dead_until_they_are_started(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    gatepost.stop()
    assert pids(gatepost) == []
    alone = world.gatepost(postfix, TENANT)
    try:
        alone.start(*ROLES)
        old = alone.pid("policy")
        alone.kill("policy")
        assert [alone.answers(role) for role in ROLES] == [False, True, True]
        alone.start("policy")
        assert alone.pid("policy") not in {None, old}
        living = pids(alone)
    finally:
        alone.stop()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in living), 10, "their end")


def test_a_configuration_that_is_wrong_ends_the_start_with_what_was_said(
    world: World, postfix: PrivatePostfix
) -> None:
    broken = world.gatepost(postfix, {"tenants": {"acme": {"no_such_key": 1}}})
    with pytest.raises(LabError, match="no_such_key"), broken:
        pytest.fail("it has started")
