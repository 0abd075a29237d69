"""Attached to a Postfix that has settings of its own: nothing changes until it is to, or after.

The tests are one story, in the order in which they stand.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.ca import Certificate
from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import run
from lab.send import Mail, connect, queue_id, send
from lab.world import ADDRESS, BOUNCE_DOMAIN, HOSTNAME, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

USERS = ("gamma", "laned", "other", "mailer")
MAIL_DOMAINS = {
    "operator.example": "mx.selfsigned.example",
    "routed.example": "mx.plain.example",
}
# What the administrator had before; the odd form is on purpose.
MAIN = {
    "transport_maps": "inline:{ { routed.example = smtp:[mx.selfsigned.example] } }",
    "smtp_tls_policy_maps": "\n  inline:{ { operator.example = verify } }\n# a remark\n\t",
    "smtpd_recipient_restrictions": "check_sender_access inline:{ { bad@stranger.example = "
    "reject } },\n    permit_sasl_authenticated",
    "smtpd_tls_ask_ccert": "yes",
}
RELAYHOST = "[mx.expired.example]"


def configuration(certificate: Certificate, mode: str) -> dict[str, Any]:
    pairs = re.findall("..", certificate.sha256)
    return {
        "platform": {
            "sender_id": "examplesp",
            "bounce_domain": BOUNCE_DOMAIN,
            "unknown": "reject",
            "logins": {"mailer": {"may_act_as": ["gamma"]}},
        },
        "modes": {"default": "observe"},
        "tls": {
            "profiles": {"private": {"level": "encrypt", "on_failure": "bounce"}},
            "domains": {"good.example": {"level": "verify"}, "plain.example": {"level": "encrypt"}},
        },
        "lanes": {"bulk": {"addresses": ["198.18.2.9"]}},
        "tenants": {
            "gamma": {
                "logins": ["gamma"],
                "senders": ["gamma.example"],
                "profile": "private",
                "lane": "bulk",
                "check_from": True,
                "return_path": "token",
                "feedback": {"campaign": "X-Campaign"},
                "modes": {"default": mode},
            },
            # Profile standard, which has no opinion about any destination.
            "laned": {
                "logins": ["laned"],
                "senders": ["laned.example"],
                "lane": "bulk",
                "modes": {"default": mode},
            },
            "other": {"logins": ["other"], "senders": ["other.example"], "profile": "private"},
            "certified": {
                "certificates": [":".join(pairs)],
                "senders": ["certified.example"],
                "profile": "private",
            },
        },
    }


@pytest.fixture(scope="module")
def certificate(world: World) -> Certificate:
    return world.authority.issue("client.example")


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(
        main=MAIN, users=USERS, certificate=world.authority.issue(HOSTNAME)
    ) as running:
        yield running


def files(postfix: PrivatePostfix) -> dict[str, bytes]:
    """Return what the administrator's directory holds, less sockets' and backups' business."""
    return {
        str(path.relative_to(postfix.config_dir)): path.read_bytes()
        for path in postfix.config_dir.rglob("*")
        if path.is_file() and "gatepost-backup" not in path.parts
    }


# Messages of every kind, as octets on the wire

LONG = "x" * 1200
OCTETS: dict[str, bytes] = {
    "ordinary": b"From: n@gamma.example\r\nSubject: ordinary\r\nX-Campaign: c\r\n\r\nhello\r\n",
    "eight-bit": b"From: n@gamma.example\r\nSubject: bit\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe \x80\xff\r\n",
    "eight-bit-header": b"From: \xfc <n@gamma.example>\r\nSubject: \xe4\xc3\xa4\r\n\r\nx\r\n",
    "long-lines": f"Subject: {LONG}\r\nX-Long: {LONG * 3}\r\n\r\n{LONG * 3}\r\n".encode(),
    "folded": b"Subject: folded\r\n\tonce \r\n  twice\t\r\nX-Tenant-ID:\r\n beta\r\n"
    b"X-Empty:\r\nX-Blank: \r\n \r\nFeedback-ID: a:\r\n b:c:examplesp\r\n\r\nx \r\n",
    "five-tags": b"X-Tenant-ID: beta\r\nx-tenant-id: beta\r\nX-TENANT-ID:gamma\r\n"
    b"X-Tenant-Id : beta\r\nX-Tenant-ID: gamma\r\nSubject: tags\r\n\r\nx\r\n",
    "all-of-ours": b"X-Gatepost-Token: " + b"a" * 48 + b"\r\nX-Gatepost-Session: " + b"b" * 48
    + b"\r\nFeedback-ID: 1:2:3:examplesp\r\nFeedback-ID: 4:5:6:other\r\n\r\nx\r\n",
    "too-many-tags": b"X-Tenant-ID: beta\r\n" * 250 + b"\r\nx\r\n",
    "no-headers": b"\r\njust text\r\n",
    "no-blank-line": b"no header here\r\nSubject: nor here\r\n",
    "only-headers": b"Subject: only\r\nX-Tenant-ID: beta\r\n",
    "nothing": b"",
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.x\r\n..x\r\n",
    "mbox": b"From n@gamma.example Tue Nov 24 08:00:00 2026\r\nSubject: mbox\r\n\r\n>From x\r\n",
    "bare-cr": b"Subject: cr\r\rx\r\n\r\na\rb\r\r\nc\r\n",
    "nul": b"Subject: n\0l\r\n\r\na\0b\r\n",
    "no-final-newline": b"Subject: end\r\n\r\nend",
    "mime": b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n"
    b"X-Tenant-ID: beta\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"X-Tenant-ID: beta\r\n\r\nx\r\n--b--\r\npost\r\n",
    "large": b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000,
}  # fmt: skip


