"""Kill, stop and hang Gatepost's processes under a real Postfix: late, perhaps, but never wrong.

The roles run one by one here, so that nobody starts again what a test has killed; the last tests
are about the supervisor, which does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.runtime.paths import ROLES
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_for_exit, wait_until
from lab.send import Mail, connect, send_many
from lab.world import World
from tests.e2e.failures import (
    CONFIGURATION,
    MAIN,
    check_arrived,
    drain,
    mail,
    mails,
    meanwhile,
    reply_of,
    status,
    stopped,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OUTAGE_S = 3
DOWN_AT_RCPT = "450 4.3.5"
RESTRICTIONS = "smtpd_recipient_restrictions"
BLOCKED = "blocked@good.example"


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    # Postfix would wait 30 s and 300 s for a milter that hangs; the test has no time for that.
    timeouts = {"milter_command_timeout": "2s", "milter_content_timeout": "2s"}
    blocked = f"check_recipient_access inline:{{ {BLOCKED}=REJECT }}"
    with world.postfix(main=MAIN | timeouts | {RESTRICTIONS: blocked}) as running:
        yield running


@pytest.fixture(scope="module")
def attached(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    """Return Gatepost, its roles running one by one."""
    gatepost = world.gatepost(postfix, CONFIGURATION | {"service": {"watchdog": "5s"}})
    try:
        gatepost.start(*ROLES)
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


@pytest.fixture
def gatepost(world: World, attached: Gatepost) -> Iterator[Gatepost]:
    """Return Gatepost with all roles, whatever the test before has killed."""
    world.fleet.forget()
    attached.postfix.clear_log()
    down = [role for role in ROLES if not attached.answers(role)]
    if down:
        attached.start(*down)
    return attached


@pytest.fixture
def supervised(world: World, attached: Gatepost) -> Gatepost:
    """Return Gatepost under its supervisor, which is the same one for several tests."""
    world.fleet.forget()
    attached.postfix.clear_log()
    if not attached.supervised:
        attached.stop()
        attached.start()
    attached.wait_answering()
    return attached


def bounced(postfix: PrivatePostfix) -> list[str]:
    return [line for line in postfix.log_lines() if "status=bounced" in line]


def kill_and_start(gatepost: Gatepost, ended: threading.Event, *roles: str) -> None:
    """Kill roles, and start them again when they were missed for a while."""
    for role in roles:
        gatepost.kill(role)
    ended.wait(OUTAGE_S)
    gatepost.start(*roles)


def test_killed_in_the_middle_of_2000_messages_each_arrives_once_as_asked(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    sent = mails("k", 2000)
    # Where there is no TLS: bounced for the one, delivered in plaintext for the other.
    secret = [mail("acme", f"secret{n}", "plain.example") for n in range(20)]
    open_ones = [mail("beta", f"open{n}", "plain.example") for n in range(20)]

    def kill(ended: threading.Event) -> None:
        world.fleet.wait_count(50)
        kill_and_start(gatepost, ended, "milter", "policy")
        world.fleet.wait_count(200)
        kill_and_start(gatepost, ended, "policy")

    everything = [*sent[:900], *secret, *open_ones, *sent[900:]]
    with meanwhile(kill):
        outcome = send_many(postfix.address, everything, sessions=10, timeout_s=200)
    assert outcome.refused == {}
    assert outcome.uncertain == set()
    assert {code[0] for code in outcome.replies} == {"2", "4"}
    assert outcome.replies["250"] == len(everything)
    drain(postfix)
    check_arrived(world.fleet, [*sent, *open_ones])
    assert world.fleet.plaintext_data("plain.example") == len(open_ones)
    assert len(bounced(postfix)) == len(secret)
    assert all("to=<u@plain.example>" in line for line in bounced(postfix))


def test_no_message_begins_without_the_milter(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    gatepost.kill("milter")
    relayed = Mail("news@beta.example", "u@good.example", "no milter")
    assert reply_of(postfix.address, relayed).startswith("451 4.7.1")
    postfix.wait_log(r"connect to Milter service unix:gatepost/milter\.sock")
    postfix.wait_log(r"milter-reject: MAIL from .*: 451 4\.7\.1 Service unavailable")
    # Postfix knows at once, and does not even take the password.
    assert reply_of(postfix.address, mail("beta", "no milter")).startswith("454 4.3.0")
    gatepost.start("milter")
    assert reply_of(postfix.address, mail("beta", "milter")).startswith("250")
    check_arrived(world.fleet, [mail("beta", "milter")])


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_message_in_the_hands_of_a_milter_that_dies_or_hangs_is_not_taken(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, end: signal.Signals
) -> None:
    client = connect(postfix.address, "beta")
    try:
        client.mail("news@beta.example")
        client.rcpt("u@good.example")
        client.docmd("DATA")
        if end is signal.SIGKILL:
            gatepost.kill("milter")
            code, reply = client.docmd(".")
        else:
            with stopped(gatepost.pid("milter")):
                code, reply = client.docmd(".")
    finally:
        client.close()
    assert (code, reply[:5]) == (451, b"4.7.1")
    postfix.wait_log(r"milter unix:gatepost/milter\.sock: can't read ")
    assert postfix.queue() == []
    assert world.fleet.messages() == []


def test_no_client_is_greeted_while_the_milter_hangs(
    postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    with stopped(gatepost.pid("milter")):
        reply = reply_of(postfix.address, Mail("news@beta.example", "u@good.example", "hung"))
    assert reply.startswith("451 4.7.1")
    postfix.wait_log(r"milter unix:gatepost/milter\.sock: read error in initial handshake")


def test_at_rcpt_without_the_policy_server_everybody_waits(
    postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    for tenant in ("acme", "beta", "gamma"):
        again = mail(tenant, "no policy")
        # smtpd(8) remembers what it has just asked the transport map.
        assert reply_of(postfix.address, again).startswith("250")
        gatepost.kill("policy")
        assert reply_of(postfix.address, again).startswith(DOWN_AT_RCPT)
        gatepost.start("policy")
    gatepost.kill("policy")
    postfix.wait_log(r"problem talking to server gatepost/policy\.sock: Connection refused")
    # Whether somebody may relay, or an address exists, depends on its class, for which Postfix asks
    # the transport map: it refuses nothing for good that it would take later, or the reverse.
    blocked = Mail("news@beta.example", BLOCKED, "blocked", "beta")
    assert reply_of(postfix.address, blocked).startswith(("450 4.3.5", "451 4.3.0"))
    foreign = Mail("a@elsewhere.example", "u@good.example", "relay", client="198.18.9.9")
    assert reply_of(postfix.address, foreign).startswith("451 4.3.0")
    gatepost.start("policy")
    # Another sender, as smtpd(8) remembers for 30 s that it could not ask about this one.
    later = replace(blocked, sender="later@beta.example")
    assert reply_of(postfix.address, later).startswith("554 5.7.1")
    drain(postfix)


def test_queued_mail_waits_for_the_policy_server(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    sent = [mail(tenant, f"queued {tenant}") for tenant in ("acme", "beta", "gamma")]
    sent.append(mail("gamma", "to the plain one", "plain.example"))
    postfix.configure({"defer_transports": "gp-normal-private smtp"})
    postfix.reload()
    for each in sent:
        assert reply_of(postfix.address, each).startswith("250")
    gatepost.kill("policy")
    postfix.configure({"defer_transports": ""})
    postfix.reload()

    def waiting() -> bool:
        return {entry.reason for entry in postfix.queue()} == {"address resolver failure"}

    postfix.flush()
    wait_until(waiting, 20, "every message to be deferred")
    assert len(postfix.queue()) == len(sent)
    postfix.wait_log(r"socketmap:unix:gatepost/maps\.sock:transport lookup error")
    postfix.wait_log(r"dsn=4\.3\.0, status=deferred \(address resolver failure\)")
    assert world.fleet.messages() == []
    gatepost.start("policy")
    drain(postfix)
    assert bounced(postfix) == []
    check_arrived(world.fleet, sent)


def test_a_delivery_waits_for_a_map_that_hangs_and_is_deferred_when_it_dies(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    postfix.configure({"defer_transports": "gp-normal-private"})
    postfix.reload()
    waits = mail("acme", "waits")
    # Of two, neither is refused by what qmgr(8) remembers of the last question for 30 s.
    sent = [waits, replace(waits, subject="waits too", recipient="v@good.example")]
    for each in sent:
        assert reply_of(postfix.address, each).startswith("250")
        postfix.wait_log("status=deferred")
    postfix.configure({"defer_transports": ""})
    postfix.reload()
    postfix.clear_log()
    with stopped(gatepost.pid("policy")) as pid:
        postfix.flush()
        postfix.wait_log(r"qmgr\[\d+\]: \w+: from=<.*\(queue active\)")
        # After 100 s Postfix would give up by itself; this is what it does then.
        os.kill(pid, signal.SIGKILL)
    wait_for_exit(pid, 5)
    postfix.wait_log(r"status=deferred \(address resolver failure\)")
    assert world.fleet.messages() == []
    gatepost.start("policy")
    drain(postfix)
    check_arrived(world.fleet, sent)


def test_mail_flows_while_the_back_role_is_down(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    gatepost.kill("back")
    sent = mails("b", 3)
    assert send_many(postfix.address, sent, sessions=1).replies == {"250": 3}
    check_arrived(world.fleet, sent)


@pytest.mark.parametrize("role", ["milter", "policy"])
def test_sigterm_under_load_takes_back_nothing(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, role: str
) -> None:
    sent = mails(f"t-{role}-", 300)

    def stop_and_start(_: threading.Event) -> None:
        world.fleet.wait_count(60)
        pid = gatepost.pid(role)
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        assert wait_for_exit(pid, 20)
        gatepost.start(role)

    with meanwhile(stop_and_start):
        outcome = send_many(postfix.address, sent, sessions=10)
    assert (outcome.refused, outcome.uncertain) == ({}, set())
    assert outcome.replies["250"] == len(sent)
    drain(postfix)
    check_arrived(world.fleet, sent)


def test_the_supervisor_starts_again_what_was_killed(
    world: World, postfix: PrivatePostfix, supervised: Gatepost
) -> None:
    sent = mails("s", 300)
    killed = {role: supervised.pid(role) for role in ("milter", "policy")}

    def kill(_: threading.Event) -> None:
        world.fleet.wait_count(60)
        for role in killed:
            supervised.kill(role)

    with meanwhile(kill):
        outcome = send_many(postfix.address, sent, sessions=10)
    assert (outcome.refused, outcome.uncertain) == ({}, set())
    supervised.wait_answering()
    assert all(supervised.pid(role) not in {None, pid} for role, pid in killed.items())
    drain(postfix)
    check_arrived(world.fleet, sent)


@pytest.mark.parametrize("role", ROLES)
def test_the_supervisor_ends_what_hangs(
    world: World, postfix: PrivatePostfix, supervised: Gatepost, role: str
) -> None:
    before = {each: supervised.pid(each) for each in ROLES}
    with stopped(before[role]):
        wait_until(lambda: supervised.pid(role) not in {None, before[role]}, 40, "a new process")
    supervised.wait_answering()
    assert {each: supervised.pid(each) for each in ROLES if each != role} == {
        each: pid for each, pid in before.items() if each != role
    }
    shown = supervised.json("status")["supervisor"]["roles"][role]
    assert shown["last_exit"] == "hung, killed by SIGKILL"
    sent = mails(f"hung-{role}-", 3)
    outcome = send_many(postfix.address, sent, sessions=1)
    assert (outcome.refused, outcome.uncertain) == ({}, set())
    drain(postfix)
    check_arrived(world.fleet, sent)


def test_without_the_supervisor_mail_flows_and_the_next_one_takes_over(
    world: World, postfix: PrivatePostfix, supervised: Gatepost
) -> None:
    pids = {role: supervised.pid(role) for role in ROLES}
    os.kill(supervised.json("status")["supervisor"]["pid"], signal.SIGKILL)
    sent = mails("o", 6)
    assert send_many(postfix.address, sent[:3], sessions=1).replies == {"250": 3}
    wait_until(
        lambda: status(supervised, "milter")["supervisor"] == "gone", 5, "the milter to notice"
    )
    assert "died" in supervised.command("status", status=1)
    assert {role: supervised.pid(role) for role in ROLES} == pids
    supervised.start()
    wait_until(
        lambda: all(supervised.pid(role) not in {None, pid} for role, pid in pids.items()),
        20,
        "processes of the new supervisor",
    )
    supervised.wait_answering()
    assert send_many(postfix.address, sent[3:], sessions=1).refused == {}
    drain(postfix)
    check_arrived(world.fleet, sent)
