"""A lane that is a Postfix instance of its own: mail goes over, out under its profile, and back."""

from __future__ import annotations

import contextlib
import json
import smtplib
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.token import message_id_of
from gatepost.postfix.commands import PostfixCommands
from gatepost.store.events import EventStore
from gatepost.store.open import open_events
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import add_address, wait_until
from lab.send import Mail, queue_id, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SOURCES = ("198.18.2.60", "198.18.2.61")
BURST = {"concurrency": 17, "instance": "yes", "addresses": [f"{SOURCES[0]} weight=2", SOURCES[1]]}
CONFIGURATION: dict[str, Any] = {
    # What comes back from the instance has no login; nobody may be asked about it again.
    "platform": {"bounce_domain": BOUNCE_DOMAIN, "unknown": "reject"},
    "modes": {"default": "enforce"},
    "lanes": {"burst": BURST},
    "tls": {"profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}}},
    "tenants": {
        "acme": {
            "logins": ["acme"],
            "senders": ["acme.example"],
            "return_path": "token",
            "profile": "private",
            "lane": "burst",
        },
        "beta": {"logins": ["beta"], "senders": ["beta.example"], "lane": "burst"},
    },
}
NOBODY = 65534
FILES = ("main.cf", "master.cf")


class Place:
    """The instance of lane burst."""

    def __init__(self, postfix: PrivatePostfix) -> None:
        self.config_dir = postfix.directory / "etc-gp-burst"
        self.queue = postfix.directory / "queue-gp-burst"
        self.data = postfix.directory / "data-gp-burst"
        self.postfix = PostfixCommands(self.config_dir)

    @property
    def there(self) -> bool:
        return any(each.exists() for each in (self.config_dir, self.queue, self.data))

    def recipients(self) -> list[str]:
        listed = subprocess.run(
            ["/usr/sbin/postqueue", "-c", self.config_dir, "-j"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        return [each["address"] for row in rows for each in row["recipients"]]


def change(gatepost: Gatepost, *arguments: str) -> Any:
    """Attach or detach as an operator would, and return what was done."""
    with gatepost.postfix.settling():
        done = gatepost.json(*arguments)
    gatepost.postfix.reload()
    return done


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(kinds=(Kind.GOOD, Kind.PLAIN, Kind.REFUSES, Kind.DEAD))
    world.names.mail("beta.example", "mx.good.example")
    with world:
        yield world


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    main = {
        "enable_long_queue_ids": "yes",
        "message_size_limit": "40000",
        "smtp_tls_loglevel": "1",
    }
    for address in SOURCES:
        add_address(address)
    with world.postfix(main=main, users=("acme", "beta")) as running:
        wait_until(running.maillog.exists, 10, "Postfix's log")
        running.maillog.chmod(0o644)
        yield running


@pytest.fixture(scope="module")
def before(postfix: PrivatePostfix) -> dict[str, bytes]:
    return {name: (postfix.config_dir / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def place(postfix: PrivatePostfix) -> Place:
    return Place(postfix)


@pytest.fixture(scope="module")
def gatepost(
    world: World, postfix: PrivatePostfix, place: Place, before: dict[str, bytes]
) -> Iterator[Gatepost]:
    assert before
    with world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)}) as running:
        change(running, "attach")
        try:
            yield running
        finally:
            if place.there and place.postfix.running():
                place.postfix.stop()


@pytest.fixture(scope="module")
def events(gatepost: Gatepost) -> Iterator[EventStore]:
    url = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    with contextlib.closing(open_events(url)) as opened:
        yield opened


def hand_in(tenant: str, to: Kind, subject: str, **changes: Any) -> str:
    mail = Mail(f"n@{tenant}.example", f"u@{to}.example", subject, login=tenant, **changes)
    return queue_id(send(ADDRESS, mail))


def told(events: EventStore, kind: EventKind, queue_id: str) -> list[Event]:
    found = (each.event for each in events.after(0, 1000))
    return [each for each in found if (each.kind, each.queue_id) == (kind, queue_id)]


def wait_told(events: EventStore, kind: EventKind, queue_id: str) -> Event:
    wait_until(lambda: told(events, kind, queue_id), 15, f"{kind} of {queue_id}")
    (event,) = told(events, kind, queue_id)
    return event


def test_it_is_made_started_registered_and_as_it_should_be(
    gatepost: Gatepost, postfix: PrivatePostfix, place: Place
) -> None:
    assert place.postfix.running()
    assert str(place.config_dir) == postfix.postconf("multi_instance_directories")
    again = gatepost.json("attach")
    assert (again["needed"], again["changed"]) == (False, [])
    assert "lane burst: running, 0 messages in queue" in gatepost.command("status")
    asked = ("--login", "beta", "--sender", "n@beta.example", "--recipient", "u@good.example")
    assert "lane burst, profile standard, by its own instance" in gatepost.command(
        "explain", *asked
    )
    sides = {side["name"]: side for side in gatepost.json("doctor")["sides"]}
    found = [finding["what"] for finding in sides["instances"]["findings"]]
    assert found == [f"{postfix.config_dir} is not the host's default instance."]
    assert not [each for each in sides["attached"]["findings"] if "instance" in each["what"]]


def test_a_profile_is_not_lost_on_the_way(
    gatepost: Gatepost, world: World, postfix: PrivatePostfix, events: EventStore
) -> None:
    """What may not go in plaintext bounces; the log tells of each message once."""
    large = "x" * 79 + "\n"
    fine = hand_in("acme", Kind.GOOD, "fine", body=large * 400)
    refused = hand_in("acme", Kind.PLAIN, "refused")
    kept = hand_in("beta", Kind.PLAIN, "kept")
    world.fleet.wait_subject("fine")
    received = world.fleet.wait_subject("kept")
    assert received.tls is None, "beta asks for nothing"
    delivered = wait_told(events, EventKind.DELIVERED, fine)
    assert str(delivered.details["service"]).startswith("gp-burst-private")
    assert delivered.details["tls"] == "encrypted"
    bounced = wait_told(events, EventKind.BOUNCED, refused)
    assert bounced.details["status"] == "5.7.4"
    assert told(events, EventKind.DELIVERED, refused) == []
    of_sender = wait_told(events, EventKind.DELIVERED, kept)
    assert of_sender.message == message_id_of(postfix.hostname, kept).hex()
    # The notice of the failure has come back to the main instance, and from there to the intake.
    postfix.wait_log(rf" postfix/lmtp\[\d+\]: \w+: to=<\w+@{BOUNCE_DOMAIN}>.*status=sent")
    assert world.fleet.plaintext_data("plain.example") == 1, "beta's, and nobody else's"
    shares = gatepost.json("tls", "share", "--by", "tenant")["shares"]
    classes = ("encrypted", "plaintext", "unknown", "refused")
    sent = {row["name"]: [row["deliveries"][each] for each in classes] for row in shares}
    assert sent == {"acme": [1, 0, 0, 1], "beta": [0, 1, 0, 0]}, "handing over is no delivery"


def test_its_sources_share_the_mail(gatepost: Gatepost, world: World) -> None:
    assert gatepost
    count = 24
    for number in range(count):
        hand_in("acme", Kind.GOOD, f"shared {number}")
    for number in range(count):
        world.fleet.wait_subject(f"shared {number}")
    clients = Counter(
        each.client for each in world.fleet.messages() if "shared" in each.message["Subject"]
    )
    assert set(clients) == set(SOURCES), "each message has a token, and each its source by that"


def test_bounces_return_as_the_main_instance_s_own(
    gatepost: Gatepost, world: World, postfix: PrivatePostfix
) -> None:
    assert gatepost
    hand_in("beta", Kind.REFUSES, "to nobody")
    notice = world.fleet.wait_message(lambda each: each.recipients == ("n@beta.example",), 15)
    assert notice.sender == ""
    assert b"to nobody" in notice.octets
    postfix.wait_log(r" postfix/smtp\[\d+\]: \w+: to=<n@beta\.example>.*status=sent")
    notices = [each for each in world.fleet.messages() if each.recipients == ("n@beta.example",)]
    assert len(notices) == 1


def test_what_the_client_asked_for_goes_along(gatepost: Gatepost, world: World) -> None:
    assert gatepost
    with smtplib.SMTP(ADDRESS, 587) as client:
        client.login("beta", "secret")
        body = "Subject: asked\r\n\r\nj\u00f6\r\n".encode()
        asked = ["BODY=8BITMIME", "RET=HDRS", "ENVID=abc"]
        client.sendmail("n@beta.example", ["asked@good.example"], body, asked)
    words = world.fleet.wait_subject("asked").parameters.split()
    assert {each for each in words if not each.startswith("SIZE=")} == set(asked)


def test_nobody_else_can_put_mail_in(
    gatepost: Gatepost, postfix: PrivatePostfix, place: Place
) -> None:
    assert gatepost
    doors = (place.queue / "private" / "gatepost", postfix.queue_dir / "private/gatepost-return")
    for door in doors:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(door))
            assert client.recv(3) == b"220"
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(door)!r})"
        done = subprocess.run(
            ["/usr/bin/python3", "-c", code],
            user=NOBODY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "PermissionError" in done.stderr
    done = subprocess.run(
        ["/usr/sbin/sendmail", "-C", place.config_dir, "-f", "n@acme.example", "u@good.example"],
        user=NOBODY,
        input="Subject: forged\n\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert place.recipients() == []


def test_while_it_is_down_mail_waits_in_the_main_queue(
    gatepost: Gatepost, world: World, postfix: PrivatePostfix, place: Place
) -> None:
    place.postfix.stop()
    status = gatepost.json("status", status=1)
    assert any("lane burst does not run" in each for each in status["down"])
    hand_in("beta", Kind.GOOD, "patient")
    wait_until(lambda: [each.queue for each in postfix.queue()] == ["deferred"], 10, "waiting")
    (waiting,) = postfix.queue()
    assert "private/gatepost" in waiting.reason
    place.postfix.start()
    postfix.flush()
    world.fleet.wait_subject("patient")


def test_one_that_is_to_go_stays_until_it_is_empty(
    gatepost: Gatepost, postfix: PrivatePostfix, place: Place, before: dict[str, bytes]
) -> None:
    hand_in("beta", Kind.DEAD, "stuck")
    wait_until(lambda: place.recipients() == ["u@dead.example"], 10, "mail in the instance")
    subprocess.run(["/usr/sbin/postsuper", "-c", place.config_dir, "-h", "ALL"], check=True)
    hand_in("beta", Kind.DEAD, "goes back")
    wait_until(lambda: len(place.recipients()) == 2, 10, "more of it")
    ordinary = {"burst": {"concurrency": 17}}
    gatepost.configure({**CONFIGURATION, "lanes": ordinary, "maillog": str(postfix.maillog)})
    (left,) = change(gatepost, "attach")["left"]
    assert left == {"lane": "burst", "config_dir": str(place.config_dir), "messages": 1}
    assert place.postfix.running()
    assert [each.recipient for each in postfix.queue()] == ["u@dead.example"], "one is back"
    assert postfix.postconf("multi_instance_directories") == str(place.config_dir)
    master = (postfix.config_dir / "master.cf").read_text()
    assert "gatepost-return unix" in master
    assert "\ngp-burst-standard " in master
    assert "\ngp-burst " not in master
    subprocess.run(["/usr/sbin/postsuper", "-c", place.config_dir, "-H", "ALL"], check=True)
    assert change(gatepost, "detach")["left"] == []
    assert not place.there
    assert {name: (postfix.config_dir / name).read_bytes() for name in FILES} == before
    assert [each.recipient for each in postfix.queue()] == ["u@dead.example"] * 2
