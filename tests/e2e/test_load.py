"""Many, long, broken and hostile connections to a real Postfix: good mail goes on as if alone."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import Mail, connect, send, send_many, transact
from lab.world import World
from tests.e2e.failures import (
    CONFIGURATION,
    MAIN,
    check_arrived,
    fields_of,
    mail,
    mails,
    meanwhile,
    status,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.usefixtures("gatepost")]

AT_ONCE = 200
ON_ONE = 500
MANY = {
    "default_process_limit": "300",
    "smtpd_client_connection_count_limit": "0",
    # The block of 1 MiB is to get as far as the milter.
    "message_size_limit": "20480000",
}
STAGES = ("connected", "greeted", "mail", "rcpt", "data", "header", "body", "end")
SOCKETS = ("milter.sock", "policy.sock", "maps.sock")
PROBES = (b"", b"\n", b"\0" * 64, b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n", b"9999999999:", b"\0\0")


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(main=MAIN | MANY) as running:
        yield running


@pytest.fixture(scope="module")
def attached(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, CONFIGURATION) as running:
        running.attach()
        yield running


@pytest.fixture
def gatepost(world: World, postfix: PrivatePostfix, attached: Gatepost) -> Iterator[Gatepost]:
    """Return Gatepost; afterwards nothing of the test's is left in it."""
    world.fleet.forget()
    pids = {role: attached.pid(role) for role in ("milter", "policy")}
    yield attached
    # Postfix's processes end with this, and their connections to us.
    postfix.reload()
    wait_until(lambda: left_in_hand(attached) == (0, 0), 20, "nothing to be in hand")
    assert {role: attached.pid(role) for role in pids} == pids
    for pid in pids.values():
        # A handful: log, store, control and listening sockets, the event loop.
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 40
    assert [line for line in attached.log_lines() if "Traceback" in line] == []


def left_in_hand(gatepost: Gatepost) -> tuple[int, int]:
    """Return messages in the milter and connections to the policy server."""
    connections = status(gatepost, "policy")["connections"]
    return status(gatepost, "milter")["messages_in_hand"], sum(connections.values())


def test_200_connections_at_once(world: World, postfix: PrivatePostfix) -> None:
    sent = [mail(("acme", "beta")[n % 2], f"at once {n}") for n in range(AT_ONCE)]
    together = threading.Barrier(AT_ONCE, timeout=90)

    def one(message: Mail) -> None:
        client = connect(postfix.address, message.login)
        try:
            together.wait()
            transact(client, message)
            together.wait()
        finally:
            client.close()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, sent))
    check_arrived(world.fleet, sent)


def test_500_messages_on_one_connection(world: World, postfix: PrivatePostfix) -> None:
    sent = [mail("acme", f"in a row {n}") for n in range(ON_ONE)]
    client = connect(postfix.address, "acme")
    try:
        for each in sent:
            transact(client, each)
    finally:
        client.close()
    check_arrived(world.fleet, sent)
    assert len({message.sender for message in world.fleet.messages()}) == ON_ONE


def leave(postfix: PrivatePostfix, stage: str) -> None:
    """Send a message as far as a stage, and close the connection without a word."""
    client = connect(postfix.address, "acme" if stage != "connected" else "")
    try:
        steps = STAGES.index(stage)
        if steps >= STAGES.index("mail"):
            client.mail("news@acme.example")
        if steps >= STAGES.index("rcpt"):
            client.rcpt("u@good.example")
        if steps >= STAGES.index("data"):
            client.docmd("DATA")
        if steps >= STAGES.index("header"):
            client.send(b"X-Tenant-ID: beta\r\nSubject: left at %b\r\n" % stage.encode())
        if steps >= STAGES.index("body"):
            client.send(b"\r\nhello\r\n")
        if steps >= STAGES.index("end"):
            client.send(b".\r\n")
    finally:
        # No QUIT: the client is simply gone.
        client.close()


def test_clients_that_leave_at_every_stage(world: World, postfix: PrivatePostfix) -> None:
    sent = mails("stays", 100)

    def come_and_go(ended: threading.Event) -> None:
        for _ in range(5):
            for stage in STAGES:
                leave(postfix, stage)
        ended.wait(60)

    with meanwhile(come_and_go):
        outcome = send_many(postfix.address, sent, sessions=5)
    assert outcome.replies == {"250": len(sent)}
    postfix.wait_empty_queue()
    # A message whose client did not wait for the reply may well have been taken.
    world.fleet.wait_count(len(sent))
    subjects = Counter(fields_of(each, "subject")[0] for each in world.fleet.messages())
    assert set(subjects) <= {each.subject for each in sent} | {"left at end"}
    assert all(subjects[each.subject] == 1 for each in sent)
    for message in world.fleet.messages():
        if fields_of(message, "subject") == ["left at end"]:
            assert fields_of(message, "X-Tenant-ID") == ["acme"]


def test_a_transaction_that_is_given_up_leaves_nothing_to_the_next(
    world: World, postfix: PrivatePostfix
) -> None:
    client = connect(postfix.address, "acme")
    try:
        for _ in range(20):
            client.mail("given.up@acme.example")
            client.rcpt("other@good.example")
            client.rset()
        transact(client, mail("acme", "after twenty"))
    finally:
        client.close()
    check_arrived(world.fleet, [mail("acme", "after twenty")])