@dataclass(frozen=True)
class Who:
    """One who sends each kind of message.

    Attributes:
        name: Local part of the recipient, with the kind.
        sender: Envelope sender.
        login: SASL login, or empty.
        certified: With the client certificate.
        kinds: Which messages; every one if empty.
    """

    name: str
    sender: str
    login: str = ""
    certified: bool = False
    kinds: tuple[str, ...] = ()


SOME = ("ordinary", "folded", "five-tags", "all-of-ours", "no-headers")
EVERYBODY = (
    Who("tenant", "n@gamma.example", "gamma"),
    Who("stranger", "a@stranger.example", kinds=SOME),
    Who("wrong-sender", "n@other.example", "gamma", kinds=SOME),
    Who("platform", "n@gamma.example", "mailer", kinds=SOME),
    Who("null", "", "gamma", kinds=SOME),
    Who("certified", "c@certified.example", certified=True, kinds=SOME),
)
Seen = dict[str, tuple[str, str, bytes]]


def send_everything(
    world: World, postfix: PrivatePostfix, certificate: Certificate, *, to: str = "good.example"
) -> Seen:
    """Send every message from everybody; return host, sender and octets by recipient."""
    world.fleet.forget()
    wanted = set()
    for who in EVERYBODY:
        with contextlib.closing(connect(ADDRESS, who.login)) as client:
            if who.certified:
                client.starttls(context=_context(world, certificate))
                client.ehlo()
            for kind in who.kinds or tuple(OCTETS):
                wanted.add(f"{who.name}+{kind}@{to}")
                _send(client, who.sender, f"{who.name}+{kind}@{to}", OCTETS[kind])
    wanted |= {f"sendmail+{kind}@{to}" for kind in SOME}
    for kind in SOME:
        command = ["sendmail", "-i", "-C", postfix.config_dir, "-f", "root@gamma.example"]
        run(
            [*command, f"sendmail+{kind}@{to}"],
            stdin=OCTETS[kind].replace(b"\r\n", b"\n"),
        )
    world.fleet.wait_count(len(wanted))
    seen = {
        each.recipients[0]: (each.host, each.sender, comparable(each))
        for each in world.fleet.messages()
    }
    assert set(seen) == wanted
    return seen


def _context(world: World, certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(world.authority.ca_file))
    context.check_hostname = False
    context.load_cert_chain(certificate.chain_file)
    return context


def _send(client: smtplib.SMTP, sender: str, recipient: str, octets: bytes) -> None:
    assert client.mail(sender)[0] == 250
    assert client.rcpt(recipient)[0] == 250
    assert client.docmd("DATA")[0] == 354
    # Not by smtplib's own way, which mends what is odd.
    stuffed = re.sub(rb"(?m)^\.", b"..", octets)
    end = b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n"
    client.send(stuffed + end)
    code, reply = client.getreply()
    assert code == 250, reply


def comparable(arrived: Received) -> bytes:
    """Return a message without what differs each time: queue ids and dates."""
    octets = re.sub(rb"(?m)^(\t(?:by .*)?)\bid \w+", rb"\1id ID", arrived.octets)
    octets = re.sub(rb"; \w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [+]0000 \(UTC\)", b"; DATE", octets)
    if b"from userid" in octets:
        # What Postfix adds to mail of sendmail(1) that lacks it.
        octets = re.sub(rb"(?m)^Message-Id: <[\w.]+@", b"Message-Id: <ID@", octets)
        octets = re.sub(rb"(?m)^Date: [^\r]*", b"Date: DATE", octets)
    return octets


