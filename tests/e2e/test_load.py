"""Many, long, broken and hostile connections to a real Postfix: good mail goes on as if alone."""

from __future__ import annotations

import contextlib
import email.parser
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path

import pytest
import yaml

from gatepost.feedback.events import EventKind
from gatepost.feedback.token import Keyring, Purpose, Token, open_token
from gatepost.runtime.paths import ROLES
from gatepost.store import open_store
from gatepost.store.open import open_events
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import SUBMISSION, Mail, connect, send, send_many, transact
from lab.world import BOUNCE_DOMAIN, World
from tests.e2e.failures import (
    CONFIGURATION,
    MAIN,
    OBSERVED,
    check_arrived,
    fields_of,
    mail,
    mails,
    meanwhile,
    reply_of,
    status,
    stopped,
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
STAGES = ("greeted", "auth", "logged in", "mail", "rcpt", "data", "header", "body", "end")
SOCKETS = ("milter.sock", "policy.sock", "maps.sock")
PROBES = (b"", b"\n", b"\0" * 64, b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n", b"9999999999:", b"\0\0")
# Descriptors and threads that may come and go; a test that leaks leaves one for each connection.
SLACK = 4


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(main=MAIN | MANY) as running:
        yield running


@pytest.fixture(scope="module")
def attached(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, CONFIGURATION) as running:
        running.attach()
        yield running


@pytest.fixture(scope="module")
def at_rest(
    world: World, postfix: PrivatePostfix, attached: Gatepost
) -> dict[int, tuple[int, int]]:
    """Return the processes, and what each holds when it has served each tenant once."""
    sent = [mail(name, f"first of {name}") for name in ("acme", "beta", OBSERVED)]
    assert send_many(postfix.address, sent, sessions=1).replies == {"250": len(sent)}
    world.fleet.wait_count(len(sent))
    postfix.wait_empty_queue()
    postfix.reload()
    wait_until(lambda: left_in_hand(attached) == (0, 0), 20, "nothing to be in hand")
    # What is written off the path of mail opens its stores with the first of each kind.
    wait_until(lambda: has_written(attached), 10, "what was sent to be in the store")
    return {pid: held(pid) for pid in pids_of(attached)}


def has_written(gatepost: Gatepost) -> bool:
    """Tell whether the store has an event of each enforced tenant, and rows of the observed one."""
    url = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    with (
        contextlib.closing(open_events(url)) as events,
        contextlib.closing(open_store(url)) as observations,
    ):
        accepted = events.after(0, 10, kinds=[EventKind.ACCEPTED])
        tenants = {each.event.tenant for each in accepted}
        return tenants == {"acme", "beta"} and bool(observations.what_if(0, OBSERVED))


@pytest.fixture
def gatepost(
    world: World,
    postfix: PrivatePostfix,
    attached: Gatepost,
    at_rest: dict[int, tuple[int, int]],
) -> Iterator[Gatepost]:
    """Return Gatepost; afterwards nothing of the test's is left in it."""
    world.fleet.forget()
    lines = len(attached.log_lines())
    yield attached
    # One that still delivers would keep its connection to us for 10 s after its last question.
    postfix.wait_empty_queue()
    # Postfix's processes end with this, and their connections to us.
    postfix.reload()
    wait_until(lambda: left_in_hand(attached) == (0, 0), 20, "nothing to be in hand")
    assert pids_of(attached) == list(at_rest)
    for pid, before in at_rest.items():
        wait_until(lambda: more_than(before, held(pid)) <= SLACK, 10, "no leak")  # noqa: B023
    told = attached.log_lines()[lines:]
    bad = ("Traceback", "internal-error", "tempfail", "too-many-connections")
    assert [line for line in told if any(word in line for word in bad)] == []


def pids_of(gatepost: Gatepost) -> list[int]:
    pids = [gatepost.pid(role) for role in ROLES]
    assert None not in pids
    return [pid for pid in pids if pid is not None]


def held(pid: int) -> tuple[int, int]:
    """Return how many descriptors and threads a process has."""
    process = Path(f"/proc/{pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def more_than(before: tuple[int, int], now: tuple[int, int]) -> int:
    """Return the larger growth of the two."""
    return max(after - was for was, after in zip(before, now, strict=True))


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
    steps = STAGES.index(stage)
    client = connect(postfix.address, "acme" if steps > STAGES.index("auth") else "")
    try:
        if stage == "auth":
            client.close()
            client.connect(postfix.address, SUBMISSION)
            client.ehlo()
            assert client.docmd("AUTH", "PLAIN")[0] == 334
        if steps >= STAGES.index("mail"):
            assert client.mail("news@acme.example")[0] == 250
        if steps >= STAGES.index("rcpt"):
            assert client.rcpt("u@good.example")[0] == 250
        if steps >= STAGES.index("data"):
            assert client.docmd("DATA")[0] == 354
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
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
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
    (message,) = world.fleet.messages()
    # Of several recipients it would name none.
    assert token_of(gatepost, message.sender).recipient == 1


def token_of(gatepost: Gatepost, sender: str) -> Token:
    """Return what a token return path says."""
    file = yaml.safe_load((gatepost.directory / "keys.yaml").read_text(encoding="ascii"))
    keys = {number: bytes.fromhex(key["secret"]) for number, key in file["keys"].items()}
    keyring = Keyring(keys, file["current"])
    return open_token(sender.partition("@")[0], Purpose.BOUNCE, keyring, time.time())


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
    client.settimeout(20)
    with contextlib.suppress(ConnectionError):
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def test_port_probes_while_mail_flows(world: World, postfix: PrivatePostfix) -> None:
    directory = postfix.queue_dir / "gatepost"
    sent = mails("probed", 150)
    rounds = 0

    def probe_again_and_again(ended: threading.Event) -> None:
        nonlocal rounds
        while not ended.is_set():
            rounds += 1
            for name in SOCKETS:
                # Open all the time, one said nothing at all.
                with contextlib.ExitStack() as open_ones:
                    for octets in PROBES:
                        client = open_ones.enter_context(probe(directory, name, octets))
                        open_ones.callback(hang_up, client)

    with meanwhile(probe_again_and_again):
        outcome = send_many(postfix.address, sent, sessions=5)
    assert rounds > 1
    assert outcome.replies == {"250": len(sent)}
    check_arrived(world.fleet, sent)


def fill_backlog(path: Path) -> int:
    """Connect, and leave, until the kernel takes no more for a process that accepts none."""
    for number in itertools.count():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                return number
    raise AssertionError


def test_with_more_connections_than_may_wait_mail_waits_too(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    directory = postfix.queue_dir / "gatepost"
    late = mail("beta", "too many at once")
    with stopped(gatepost.pid("policy")):
        for name in ("policy.sock", "maps.sock"):
            # One smtpd(8) or smtp(8) process each; a restart of Postfix connects all of them.
            assert fill_backlog(directory / name) > AT_ONCE
        assert reply_of(postfix.address, late).startswith("450 4.3.5")
    postfix.wait_log(r"gatepost/policy\.sock: Resource temporarily unavailable")
    # Another sender: what the map said of this one, Postfix remembers for 30 s.
    after = mail("gamma", "as many as may wait")
    assert send_many(postfix.address, [after], sessions=1).refused == {}
    check_arrived(world.fleet, [after])


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


def say(
    postfix: PrivatePostfix,
    sender: bytes,
    content: bytes,
    recipient: bytes = b"u@good.example",
    options: bytes = b"",
) -> tuple[int, bytes]:
    """Send octets as they are, as acme, and return the last reply."""
    client = connect(postfix.address, "acme")
    try:
        client.send(b"MAIL FROM:<%b>%b\r\n" % (sender, options))
        reply = client.getreply()
        if reply[0] == 250:
            client.send(b"RCPT TO:<%b>\r\n" % recipient)
            reply = client.getreply()
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


@pytest.mark.parametrize(
    "recipient",
    [b"\xff\xfe@good.example", b"u@\xc3\xa4.example", b'"a b"@good.example', b"u\0v@good.example"],
)
def test_recipients_that_are_no_text(postfix: PrivatePostfix, recipient: bytes) -> None:
    content = b"Subject: hostile recipient\r\n\r\nhello"
    code, reply = say(postfix, b"news@acme.example", content, recipient)
    assert code in {250, 500, 501, 503, 550, 553}, reply


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        ("nä@acme.example", 250),
        ("nä@xn--4ca.example", 553),
        ("news@ä.example", 553),
        ("nä@acme.example.", 250),
    ],
)
def test_senders_of_smtputf8(postfix: PrivatePostfix, sender: str, answer: int) -> None:
    # To a mailbox here: where SMTPUTF8 is not offered, Postfix would return it.
    content = "Subject: grüß dich\r\nX-Tenant-ID: bäta\r\n\r\nhello".encode()
    here = f"nobody@{postfix.hostname}".encode()
    code, reply = say(postfix, sender.encode(), content, here, b" SMTPUTF8")
    assert code == answer, reply
    if answer == 250:
        (arrived,) = taken_from_mailbox(postfix, "nobody")
        assert arrived.get_all("X-Tenant-ID") == ["acme"]
        assert arrived.get_all("Feedback-ID") == ["tacme:examplesp"]
        assert arrived["Return-Path"].endswith(f"@{BOUNCE_DOMAIN}>")


def taken_from_mailbox(postfix: PrivatePostfix, user: str) -> list[Message]:
    """Wait for mail in a mailbox, and return the headers of what is in it, and empty it."""
    mailbox = postfix.mail_dir / user / "new"
    postfix.wait_empty_queue()
    found = []
    for path in mailbox.iterdir():
        text = path.read_bytes().decode("latin-1")
        found.append(email.parser.HeaderParser().parsestr(text, headersonly=True))
        path.unlink()
    return found


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
