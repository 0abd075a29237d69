"""Remove the directories of a running Gatepost under a real Postfix."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import Mail
from lab.world import World
from tests.e2e.failures import reply_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp"},
    "modes": {"default": "enforce"},
    "tenants": {"acme": {"logins": ["acme"], "senders": ["acme.example"]}},
}


def removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def test_without_its_sockets_mail_waits_at_the_sender_until_a_restart(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    def send(subject: str) -> str:
        mail = Mail("news@acme.example", "u@good.example", subject, "acme")
        return reply_of(postfix.address, mail)

    directory = postfix.queue_dir / "gatepost"
    assert send("before").startswith("250 ")
    shutil.rmtree(directory)
    assert send("refused")[0] == "4"
    assert f"{directory}/milter.sock: does not exist" in gatepost.command("status", status=1)
    assert f"{directory}/milter.sock: does not exist" in gatepost.reload()
    # A reload tells it, and a restart mends it: all of it as root, as the unit does.
    assert send("refused still")[0] == "4"
    gatepost.stop()
    gatepost.start()
    assert send("after").startswith("250 ")
    world.fleet.wait_count(2)


def test_without_its_run_directory_mail_flows(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    world.fleet.forget()
    # The test before has only just started it, and the supervisor may be writing there.
    wait_until(lambda: removed(gatepost.run_dir), 10, "the directory to be gone")
    mail = Mail("news@acme.example", "u@good.example", "in between", "acme")
    assert reply_of(postfix.address, mail).startswith("250 ")
    world.fleet.wait_count(1)
    [message] = world.fleet.messages()
    assert message.headers("x-tenant-id") == ["acme"]
    assert "so it cannot be asked; restart it" in gatepost.command("status", status=1)
    gatepost.stop()
    gatepost.start()
    assert "in force" in gatepost.reload()
