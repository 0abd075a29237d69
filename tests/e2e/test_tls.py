"""How it must travel: what leaves in which way, told by the mail servers and by Postfix's log."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import run
from lab.send import Mail, queue_id, send
from lab.world import ADDRESS, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

# Tenants are named after their profile.
PROFILES: dict[str, Any] = {
    "private": {"level": "encrypt", "on_failure": "bounce"},
    "patient": {"level": "encrypt", "on_failure": "defer"},
    "bank": {"level": "verify", "on_failure": "defer"},
    "strict": {"level": "verify", "on_failure": "bounce"},
    "modern": {"level": "encrypt", "min_version": "TLSv1.2"},
    "partner": {
        "level": "verify",
        "on_failure": "bounce",
        "domains": {
            "wrongname.example": {
                "level": "verify",
                "match": [".partner.example", "mx.somebody-else.example"],
            },
            "good.example": {"level": "verify", "match": ["mx.somebody-else.example"]},
            # Its own word, so it may ask for less than the base.
            "plain.example": {"level": "may"},
        },
    },
    "standard": {"level": "may"},
}
CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp"},
    "modes": {"default": "enforce"},
    "tls": {
        "profiles": PROFILES,
        "domains": {
            "ministry.example": {"level": "encrypt"},
            ".ministry.example": {"level": "verify"},
        },
    },
    "tenants": {
        name: {"logins": [name], "senders": [f"{name}.example"], "profile": name}
        for name in PROFILES
    },
}
USERS = tuple(PROFILES)
MAIL_DOMAINS = {
    # Where bounces go.
    "private.example": "mx.good.example",
    "strict.example": "mx.good.example",
    # Rules for everyone.
    "ministry.example": "mx.selfsigned.example",
    "dept.ministry.example": "mx.selfsigned.example",
}
NO_STARTTLS = "TLS is required, but was not offered by host mx.plain.example"
NOT_VERIFIED = "Server certificate not verified"


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(users=USERS) as running:
        yield running


# One role each, so that one can be taken away.
@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    gatepost = world.gatepost(postfix, CONFIGURATION)
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


@pytest.fixture(autouse=True)
def forgetful(world: World, gatepost: Gatepost) -> Iterator[None]:
    world.fleet.forget()
    yield
    if not gatepost.answers("policy"):
        gatepost.start("policy")


def mail(tenant: str, domain: str, subject: str = "") -> Mail:
    return Mail(f"news@{tenant}.example", f"u@{domain}", subject or f"{tenant} {domain}", tenant)


def test_without_starttls_it_bounces_and_says_why(world: World, deliver: Callable) -> None:
    done = deliver(mail("private", "plain.example"))
    assert (done.status, done.dsn, done.service) == ("bounced", "5.7.4", "gp-normal-private")
    assert done.text.startswith(NO_STARTTLS)
    # What the tenant gets to read says it too.
    report = world.fleet.wait_message(lambda each: not each.sender)
    assert report.recipients == ("news@private.example",)
    assert NO_STARTTLS in " ".join(report.message.as_string().split())
    assert world.fleet.plaintext_data("plain.example") == 0
    assert world.fleet.sessions("plain.example") == [["EHLO", "QUIT"]]


def test_without_starttls_it_waits_where_that_is_configured(
    world: World, postfix: PrivatePostfix, deliver: Callable
) -> None:
    done = deliver(mail("patient", "plain.example"))
    assert (done.status, done.dsn) == ("deferred", "4.7.4")
    assert done.text.startswith(NO_STARTTLS)
    (waiting,) = [each for each in postfix.queue() if each.queue_id == done.queue_id]
    assert waiting.reason.startswith(NO_STARTTLS)
    # Nor at the next attempt, when Postfix would fall back to plaintext under level may.
    postfix.clear_log()
    postfix.flush()
    postfix.wait_log(rf"{done.queue_id}: to=.* status=deferred \({NO_STARTTLS}")
    assert world.fleet.plaintext_data("plain.example") == 0


def test_without_starttls_another_tenant_and_a_stranger_are_delivered(
    world: World, deliver: Callable
) -> None:
    done = deliver(mail("standard", "plain.example"))
    assert (done.status, done.service) == ("sent", "")
    assert world.fleet.wait_subject("standard plain.example").tls is None
    done = deliver(Mail("a@stranger.example", "u@plain.example", "stranger"))
    assert (done.status, done.service) == ("sent", "")
    assert world.fleet.plaintext_data("plain.example") == 2


def test_one_message_for_several_destinations_is_decided_for_each(
    world: World, postfix: PrivatePostfix
) -> None:
    several = Mail(
        "news@private.example",
        "u@good.example",
        "several",
        "private",
        more_recipients=("u@plain.example",),
    )
    identifier = queue_id(send(ADDRESS, several))
    postfix.wait_log(rf"{identifier}: to=<u@good\.example>.* status=sent")
    postfix.wait_log(rf"{identifier}: to=<u@plain\.example>.* status=bounced")
    assert world.fleet.plaintext_data("plain.example") == 0


@pytest.mark.parametrize("kind", ["wrongname", "selfsigned", "expired"])
@pytest.mark.parametrize(
    ("tenant", "status", "dsn"), [("strict", "bounced", "5.7.5"), ("bank", "deferred", "4.7.5")]
)
def test_verify_refuses_bad_certificates(
    world: World, deliver: Callable, kind: str, tenant: str, status: str, dsn: str
) -> None:
    done = deliver(mail(tenant, f"{kind}.example"))
    assert (done.status, done.dsn, done.text) == (status, dsn, NOT_VERIFIED)
    assert not world.fleet.messages(f"{kind}.example")


@pytest.mark.parametrize("kind", ["wrongname", "selfsigned", "expired"])
def test_encrypt_takes_any_certificate(world: World, deliver: Callable, kind: str) -> None:
    assert deliver(mail("private", f"{kind}.example")).status == "sent"
    assert world.fleet.wait_subject(f"private {kind}.example").tls is not None


@pytest.mark.parametrize("tenant", ["strict", "bank"])
def test_verify_delivers_to_a_good_certificate(
    world: World, postfix: PrivatePostfix, deliver: Callable, tenant: str
) -> None:
    postfix.clear_log()
    assert deliver(mail(tenant, "good.example")).status == "sent"
    assert world.fleet.wait_subject(f"{tenant} good.example").tls is not None
    postfix.wait_log(rf"gp-normal-{tenant}/smtp.*: Verified TLS connection established to mx\.good")


def test_min_version(world: World, deliver: Callable) -> None:
    """The version alone decides: the same server is good enough for encrypt."""
    assert deliver(mail("private", "oldtls.example")).status == "sent"
    tls = world.fleet.wait_subject("private oldtls.example").tls
    assert tls is not None
    assert tls["version"] == "TLSv1.1"
    done = deliver(mail("modern", "oldtls.example"))
    assert done.status == "deferred"
    assert done.text == "Cannot start TLS: handshake failure"
    assert len(world.fleet.messages("oldtls.example")) == 1
    assert world.fleet.plaintext_data("oldtls.example") == 0
    assert deliver(mail("modern", "good.example")).status == "sent"


def test_match_replaces_the_name_of_the_mail_server(world: World, deliver: Callable) -> None:
    assert deliver(mail("partner", "wrongname.example")).status == "sent"
    # A certificate for the server's own name is not the one that was asked for.
    done = deliver(mail("partner", "good.example"))
    assert (done.status, done.text) == ("bounced", NOT_VERIFIED)
    assert not world.fleet.messages("good.example")


def test_an_exception_in_the_profile_may_ask_for_less(world: World, deliver: Callable) -> None:
    assert deliver(mail("partner", "plain.example")).status == "sent"
    assert world.fleet.wait_subject("partner plain.example").tls is None


@pytest.mark.parametrize(
    ("sender", "domain", "status", "dsn"),
    [
        # The rule is the stricter: encrypt for the domain, verify for what is below it.
        ("private", "ministry.example", "sent", "2.0.0"),
        ("private", "dept.ministry.example", "bounced", "5.7.5"),
        ("patient", "dept.ministry.example", "deferred", "4.7.5"),
        # The profile is the stricter.
        ("strict", "ministry.example", "bounced", "5.7.5"),
        # Mail of nobody, and of a tenant without a profile of its own.
        ("", "dept.ministry.example", "deferred", "4.7.5"),
        ("standard", "dept.ministry.example", "deferred", "4.7.5"),
        ("", "ministry.example", "sent", "2.0.0"),
    ],
)
def test_rules_for_everyone_are_joined_to_the_stricter(
    world: World, deliver: Callable, sender: str, domain: str, status: str, dsn: str
) -> None:
    done = deliver(
        mail(sender, domain) if sender else Mail("a@stranger.example", f"u@{domain}", "stranger")
    )
    assert (done.status, done.dsn) == (status, dsn)
    if status != "sent":
        assert done.text == NOT_VERIFIED
        assert not world.fleet.messages("selfsigned.example")


def test_a_broken_handshake_waits_and_is_never_plaintext(
    world: World, postfix: PrivatePostfix, deliver: Callable
) -> None:
    """It looks like a server that is busy, so it does not bounce at once."""
    done = deliver(mail("private", "brokentls.example"))
    assert (done.status, done.text) == ("deferred", "Cannot start TLS: handshake failure")
    postfix.clear_log()
    postfix.flush()
    postfix.wait_log(rf"{done.queue_id}: to=.* status=deferred")
    assert world.fleet.plaintext_data("brokentls.example") == 0
    assert not world.fleet.messages("brokentls.example")


def test_starttls_that_is_refused(world: World, deliver: Callable) -> None:
    done = deliver(mail("private", "refusestls.example"))
    assert (done.status, done.dsn) == ("bounced", "5.7.0")
    assert "TLS is required, but host mx.refusestls.example" in done.text
    assert "refused to start TLS: 454 4.7.0" in done.text
    done = deliver(mail("patient", "refusestls.example"))
    assert (done.status, done.dsn) == ("deferred", "4.7.0")
    assert world.fleet.plaintext_data("refusestls.example") == 0
    assert deliver(mail("standard", "refusestls.example")).status == "sent"
    assert world.fleet.wait_subject("standard refusestls.example").tls is None


def test_an_outage_of_the_transport_map_makes_mail_wait(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost, deliver: Callable
) -> None:
    world.fleet.stop()
    done = deliver(mail("private", "plain.example", "queued"))
    assert (done.status, done.service) == ("deferred", "gp-normal-private")
    assert "Connection refused" in done.text
    gatepost.kill("policy")
    world.fleet.start()
    # The queue manager keeps its last answer for 30 s; a new one has none.
    postfix.reload()
    postfix.clear_log()
    postfix.flush()
    line = postfix.wait_log(rf"{done.queue_id}: to=.* status=").string
    assert "(address resolver failure)" in line
    assert " dsn=4." in line
    assert "status=deferred" in line
    assert "queued" not in {each.message["subject"] for each in world.fleet.messages()}
    gatepost.start("policy")
    postfix.reload()
    postfix.clear_log()
    postfix.flush()
    # Back again, the profile is what it was.
    assert "status=bounced" in postfix.wait_log(rf"{done.queue_id}: to=.* status=").string
    assert world.fleet.plaintext_data("plain.example") == 0


def test_an_outage_of_the_tls_map_makes_mail_wait_also_where_failures_bounce(
    world: World,
    postfix: PrivatePostfix,
    gatepost: Gatepost,
    attempted: Callable,
    submitted: Callable,
) -> None:
    """Past the transport map, which would not answer either, by a content filter."""
    postfix.configure({"content_filter": "gp-normal-private:plain.example"})
    postfix.reload()
    try:
        # The very service and server for which a TLS failure bounces.
        done = attempted(submitted("control"))
        assert (done.status, done.service) == ("bounced", "gp-normal-private")
        gatepost.kill("policy")
        done = attempted(submitted("outage"))
        assert (done.status, done.service) == ("deferred", "gp-normal-private")
        assert done.dsn.startswith("4.")
        assert done.text == "client TLS configuration problem"
        assert world.fleet.plaintext_data("plain.example") == 0
    finally:
        postfix.configure({"content_filter": ""})
        postfix.reload()


@pytest.fixture
def submitted(postfix: PrivatePostfix) -> Callable[[str], str]:
    """Return a function that hands a message to sendmail(1) and waits for its queue id."""

    def submit(subject: str) -> str:
        postfix.clear_log()
        content = email.message_from_string(
            f"Subject: {subject}\n\ntext\n", policy=email.policy.default
        )
        run(
            ["sendmail", "-C", postfix.config_dir, "-f", "root@private.example", "u@good.example"],
            stdin=bytes(content),
        )
        return postfix.wait_log(r"pickup\[\d+\]: (?P<id>\w+): uid=")["id"]

    return submit


ASKING = Mail(
    "news@private.example", "u@plain.example", "asking", "private", headers=["TLS-Required: no"]
)


def test_a_message_cannot_ask_for_plaintext(world: World, deliver: Callable) -> None:
    """RFC 8689's header, which Postfix heeds from 3.10 on unless it is told not to."""
    assert deliver(ASKING).status == "bounced"
    assert world.fleet.plaintext_data("plain.example") == 0


def test_it_could_without_what_attach_sets(
    world: World, postfix: PrivatePostfix, deliver: Callable
) -> None:
    """The header outdoes the map and the service's own level; so docs/tls.md says to leave it."""
    if b"\ntls_required_enable = yes\n" not in run(["postconf", "-c", postfix.config_dir, "-d"]):
        pytest.skip("this Postfix does not know the header")
    postfix.configure({"tls_required_enable": "yes"})
    postfix.reload()
    try:
        assert deliver(ASKING).status == "sent"
        assert world.fleet.plaintext_data("plain.example") == 1
    finally:
        postfix.configure({"tls_required_enable": "no"})
        postfix.reload()
