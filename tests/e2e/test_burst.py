"""A flood on a real Postfix: moved, kept apart, held back, and brought home; kills in between."""

from __future__ import annotations

import contextlib
import re
import smtplib
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gatepost.feedback.events import EventKind
from gatepost.store.open import open_events
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.queue_lister import listed
from lab.send import Mail, connect, queue_id, send, transact
from lab.world import ADDRESS, World
from tests.e2e.conftest import wait_delivery

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CAP, SESSIONS = 150, 4
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "enforce"},
    "lanes": {"burst": {"concurrency": 5}},
    # What waits keeps it there, so that a slow machine takes it no sooner home than a fast one.
    "traffic": {"burst": {"above": "20/second", "lane": "burst", "stay": "1s", "backlog_below": 1}},
    "tenants": {
        "flood": {"logins": ["flood"], "senders": ["flood.example"], "backlog": CAP},
        "quiet": {"logins": ["quiet"], "senders": ["quiet.example"], "backlog": CAP},
        "batch": {"logins": ["batch"], "senders": ["batch.example"]},
    },
}
MOVED = "gp-burst-standard"


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    main = {"enable_long_queue_ids": "yes"}
    with (
        world.postfix(main=main, users=("flood", "quiet", "batch")) as running,
        listed(running.directory, running.config_dir),
    ):
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    wait_until(postfix.maillog.exists, 10, "Postfix's log")
    postfix.maillog.chmod(0o644)
    with world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)}) as running:
        running.attach()
        wait_until(lambda: knows_backlogs(running), 20, "a backlog")
        yield running


def knows_backlogs(gatepost: Gatepost) -> bool:
    return 'backlog_known": true' in gatepost.command("status", "--json")


def backlog(gatepost: Gatepost, tenant: str) -> int:
    """Return what is outstanding, or -1 as long as the log does not tell of all."""
    roles = gatepost.json("status")["roles"]
    if roles["policy"]["traffic"]["taken_and_not_in_the_log"]:
        return -1
    count: int = roles["back"]["queue"]["tenants"].get(tenant, 0)
    return count


def mail(tenant: str, name: str, kind: Kind = Kind.BUSY) -> Mail:
    return Mail(f"news@{tenant}.example", f"{name}@{kind}.example", name, login=tenant)


