"""What goes out comes back: complaints, bounces and unsubscriptions about mail that was sent here.

Each is answered by a provider of the lab in its own form, over SMTP and Postfix, to the addresses
that the message itself carries.
"""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.token import TOKEN_CHARACTERS
from gatepost.store.open import open_events, open_received, open_suppression
from gatepost.store.received import Received as Row
from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import LabError, wait_until
from lab.reporters import (
    ReportSigner,
    bounce,
    cfbl_report,
    header,
    microsoft_report,
    unsubscribe_mail,
    yahoo_report,
)
from lab.send import Mail, connect, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, FEEDBACK_DOMAIN, World
from tests.runtime.consumer import SECRET, Consumer, closes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

YAHOO = ReportSigner("arf.mail.yahoo.com")
MICROSOFT = ReportSigner("hotmail.com")
PROVIDER = ReportSigner("provider.example")
STRANGER = ReportSigner("stranger.example")
CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "bounce_domain": BOUNCE_DOMAIN,
        "feedback_domain": FEEDBACK_DOMAIN,
        "unsubscribe_url": "https://mail.sender.example/unsubscribe",
    },
    "modes": {"default": "enforce"},
    "ladder": {"min_delivered": 3, "min_complaints": 3},
    "tenants": {
        name: {
            "logins": [name],
            "senders": [f"{name}.example"],
            "return_path": "token",
            "feedback": {
                "campaign": "X-Campaign",
                "mail_type": "X-Mail-Type",
                "unsubscribe": ["newsletter"],
            },
            "modes": {"ladder": "enforce" if name == "gamma" else "observe"},
        }
        for name in ("acme", "beta", "gamma")
    },
}
# From outside.
REMOTE = "198.18.2.9"
LABELS = ("X-Campaign: Spring Sale", "X-Mail-Type: newsletter")
SOON_S = 30
KILLS = 3


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World((Kind.GOOD, Kind.REFUSES))
    made.names.address("remote.example", REMOTE)
    for signer in (YAHOO, MICROSOFT):
        made.names.outside[signer.name] = signer.record
    for signer in (PROVIDER, STRANGER):
        made.names.text(signer.name, signer.record)
    with made:
        yield made


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    # What another host refuses is sent back at once.
    with world.postfix(main={"mynetworks": "127.0.0.0/8"}) as running:
        yield running


class Books:
    """What Gatepost knows."""

    def __init__(self, gatepost: Gatepost) -> None:
        url = f"sqlite:///{gatepost.directory}/state/gatepost.db"
        self._events = open_events(url)
        self._received = open_received(url)
        self._suppression = open_suppression(url)
        self._gatepost = gatepost

    def events(self, *kinds: EventKind, recipient: str | None = None) -> list[Event]:
        found = [each.event for each in self._events.after(0, 10_000, kinds=kinds or None)]
        return [each for each in found if recipient in (None, each.recipient)]

    def wait_event(self, kind: EventKind, recipient: str) -> Event:
        wait_until(lambda: bool(self.events(kind, recipient=recipient)), SOON_S, f"{kind}")
        return self.events(kind, recipient=recipient)[0]

    def rows(self) -> list[Row]:
        return self._received.latest(1000)

    def wait_rows(self, message: str, count: int) -> list[Row]:
        """Wait until so many mails about a message have been dealt with, and return all."""

        def rows() -> list[Row]:
            return [each for each in self.rows() if each.message == message]

        wait_until(lambda: len(rows()) >= count, SOON_S, f"{count} mails about {message}")
        self.wait_idle()
        return rows()

    def wait_idle(self) -> None:
        """Wait until everything that came back has been dealt with."""
        new = self._gatepost.directory / "intake" / "new"
        wait_until(lambda: not list(new.iterdir()), SOON_S, "the intake to be empty")

    def suppressed(self, recipient: str, tenant: str = "acme") -> str:
        found = self._suppression.find(tenant, recipient, time.time(), SuppressionRules())
        return "" if found is None else found.reason.value

    def close(self) -> None:
        for each in (self._events, self._received, self._suppression):
            each.close()