@pytest.fixture(scope="module")
def before(
    world: World, postfix: PrivatePostfix, certificate: Certificate
) -> tuple[Seen, dict[str, bytes]]:
    """Return what arrives, and what the files are, without Gatepost."""
    original = files(postfix)
    return send_everything(world, postfix, certificate), original


@pytest.fixture(scope="module")
def gatepost(
    world: World,
    postfix: PrivatePostfix,
    certificate: Certificate,
    before: tuple[Seen, dict[str, bytes]],
) -> Iterator[Gatepost]:
    del before
    with world.gatepost(postfix, configuration(certificate, "observe")) as running:
        running.attach()
        yield running


def test_in_observe_every_message_leaves_as_before(
    world: World,
    postfix: PrivatePostfix,
    gatepost: Gatepost,
    certificate: Certificate,
    before: tuple[Seen, dict[str, bytes]],
) -> None:
    seen = send_everything(world, postfix, certificate)
    for recipient, expected in before[0].items():
        assert seen[recipient] == expected, recipient
    # It was there, and looked at each of them.
    lines = "\n".join(gatepost.log_lines())
    for tenant in ("gamma", "certified"):
        assert re.search(rf"observe tenant={tenant} feature=tag ", lines)
        assert re.search(rf"observe tenant={tenant} feature=feedback ", lines)
    assert re.search(r"observe tenant=gamma feature=sender action=reject ", lines)
    assert not re.search(r": (reject|tempfail) ", lines)


def delivery(postfix: PrivatePostfix, mail: Mail) -> tuple[str, str, str]:
    """Send a message; return the service that delivered it, the relay and the status."""
    identifier = queue_id(send(ADDRESS, mail))
    found = postfix.wait_log(
        rf" postfix/(\S+)\[\d+\]: {identifier}: to=<.* relay=([^,]+), .* status=(.*)"
    )
    return found[1], found[2].partition("[")[0], found[3]


def check_destinations(postfix: PrivatePostfix, services: dict[str, str]) -> None:
    """Show that mail goes where the administrator's settings say.

    Args:
        postfix: The sending Postfix.
        services: The service that should deliver, by login.
    """
    for login, service in services.items():
        sender = f"n@{login or 'stranger'}.example"
        here = Mail(sender, f"root@{HOSTNAME}", "here", login)
        assert delivery(postfix, here)[:2] == ("local", "local")
        # transport_maps name the service too, and win.
        routed = Mail(sender, "u@routed.example", "routed", login)
        assert delivery(postfix, routed)[:2] == ("smtp", "mx.selfsigned.example")
        there = Mail(sender, "u@expired.example", "there", login)
        assert delivery(postfix, there) == (service, "mx.expired.example", SENT)
        if login != "gamma":
            # The administrator's own TLS policy, where no profile has an opinion.
            refused = Mail(sender, "u@operator.example", "refused", login)
            assert delivery(postfix, refused) == (
                service,
                "mx.selfsigned.example",
                "deferred (Server certificate not verified)",
            )
    postfix.configure({"relayhost": RELAYHOST})
    postfix.reload()
    try:
        for login, service in services.items():
            sender = f"n@{login or 'stranger'}.example"
            relayed = Mail(sender, "u@selfsigned.example", "relayed", login)
            assert delivery(postfix, relayed) == (service, "mx.expired.example", SENT)
            routed = Mail(sender, "u@routed.example", "routed", login)
            assert delivery(postfix, routed)[:2] == ("smtp", "mx.selfsigned.example")
    finally:
        run(["postconf", "-c", postfix.config_dir, "-X", "relayhost"])
        postfix.reload()


SENT = "sent (250 2.0.0 taken)"


@pytest.mark.usefixtures("gatepost")
def test_in_observe_mail_goes_where_it_went(postfix: PrivatePostfix) -> None:
    check_destinations(postfix, dict.fromkeys(("gamma", "laned", ""), "smtp"))
    # What the administrator refuses is refused.
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(ADDRESS, Mail("bad@stranger.example", "u@good.example", "x"))
    assert caught.value.smtp_code == 554


def test_attaching_again_changes_nothing(postfix: PrivatePostfix, gatepost: Gatepost) -> None:
    attached = files(postfix)
    printed = gatepost.json("attach")
    assert printed["changed"] == []
    assert files(postfix) == attached