def flood(tenant: str, messages: int, name: str, kind: Kind = Kind.BUSY) -> Counter[str]:
    """Send so many messages over a few connections as fast as they go; return the replies."""
    replies: Counter[str] = Counter()

    def run(session: int) -> None:
        first = mail(tenant, name, kind)
        with contextlib.closing(connect(ADDRESS, first.login, client=first.client)) as client:
            for n in range(session, messages, SESSIONS):
                try:
                    transact(client, mail(tenant, f"{name}-{n}", kind))
                    replies["taken"] += 1
                except smtplib.SMTPResponseException as error:
                    client.rset()
                    replies[f"{error.smtp_code} {error.smtp_error.decode()}"] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(SESSIONS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return replies


def fill(tenant: str) -> None:
    """Send until no more is taken."""

    def is_full() -> bool:
        return "taken" not in flood(tenant, SESSIONS, "filler")

    wait_until(is_full, 10, "a full backlog")


def services(postfix: PrivatePostfix, name: str) -> Counter[str]:
    """Return by which services messages were tried first, by the beginning of their recipient."""
    pattern = re.compile(rf" postfix/(?:(\S+)/)?\w+\[\d+\]: \w+: to=<({name}-\d+)@")
    first: dict[str, str] = {}
    for line in postfix.log_lines():
        if found := pattern.search(line):
            first.setdefault(found[2], found[1] or "smtp")
    return Counter(first.values())


def lane(postfix: PrivatePostfix, tenant: str) -> str:
    """Return what the transport map answers, as Postfix asks it."""
    asked = ["postmap", "-c", str(postfix.config_dir), "-q", f"news@{tenant}.example"]
    table = "socketmap:unix:gatepost/maps.sock:transport"
    run = subprocess.run(
        [*asked, table], cwd=postfix.queue_dir, capture_output=True, text=True, check=False
    )
    return run.stdout.strip()


def test_a_flood_from_its_first_message_to_its_end(
    gatepost: Gatepost, postfix: PrivatePostfix
) -> None:
    send(ADDRESS, mail("flood", "other", Kind.CLOSES))
    before = queue_id(send(ADDRESS, mail("flood", "before", Kind.CLOSES)))
    assert wait_delivery(postfix, before).service == ""
    assert flood("flood", 100, "first", Kind.GOOD) == {"taken": 100}

    # All but the first dozens went by the burst lane.
    wait_until(lambda: services(postfix, "first").total() == 100, 20, "all to be tried")
    assert services(postfix, "first")[MOVED] >= 60
    assert lane(postfix, "flood") == f"{MOVED}:"
    log = "\n".join(gatepost.log_lines())
    moved = 'lane-moved tenant=flood from=normal to=burst why="more than 20/second" mode=enforce'
    assert log.count(moved) == 1

    # What waited already moves with its next attempt.
    postfix.flush_until(rf"postfix/{MOVED}/smtp\[\d+\]: {before}: to=")

    wait_until(lambda: backlog(gatepost, "flood") == 2, 10, "the backlog of before")
    replies = flood("flood", CAP + 20, "many")
    # No more were taken than may be outstanding with the two of before; and hardly fewer, as what
    # has just been delivered may count a second longer.
    full = [reply for reply in replies if reply.startswith("450 4.7.1")]
    assert CAP - 20 <= replies["taken"] <= CAP - 2
    assert sum(replies[reply] for reply in full) == CAP + 20 - replies["taken"]
    for reply in full:
        assert (
            f"backlog of tenant flood is full: {CAP} messages outstanding, at most {CAP}" in reply
        )

    # The quiet one notices nothing.
    quiet = queue_id(send(ADDRESS, mail("quiet", "quiet", Kind.GOOD)))
    assert wait_delivery(postfix, quiet).service == ""
    assert lane(postfix, "quiet") == ""

    fill("flood")

    # A policy server that is killed knows it again at once, and the backlog within a second.
    gatepost.kill("policy")
    gatepost.wait_answering()
    assert lane(postfix, "flood") == f"{MOVED}:"
    wait_until(lambda: knows_backlogs(gatepost), 20, "the backlog after a kill")
    with pytest.raises(smtplib.SMTPResponseException, match="backlog of tenant flood is full"):
        send(ADDRESS, mail("flood", "more"))
    asked = ("--login", "flood", "--sender", "news@flood.example", "--recipient", "u@x.example")
    assert "backlog of tenant flood is full" in gatepost.command("explain", *asked, status=1)
    assert re.search(
        r"^burst +flood: for .*more than 20/second", gatepost.command("status"), re.MULTILINE
    )

    # So does the back role: what was in the queue before it started is in Postfix's list.
    gatepost.kill("back")
    gatepost.wait_answering()
    wait_until(lambda: knows_backlogs(gatepost), 20, "the backlog after a kill of the back role")
    with pytest.raises(smtplib.SMTPResponseException, match="backlog of tenant flood is full"):
        send(ADDRESS, mail("flood", "more"))

    # Once it is gone, mail is taken again, and the tenant comes home.
    subprocess.run(
        ["postsuper", "-c", str(postfix.config_dir), "-d", "ALL"], check=True, capture_output=True
    )
    wait_until(lambda: is_taken("flood"), 10, "room")
    wait_until(lambda: lane(postfix, "flood") == "", 20, "the way back")
    assert "lane-moved tenant=flood from=burst to=normal" in "\n".join(gatepost.log_lines())
    wait_until(lambda: moves(gatepost, "flood") == ["burst", "normal"], 10, "the events")


def moves(gatepost: Gatepost, tenant: str) -> list[object]:
    """Return where events say that a tenant was moved to."""
    url = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    with contextlib.closing(open_events(url)) as store:
        found = store.after(0, 1000, tenant=tenant, kinds=[EventKind.LANE_CHANGED])
        return [each.event.details["to"] for each in found]


def is_taken(tenant: str) -> bool:
    with contextlib.suppress(smtplib.SMTPResponseException):
        send(ADDRESS, mail(tenant, "again", Kind.GOOD))
        return True
    return False


def test_a_flood_of_sendmail_is_seen_in_the_log(
    gatepost: Gatepost, postfix: PrivatePostfix
) -> None:
    command = [
        "sendmail",
        "-C",
        str(postfix.config_dir),
        "-f",
        "news@batch.example",
        "u@busy.example",
    ]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(60)]
    for run in runs:
        run.communicate(b"Subject: x\n\nx\n", timeout=30)
    assert not any(run.returncode for run in runs)
    wait_until(lambda: lane(postfix, "batch") == f"{MOVED}:", 10, "the burst lane")
    assert 'why="more than 20/second, not by SMTP"' in "\n".join(gatepost.log_lines())
    asked = ("--login", "batch", "--sender", "news@batch.example", "--recipient", "u@x.example")
    told = gatepost.command("explain", *asked)
    assert re.search(r"^lane +burst: burst: more than 20/second", told, re.MULTILINE)
