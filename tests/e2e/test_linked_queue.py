"""A queue directory that is a symbolic link, as to a larger disk, beside an instance of a lane."""

from __future__ import annotations

import pytest

from gatepost.postfix.commands import PostfixCommands
from lab.mx import Kind
from lab.send import Mail, send
from lab.world import ADDRESS, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

CONFIGURATION = {
    "modes": {"default": "enforce"},
    "lanes": {"burst": {"instance": "yes"}},
    "tenants": {"beta": {"logins": ["beta"], "senders": ["beta.example"], "lane": "burst"}},
}


def test_mail_is_handed_over_from_a_queue_behind_a_link() -> None:
    with World(kinds=(Kind.GOOD,)) as world, world.postfix(users=("beta",)) as postfix:
        postfix.stop()
        disk = postfix.directory / "disk"
        disk.mkdir()
        postfix.queue_dir.rename(disk / "mail")
        postfix.queue_dir.symlink_to(disk / "mail")
        postfix.start()
        instance = PostfixCommands(postfix.config_dir.with_name("etc-gp-burst"))
        with world.gatepost(postfix, CONFIGURATION) as gatepost:
            try:
                with postfix.settling():
                    gatepost.json("attach")
                postfix.reload()
                assert (disk / "mail-gp-burst").is_dir()
                mail = Mail("n@beta.example", "u@good.example", "linked", login="beta")
                send(ADDRESS, mail)
                world.fleet.wait_subject("linked")
                postfix.wait_log(r"postfix-gp-burst/gp-burst-standard/smtp.*status=sent")
            finally:
                if instance.running():
                    instance.stop()