def test_the_switch_to_enforce_is_in_force_at_once_also_for_queued_mail(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, certificate: Certificate
) -> None:
    attached = files(postfix)
    world.fleet.stop()
    queued = []
    for number in range(2):
        mail = Mail("n@gamma.example", f"u{number}@plain.example", f"queued {number}", "gamma")
        queued.append(queue_id(send(ADDRESS, mail)))
        postfix.wait_log(rf" postfix/smtp\[\d+\]: {queued[-1]}: to=.* status=deferred")
    gatepost.configure(configuration(certificate, "enforce"))
    gatepost.reload()
    world.fleet.start()
    world.fleet.forget()
    # The very next message. Postfix has not been told.
    assert files(postfix) == attached
    mail = Mail("n@gamma.example", "u@good.example", "at once", "gamma", headers=["X-Tenant-ID: x"])
    send(ADDRESS, mail)
    arrived = world.fleet.wait_subject("at once")
    assert arrived.headers("X-Tenant-ID") == ["gamma"]
    assert arrived.headers("Feedback-ID") == ["tgamma:examplesp"]
    assert arrived.sender.endswith(f"@{BOUNCE_DOMAIN}")
    assert arrived.client == "198.18.2.9"
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(ADDRESS, Mail("n@other.example", "u@good.example", "x", "gamma"))
    assert caught.value.smtp_code == 553
    # And what was taken before, by the rules of before.
    postfix.flush()
    for identifier in queued:
        postfix.wait_log(
            rf" postfix/gp-bulk-private/smtp.*: {identifier}: to=.*=bounced \(TLS is req"
        )
    assert world.fleet.plaintext_data("plain.example") == 0
    # The other tenant is still only observed.
    other = Mail("o@other.example", "u@plain.example", "other", "other")
    assert delivery(postfix, other) == ("smtp", "mx.plain.example", SENT)
    assert world.fleet.wait_subject("other").headers("X-Tenant-ID") == []


@pytest.mark.usefixtures("gatepost")
def test_in_enforce_mail_goes_where_it_went(postfix: PrivatePostfix) -> None:
    services = {"gamma": "gp-bulk-private/smtp", "laned": "gp-bulk-standard/smtp", "": "smtp"}
    check_destinations(postfix, services)


def test_a_new_profile_is_taken_over_once_its_services_are_attached(
    postfix: PrivatePostfix, gatepost: Gatepost, certificate: Certificate
) -> None:
    changed = configuration(certificate, "enforce")
    changed["tls"]["profiles"]["bank"] = {"level": "verify"}
    changed["tenants"]["gamma"]["profile"] = "bank"
    gatepost.configure(changed)
    printed = gatepost.reload(status=1)
    assert "master.cf has no service gp-bulk-bank" in printed
    mail = Mail("n@gamma.example", "u@selfsigned.example", "early", "gamma")
    # What was in force still is.
    assert delivery(postfix, mail) == ("gp-bulk-private/smtp", "mx.selfsigned.example", SENT)
    assert "gp-bulk-bank" in gatepost.attach()
    gatepost.reload()
    mail = Mail("n@gamma.example", "v@selfsigned.example", "late", "gamma")
    assert delivery(postfix, mail) == (
        "gp-bulk-bank/smtp",
        "mx.selfsigned.example",
        "deferred (Server certificate not verified)",
    )


def test_detached_the_files_are_what_they_were_and_so_is_the_mail(
    world: World,
    postfix: PrivatePostfix,
    gatepost: Gatepost,
    certificate: Certificate,
    before: tuple[Seen, dict[str, bytes]],
) -> None:
    gatepost.detach()
    gatepost.stop()
    seen, original = before
    assert files(postfix) == original
    run(["postsuper", "-c", postfix.config_dir, "-d", "ALL"])
    assert send_everything(world, postfix, certificate) == seen


def test_of_several_instances_one_is_attached(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    with world.postfix(main=MAIN, address="198.18.2.25") as second:
        first, original = files(postfix), files(second)
        chosen = ("--postfix-config", str(second.config_dir))
        # Gatepost does not listen there, so all of its mail would get 4xx.
        printed = gatepost.command("attach", *chosen, status=2)
        assert str(second.queue_dir / "gatepost") in printed
        assert files(second) == original
        gatepost.command("attach", "--no-reload", "--even-if-not-running", *chosen)
        second.reload()
        mail = Mail("a@stranger.example", "u@expired.example", "x")
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            send(second.address, mail)
        assert caught.value.smtp_code // 100 == 4
        assert files(postfix) == first
        assert delivery(postfix, mail)[2] == SENT
        gatepost.command("detach", "--no-reload", *chosen)
        assert files(second) == original
        assert files(postfix) == first
