"""Mail servers: what each kind does to a real Postfix, and that the record tells the truth."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest

from lab.fleet import Fleet, Received
from lab.mx import MEANING, WITHOUT_TLS, Host, Kind
from lab.postfix import PrivatePostfix
from lab.process import find, wait_until
from lab.send import Mail, send
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

PLAINTEXT = None
NEW, OLD = "TLSv1.3", "TLSv1.1"

# What becomes of a message under opportunistic TLS, and the TLS version it arrives with.
TAKEN = {
    Kind.GOOD: NEW,
    Kind.SELF_SIGNED: NEW,
    Kind.WRONG_NAME: NEW,
    Kind.EXPIRED: NEW,
    Kind.SLOW: NEW,
    Kind.LIMITS: NEW,
    Kind.OLD_TLS: OLD,
    Kind.PLAIN: PLAINTEXT,
    Kind.REFUSES_TLS: PLAINTEXT,
}
NOT_TAKEN = {
    Kind.DEAD: "status=deferred .*Connection refused",
    Kind.BUSY: "status=deferred .*421 4.3.2 too busy",
    Kind.REFUSES: "status=bounced .*550 5.1.1 no such user",
    Kind.BROKEN_TLS: "status=deferred .*Cannot start TLS",
    Kind.CLOSES: "status=deferred .*lost connection .* while sending DATA",
    Kind.HANGS_GREETING: "status=deferred .*timed out while receiving the initial server greeting",
    Kind.HANGS_EHLO: "status=deferred .*timed out while performing the EHLO handshake",
    Kind.HANGS_TLS: "status=deferred .*Cannot start TLS",
    Kind.HANGS: "status=deferred .*timed out while sending RCPT TO",
    Kind.HANGS_DATA: "status=deferred .*timed out while sending DATA command",
    Kind.HANGS_END: "status=deferred .*timed out while sending end of data",
}
# What posttls-finger(1) says of a host whose certificate should verify.
FINGER = {
    Kind.GOOD: "Verified TLS connection established",
    Kind.SELF_SIGNED: "self-signed certificate",
    Kind.WRONG_NAME: "hostname mismatch",
    Kind.EXPIRED: "certificate has expired",
    Kind.BROKEN_TLS: "SSL_connect error",
    Kind.REFUSES_TLS: "454 4.7.0",
}


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    steps = ("helo", "mail", "rcpt", "data_init", "data_done", "starttls", "quit")
    timeouts = {f"smtp_{step}_timeout": "4s" for step in steps}
    tls = {"smtp_tls_security_level": "may", "smtp_tls_loglevel": "1"}
    with world.postfix(main={**timeouts, **tls}) as running:
        # All at once, or each test would wait for its own timeout.
        for kind in NOT_TAKEN:
            deliver(running, kind, f"to {kind}")
        yield running


@pytest.fixture
def fleet(world: World) -> Fleet:
    world.fleet.forget()
    return world.fleet


def host(fleet: Fleet, kind: Kind) -> Host:
    return next(each for each in fleet.hosts if each.kind is kind)


def deliver(postfix: PrivatePostfix, kind: Kind, subject: str) -> None:
    send(postfix.address, Mail("a@acme.example", f"u@{kind}.example", subject, login="acme"))


def client(fleet: Fleet, kind: Kind) -> smtplib.SMTP:
    return smtplib.SMTP(host(fleet, kind).address, 25, "client.example", 20)


def anything_goes() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_each_kind_is_covered_and_explained() -> None:
    assert set(TAKEN) | set(NOT_TAKEN) == set(Kind) == set(MEANING)


@pytest.mark.parametrize("kind", TAKEN)
def test_a_real_postfix_delivers(postfix: PrivatePostfix, fleet: Fleet, kind: Kind) -> None:
    deliver(postfix, kind, f"to {kind}")
    arrived = fleet.wait_subject(f"to {kind}")
    assert arrived.kind is kind
    assert arrived.host == f"mx.{kind}.example"
    assert arrived.client == postfix.address
    assert (arrived.sender, arrived.recipients) == ("a@acme.example", (f"u@{kind}.example",))
    assert (arrived.tls and arrived.tls["version"]) == TAKEN[kind]
    assert fleet.plaintext_data(f"{kind}.example") == (TAKEN[kind] is PLAINTEXT)


@pytest.mark.parametrize("kind", FINGER)
def test_certificates_are_what_they_claim(
    world: World, postfix: PrivatePostfix, kind: Kind
) -> None:
    options = ["-c", "-l", "secure", "-F", str(world.authority.ca_file)]
    place = f"[{host(world.fleet, kind).name}]"
    said = subprocess.run(
        [find("posttls-finger"), *options, place, host(world.fleet, kind).name],
        env={"MAIL_CONFIG": str(postfix.config_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    ).stdout
    assert FINGER[kind] in said


def test_old_tls_refuses_what_is_newer(fleet: Fleet) -> None:
    with client(fleet, Kind.OLD_TLS) as old:
        context = anything_goes()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            old.starttls(context=context)
        old.close()
    wait_until(lambda: bool(fleet.sessions("oldtls.example")), 10, "the session's record")
    assert fleet.sessions("oldtls.example") == [["EHLO", "STARTTLS"]]


@pytest.mark.parametrize("kind", sorted(set(Kind) - WITHOUT_TLS - {Kind.HANGS_EHLO}))
def test_tls_is_offered_where_it_is_said_to_be(fleet: Fleet, kind: Kind) -> None:
    with client(fleet, kind) as any_client:
        any_client.ehlo()
        assert any_client.has_extn("starttls")
        any_client.close()


def test_a_data_command_in_plaintext_is_recorded_before_any_content(fleet: Fleet) -> None:
    with client(fleet, Kind.GOOD) as careless:
        careless.mail("a@acme.example")
        careless.rcpt("u@good.example")
        assert careless.docmd("DATA")[0] == 354
        assert fleet.plaintext_data("good.example") == 1
        careless.close()
    assert fleet.messages("good.example") == []
    assert fleet.plaintext_data("plain.example") == 0


def test_a_data_command_out_of_order_is_recorded_too(fleet: Fleet) -> None:
    with client(fleet, Kind.GOOD) as hasty:
        assert hasty.docmd("DATA")[0] == 554
        assert fleet.plaintext_data("good.example") == 1


def test_data_over_tls_is_not_plaintext(fleet: Fleet) -> None:
    with client(fleet, Kind.GOOD) as careful:
        careful.starttls(context=anything_goes())
        careful.sendmail("a@acme.example", "u@good.example", b"Subject: t\r\n\r\nt\r\n")
    arrived = one(fleet)
    assert arrived.tls == {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"}
    assert fleet.plaintext_data("good.example") == 0


def test_what_was_said_before_starttls_is_forgotten(fleet: Fleet) -> None:
    with client(fleet, Kind.GOOD) as mixed:
        mixed.mail("injected@acme.example")
        mixed.rcpt("u@good.example")
        mixed.starttls(context=anything_goes())
        assert mixed.docmd("DATA")[0] == 554


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
        b"Subject: octets\r\n\r\n\x00\xff\xfe\x80\r\n",
        b"Subject: long\r\n\r\n" + b"x" * 60_000 + b"\r\n",
        b"",
    ],
    ids=["dots", "octets", "long line", "nothing"],
)
def test_messages_are_kept_octet_by_octet(fleet: Fleet, content: bytes) -> None:
    with client(fleet, Kind.PLAIN) as sender:
        sender.mail("a@acme.example")
        sender.rcpt("u@plain.example")
        sender.docmd("DATA")
        stuffed = b"".join(
            b"." + line if line.startswith(b".") else line for line in content.splitlines(True)
        )
        sender.send(stuffed + b".\r\n")
        assert sender.getreply()[0] == 250
    assert one(fleet).octets == content


def test_a_line_without_end_ends_the_connection_and_not_the_server(fleet: Fleet) -> None:
    place = (host(fleet, Kind.PLAIN).address, 25)
    with socket.create_connection(place, 20) as endless, contextlib.suppress(OSError):
        while endless.send(b"x" * 65536):
            pass
    with client(fleet, Kind.PLAIN) as other:
        assert other.noop()[0] == 250


def test_several_recipients_and_messages_on_one_connection(fleet: Fleet) -> None:
    with client(fleet, Kind.PLAIN) as sender:
        for number in range(3):
            recipients = [f"{name}{number}@plain.example" for name in "ab"]
            sender.sendmail("", recipients, f"Subject: {number}\r\n\r\n".encode())
    assert [each.recipients for each in fleet.messages("plain.example")] == [
        (f"a{number}@plain.example", f"b{number}@plain.example") for number in range(3)
    ]
    assert {each.sender for each in fleet.messages()} == {""}


def test_the_servers_come_back_and_the_record_goes_on(fleet: Fleet) -> None:
    def send_one() -> None:
        with client(fleet, Kind.PLAIN) as sender:
            sender.sendmail("a@acme.example", "u@plain.example", b"Subject: x\r\n\r\n")

    send_one()
    fleet.stop()
    with pytest.raises(ConnectionRefusedError):
        client(fleet, Kind.PLAIN)
    fleet.start()
    send_one()
    fleet.wait_count(2)


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_a_real_postfix_fails(postfix: PrivatePostfix, fleet: Fleet, kind: Kind) -> None:
    postfix.wait_log(rf"to=<u@{kind}\.example>.*{NOT_TAKEN[kind]}")
    # Of the whole record: the message was sent before this test began.
    assert ("message", kind) not in {(e["event"], e.get("kind")) for e in fleet._read}


def one(fleet: Fleet) -> Received:
    fleet.wait_count(1)
    (message,) = fleet.messages()
    return message