def probe(directory: Path, name: str, octets: bytes) -> socket.socket:
    """Connect to one of our sockets and say something that is no protocol of ours."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Blocking: with a timeout, a full backlog would be an error at once.
    client.connect(str(directory / name))
    with contextlib.suppress(OSError):
        client.sendall(octets)
    return client


def hang_up(client: socket.socket) -> None:
    """Say that no more will come, and wait until the other side has closed.

    Without the wait, probes would fill the backlog, and it is right that mail is deferred then.
    """
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def test_port_probes_while_mail_flows(world: World, postfix: PrivatePostfix) -> None:
    directory = postfix.queue_dir / "gatepost"
    sent = mails("probed", 150)

    def probe_again_and_again(ended: threading.Event) -> None:
        while not ended.is_set():
            for name in SOCKETS:
                # Open all the time, one said nothing at all.
                with contextlib.ExitStack() as open_ones:
                    for octets in PROBES:
                        client = open_ones.enter_context(probe(directory, name, octets))
                        open_ones.callback(hang_up, client)

    with meanwhile(probe_again_and_again):
        outcome = send_many(postfix.address, sent, sessions=5)
    assert outcome.replies == {"250": len(sent)}
    check_arrived(world.fleet, sent)


def test_a_header_block_of_1_mib_with_forgeries_at_its_end(
    world: World, postfix: PrivatePostfix
) -> None:
    filler = [f"X-Filler-{n}: {'x' * 900}" for n in range(1024 * 1024 // 900)]
    forged = ["X-Tenant-ID: beta", "x-tenant-id:\r\n\tbeta", "Feedback-ID: a:b:c:examplesp"]
    send(postfix.address, mail("acme", "a MiB", headers=[*filler, *forged]))
    arrived = world.fleet.wait_subject("a MiB")
    assert len(arrived.octets) > 1024 * 1024
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert arrived.headers("Feedback-ID") == ["tacme:examplesp"]
    assert "beta" not in arrived.raw


def say(postfix: PrivatePostfix, sender: bytes, content: bytes) -> tuple[int, bytes]:
    """Send octets as they are, as acme, and return the last reply."""
    client = connect(postfix.address, "acme")
    try:
        client.send(b"MAIL FROM:<%b>\r\n" % sender)
        reply = client.getreply()
        if reply[0] == 250:
            reply = client.docmd("RCPT", "TO:<u@good.example>")
        if reply[0] == 250 and (reply := client.docmd("DATA"))[0] == 354:
            client.send(content + b"\r\n.\r\n")
            reply = client.getreply()
        return reply
    finally:
        client.close()


NO_TEXT = {
    "octets in values": b"Subject: %b\r\nX-Tenant-ID: \xff\xfe\x80beta\r\nFrom: \xc3\x28\r\n\r\n",
    "octets in names": b"Subject: %b\r\nX-\xff\xfe: beta\r\nX-Tenant-ID: beta\r\n\r\n\xff",
    "NUL": b"Subject: %b\r\nX-Tenant-ID: be\0ta\r\nX-Tenant-ID: \0\r\n\r\nhel\0lo",
    "NUL in a name": b"Subject: %b\r\nX-Tenant-ID\0: beta\r\nX-Tenant-ID: beta\r\n\r\nhello",
    "bare CR and LF": b"Subject: %b\r\nX-Tenant-ID: beta\rX-Tenant-ID: gamma\r\n\r\nhello",
    "a space before the colon": b"Subject: %b\r\nX-Tenant-ID : beta\r\n\r\nhello",
    "no colon at all": b"Subject: %b\r\nX-Tenant-ID\r\n\r\nhello",
    "long lines": b"Subject: %b\r\nX-Tenant-ID: " + b"b" * 70_000 + b"\r\n\r\n" + b"c" * 200_000,
    "no header": b"Subject: %b",
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_octets_that_are_no_text(world: World, postfix: PrivatePostfix, kind: str) -> None:
    subject = f"hostile, {kind}"
    code, reply = say(postfix, b"news@acme.example", NO_TEXT[kind].replace(b"%b", subject.encode()))
    assert code == 250, reply
    arrived = world.fleet.wait_subject(subject)
    assert arrived.headers("X-Tenant-ID") == ["acme"]
    assert arrived.headers("Feedback-ID") == ["tacme:examplesp"]


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        (b"\xff\xfe@acme.example", None),
        (b"n\xc3\xa4@acme.example", None),
        (b'"a b@c"@acme.example', 250),
        (b"a" * 64 + b"@acme.example", 250),
        (b"news@\xc3\xa4.example", None),
        (b"@acme.example", None),
        (b"news@acme.example.", None),
        (b"news@other.example", 553),
    ],
)
def test_senders_that_are_no_text(
    postfix: PrivatePostfix, sender: bytes, answer: int | None
) -> None:
    code, reply = say(postfix, sender, b"Subject: hostile sender\r\n\r\nhello")
    # Whether Postfix takes the address is its own affair; it is no reason for us to fail.
    assert code in ({250, 500, 501, 503, 550, 553} if answer is None else {answer}), reply


def test_a_client_that_pipelines_everything(world: World, postfix: PrivatePostfix) -> None:
    client = connect(postfix.address, "acme")
    try:
        one = b"MAIL FROM:<news@acme.example>\r\nRCPT TO:<u@good.example>\r\nDATA\r\n"
        client.send(one)
        assert [client.getreply()[0] for _ in range(3)] == [250, 250, 354]
        client.send(b"Subject: piped\r\nX-Tenant-ID: beta\r\n\r\nhello\r\n.\r\n" + one)
        assert [client.getreply()[0] for _ in range(4)] == [250, 250, 250, 354]
    finally:
        client.close()
    assert world.fleet.wait_subject("piped").headers("X-Tenant-ID") == ["acme"]