@pytest.fixture(scope="module")
def consumer() -> Iterator[Consumer]:
    made = Consumer()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix, consumer: Consumer) -> Iterator[Gatepost]:
    hook = {"url": consumer.url(), "secret_file": "hook", "allow_private": True}
    wait_until(postfix.maillog.exists, 10, "Postfix's log")
    postfix.maillog.chmod(0o644)
    more = {"webhooks": {"acme": hook}, "maillog": str(postfix.maillog)}
    made = world.gatepost(postfix, {**CONFIGURATION, **more})
    secret = made.directory / "hook"
    secret.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    secret.chmod(0o600)
    shutil.chown(secret, "nobody")
    with made as running:
        running.attach()
        yield running


@pytest.fixture(scope="module")
def books(gatepost: Gatepost) -> Iterator[Books]:
    with contextlib.closing(Books(gatepost)) as opened:
        yield opened


@pytest.fixture
def out(world: World) -> Callable[..., Received]:
    """Return a function that sends a tenant's message and returns how it arrived."""

    def sent(recipient: str, *more: str, login: str = "acme") -> Received:
        subject = f"{recipient.partition('@')[0]} of {login}"
        mail = Mail(
            f"news@{login}.example", recipient, subject, login, LABELS, more_recipients=more
        )
        send(ADDRESS, mail)
        return world.fleet.wait_subject(subject)

    return sent


def back(mail: bytes, to: str, sender: str = "") -> None:
    """Hand a mail in from outside."""
    with contextlib.closing(connect(ADDRESS, client=REMOTE)) as connection:
        refused = connection.sendmail(sender, [to], mail)
        assert refused == {}


def cfbl_address(original: Received) -> str:
    return header(original.octets, "CFBL-Address").partition(";")[0].strip()


def refusal(recipient: str, login: str = "acme") -> str:
    """Return how the next RCPT TO is answered, or an empty text if it is taken."""
    with contextlib.closing(connect(ADDRESS, login)) as connection:
        connection.mail(f"news@{login}.example")
        code, text = connection.rcpt(recipient)
        return "" if code == 250 else f"{code} {text.decode()}"


def wait_refused(recipient: str) -> str:
    wait_until(lambda: refusal(recipient) != "", SOON_S, f"{recipient} to be refused")
    return refusal(recipient)


@pytest.mark.parametrize(
    ("name", "report", "reporter"),
    [
        (
            "yahoo",
            lambda got, to: YAHOO.sign(
                yahoo_report(got.octets, to, "yahoo@good.example", incidents=500)
            ),
            "arf.mail.yahoo.com",
        ),
        (
            "microsoft",
            lambda got, to: MICROSOFT.sign(microsoft_report(got.octets, to)),
            "hotmail.com",
        ),
        (
            "cfbl",
            lambda got, to: PROVIDER.sign(cfbl_report(got.octets, to, "provider.example")),
            "provider.example",
        ),
    ],
    ids=["yahoo", "microsoft", "cfbl"],
)
def test_a_complaint_names_the_tenant_and_ends_the_mail(
    out, books, consumer, name, report, reporter
):
    recipient = f"{name}@good.example"
    got = out(recipient)
    to = cfbl_address(got)
    assert to.endswith(f"@{FEEDBACK_DOMAIN}")
    for _ in range(2):
        back(report(got, to), to, "feedback@provider.example")
    event = books.wait_event(EventKind.COMPLAINED, recipient)
    assert (event.tenant, event.campaign, event.mail_type) == ("acme", "Spring Sale", "newsletter")
    assert (event.sender, event.reporter) == ("news@acme.example", reporter)
    rows = books.wait_rows(event.message, 2)
    assert sorted(each.result for each in rows) == ["believed", "repeated"]
    assert len(books.events(EventKind.COMPLAINED, recipient=recipient)) == 1
    assert "5.7.1" in wait_refused(recipient)
    assert "complaint" in refusal(recipient)
    # Another tenant may still write there.
    assert refusal(recipient, "beta") == ""
    # Each request's signature is checked where its events are taken out.
    wait_until(lambda: event.id in consumer.ids(), SOON_S, "the webhook to tell of it")
    (told,) = [each for got in consumer.all for each in got.events if each["id"] == event.id]
    assert told["type"] == "message.complained"
    assert (told["data"]["recipient"], told["data"]["campaign"]) == (recipient, "Spring Sale")


def test_a_notice_of_another_server_is_a_hard_bounce(out, books):
    got = out("gone@good.example")
    assert re.fullmatch(rf"[a-z2-7]{{{TOKEN_CHARACTERS}}}@{BOUNCE_DOMAIN}", got.sender)
    back(bounce(got.sender, "gone@good.example"), got.sender)
    event = books.wait_event(EventKind.BOUNCED, "gone@good.example")
    assert (event.details["class"], event.details["severity"]) == ("invalid-recipient", "hard")
    assert "hard bounce" in wait_refused("gone@good.example")


def test_what_this_host_sends_back_itself_comes_the_same_way(books):
    send(
        ADDRESS,
        Mail(
            "news@acme.example",
            "one@refuses.example",
            "own bounce",
            "acme",
            LABELS,
            more_recipients=["two@refuses.example"],
        ),
    )
    for name in ("one", "two"):
        event = books.wait_event(EventKind.BOUNCED, f"{name}@refuses.example")
        assert (event.tenant, event.campaign) == ("acme", "Spring Sale")
    # The log may have told of it before the notice is there.
    rows = books.wait_rows(event.message, 1)
    assert [(each.kind, each.result) for each in rows] == [("bounce", "believed")]
    for name in ("one", "two"):
        assert len(books.events(EventKind.BOUNCED, recipient=f"{name}@refuses.example")) == 1
        assert books.suppressed(f"{name}@refuses.example") == "hard-bounce"


def test_an_unsubscription_by_mail(out, books):
    got = out("tired@good.example")
    offered = header(got.octets, "List-Unsubscribe")
    to = re.search(r"mailto:([^>?]+)", offered)
    assert to, offered
    back(unsubscribe_mail(to[1], "tired@good.example"), to[1], "tired@good.example")
    event = books.wait_event(EventKind.UNSUBSCRIBED, "tired@good.example")
    assert event.tenant == "acme"
    assert "unsubscribed" in wait_refused("tired@good.example")


def test_no_forgery_suppresses_pauses_or_reveals_anything(out, books, world, postfix):
    got = out("victim@good.example")
    other = out("attacker@good.example")
    to = cfbl_address(got)
    many = out("many1@good.example", "many2@good.example")
    suppressions = len(books.events(EventKind.COMPLAINED))
    before, arrived = len(books.rows()), len(world.fleet.messages())
    logged = len(postfix.log_lines())
    told = yahoo_report(got.octets, to, "victim@good.example")
    token = header(got.octets, "X-Gatepost-Token")
    foreign = b"From: a@b.example\r\nMessage-ID: <2@b.example>\r\n\r\nx\r\n"
    forged = {
        "unsigned": told,
        "signed by a stranger": STRANGER.sign(told),
        "changed after signing": YAHOO.sign(told).replace(b"hello", b"HELLO"),
        "signed for a part only": YAHOO.sign(told, length=True) + b"x\r\n",
        "a user of the provider": MICROSOFT.sign(
            told.replace(b"feedback@arf.mail.yahoo.com", b"anybody@hotmail.com")
        ),
        "a token above a genuine report": f"X-Gatepost-Token: {token}\r\n".encode()
        + YAHOO.sign(yahoo_report(foreign, to, "victim@good.example")),
        "no token": YAHOO.sign(yahoo_report(foreign, to, "victim@good.example")),
        "a token that was changed": YAHOO.sign(
            told.replace(token.encode(), (token[:-1] + ("b" if token[-1] == "a" else "a")).encode())
        ),
        "about a report": YAHOO.sign(yahoo_report(told, to, "victim@good.example")),
    }
    for mail in forged.values():
        back(mail, to, "x@stranger.example")
    bounces = {
        "no token": (f"victim@{BOUNCE_DOMAIN}", "victim@good.example"),
        "a complaint token": (f"{token}@{BOUNCE_DOMAIN}", "victim@good.example"),
        # Whoever got a message of his own can speak of himself only.
        "somebody else's address": (other.sender, "victim@good.example"),
        "a recipient of the same message": (many.sender, "many2@good.example"),
    }
    for address, recipient in bounces.values():
        back(bounce(address, recipient), address)
    wish = f"{token}@{FEEDBACK_DOMAIN}"
    back(unsubscribe_mail(wish, "victim@good.example"), wish, "victim@good.example")
    count = len(forged) + len(bounces) + 1
    wait_until(lambda: len(books.rows()) == before + count, SOON_S, "all to be dealt with")
    results = [each.result for each in books.rows()[:count]]
    # The one bounce that is believed is about its own recipient.
    assert results.count("believed") == 1
    for recipient in ("victim@good.example", "many1@good.example", "many2@good.example"):
        assert books.suppressed(recipient) == ""
        assert refusal(recipient) == ""
    assert books.suppressed("attacker@good.example") == "hard-bounce"
    assert len(books.events(EventKind.COMPLAINED)) == suppressions
    # Nothing is ever answered.
    postfix.wait_empty_queue()
    assert len(world.fleet.messages()) == arrived
    assert not any("non-delivery" in line for line in postfix.log_lines()[logged:])


def test_a_tenant_that_people_complain_about_is_paused_until_it_is_resumed(out, books, gatepost):
    names = [f"p{number}@good.example" for number in range(3)]
    for name in names:
        got = out(name, login="gamma")
        to = cfbl_address(got)
        books.wait_event(EventKind.DELIVERED, name)
        back(YAHOO.sign(yahoo_report(got.octets, to, name)), to, "feedback@arf.mail.yahoo.com")
    wait_until(lambda: refusal("new@good.example", "gamma") != "", SOON_S, "gamma to be paused")
    reply = refusal("new@good.example", "gamma")
    assert reply.startswith("450 4.7.1 ")
    assert "sending of gamma is paused: complaints 100.00 % (3 of 3" in reply
    changed = books.events(EventKind.STATUS_CHANGED)[-1]
    assert (changed.tenant, changed.details["to"]) == ("gamma", "pause-all")
    assert refusal("new@good.example", "beta") == ""
    gatepost.command("tenant", "resume", "gamma", "--reason", "list cleaned")
    wait_until(lambda: refusal("new@good.example", "gamma") == "", SOON_S, "gamma to send again")


def test_killed_again_and_again_nothing_is_lost_and_nothing_doubled(
    out, books, gatepost, postfix, consumer
):
    names = [f"k{number}@good.example" for number in range(12)]
    originals = [out(name) for name in names]
    to = cfbl_address(originals[0])
    reports = [
        YAHOO.sign(yahoo_report(got.octets, to, name))
        for got, name in zip(originals, names, strict=True)
    ]
    done, enough = threading.Event(), threading.Event()
    killed: list[str] = []
    # The consumer dies in the middle of a request, too.
    consumer.next = [closes]

    def kill() -> None:
        while not done.wait(0.4):
            # While it is being started again, there is nobody to kill.
            with contextlib.suppress(LabError):
                gatepost.kill("back")
                killed.append("back")
                if len(killed) >= KILLS:
                    enough.set()

    killer = threading.Thread(target=kill)
    killer.start()
    for report in reports:
        back(report, to, "feedback@arf.mail.yahoo.com")
    assert enough.wait(60), killed
    done.set()
    killer.join()
    gatepost.wait_answering()
    postfix.flush()
    for name in names:
        books.wait_event(EventKind.COMPLAINED, name)
    postfix.wait_empty_queue()
    books.wait_idle()
    complaints = [each.recipient for each in books.events(EventKind.COMPLAINED)]
    assert sorted(each for each in complaints if each in names) == sorted(names)
    assert all(books.suppressed(name) == "complaint" for name in names)
    wanted = {each.id for each in books.events(EventKind.COMPLAINED)}
    wait_until(lambda: wanted <= set(consumer.ids()), SOON_S, "the webhook to tell of all")


def test_while_the_intake_is_away_postfix_keeps_the_mail(out, books, postfix):
    got = out("later@good.example")
    socket = postfix.queue_dir / "gatepost" / "intake.sock"
    away = socket.rename(socket.with_name("away.sock"))
    back(bounce(got.sender, "later@good.example"), got.sender)
    postfix.wait_log(rf"to=<{re.escape(got.sender)}>.*status=deferred")
    away.rename(socket)
    postfix.flush_until(rf"to=<{re.escape(got.sender)}>.*status=sent")
    books.wait_event(EventKind.BOUNCED, "later@good.example")


def test_mail_to_other_addresses_there_is_refused():
    with contextlib.closing(connect(ADDRESS, client=REMOTE)) as connection:
        connection.mail("")
        assert connection.rcpt(f"x@sub.{BOUNCE_DOMAIN}")[0] // 100 == 5
        assert connection.rcpt("x@elsewhere.example")[0] // 100 != 2
        with pytest.raises(smtplib.SMTPException):
            connection.data(b"x")
