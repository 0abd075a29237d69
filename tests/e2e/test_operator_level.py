"""What the operator asks for is never weakened, and rules that Postfix never sees are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.send import Mail
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LEVEL = "smtp_tls_security_level"
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "enforce"},
    "tls": {
        "profiles": {
            "private": {"level": "encrypt", "domains": {"plain.example": {"level": "may"}}},
        },
        "domains": {"selfsigned.example": {"level": "encrypt"}},
    },
    "lanes": {"bulk": {"concurrency": 5}},
    "tenants": {
        "acme": {"logins": ["acme"], "senders": ["acme.example"], "profile": "private"},
        "beta": {"logins": ["beta"], "senders": ["beta.example"], "lane": "bulk"},
    },
}
NOT_VERIFIED = "Server certificate not verified"
NOT_OFFERED = "TLS is required, but was not offered"


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix(main={LEVEL: "verify"}) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    with world.gatepost(postfix, CONFIGURATION) as running:
        running.attach()
        yield running


@pytest.fixture
def operator(postfix: PrivatePostfix, gatepost: Gatepost) -> Callable[[str], None]:
    """Return a function that changes the operator's level, as an administrator would."""

    def change(level: str) -> None:
        postfix.configure({LEVEL: level})
        postfix.reload()
        gatepost.reload()

    return change


def mail(tenant: str, domain: str) -> Mail:
    return Mail(f"n@{tenant}.example", f"u@{domain}", f"{tenant} to {domain}", tenant)


def stranger(domain: str) -> Mail:
    return Mail("n@stranger.example", f"u@{domain}", f"stranger to {domain}")


@pytest.mark.parametrize(
    ("level", "sent", "status", "text"),
    [
        # The profile's encrypt does not make less of it, nor do the rules for everyone.
        ("verify", mail("acme", "selfsigned.example"), "deferred", NOT_VERIFIED),
        ("verify", stranger("selfsigned.example"), "deferred", NOT_VERIFIED),
        ("verify", mail("acme", "good.example"), "sent", ""),
        ("secure", mail("acme", "selfsigned.example"), "deferred", NOT_VERIFIED),
        ("encrypt", mail("acme", "selfsigned.example"), "sent", ""),
        ("encrypt", mail("acme", "plain.example"), "deferred", NOT_OFFERED),
        ("encrypt", mail("beta", "plain.example"), "deferred", NOT_OFFERED),
        ("encrypt", stranger("plain.example"), "deferred", NOT_OFFERED),
        ("may", mail("acme", "selfsigned.example"), "sent", ""),
        ("may", mail("acme", "plain.example"), "sent", ""),
        ("may", mail("beta", "plain.example"), "sent", ""),
    ],
    ids=lambda value: value.subject if isinstance(value, Mail) else value,
)
def test_the_operators_level_is_joined(
    operator: Callable, deliver: Callable, level: str, sent: Mail, status: str, text: str
) -> None:
    operator(level)
    done = deliver(sent)
    assert done.status == status
    assert done.text.startswith(text)


def test_explain_names_the_operators_level(operator: Callable, gatepost: Gatepost) -> None:
    operator("verify")
    told = gatepost.command(
        "explain", "--login=acme", "--sender=n@acme.example", "--recipient=u@selfsigned.example"
    )
    assert "verify match=hostname" in told
    assert "smtp_tls_security_level verify: verify" in told


def test_a_level_that_cannot_be_joined_is_refused(
    postfix: PrivatePostfix, gatepost: Gatepost, operator: Callable
) -> None:
    postfix.configure({LEVEL: "dane"})
    said = gatepost.reload(status=1)
    assert "smtp_tls_security_level = dane cannot be joined" in said
    assert "tls.without_dane: yes" in said
    said = gatepost.command("attach", status=2)
    assert "smtp_tls_security_level = dane cannot be joined" in said
    operator("may")


def test_rules_that_postfix_is_not_asked_about_are_not_put_into_force(
    gatepost: Gatepost, deliver: Callable
) -> None:
    tenants = {"acme": {"logins": ["acme"], "senders": ["acme.example"]}}
    simple = {"modes": {"default": "enforce"}, "tenants": tenants}
    gatepost.configure(simple)
    gatepost.reload()
    gatepost.attach()
    assert deliver(mail("acme", "good.example")).service == ""
    gatepost.configure(CONFIGURATION)
    said = gatepost.reload(status=1)
    assert "main.cf does not ask Gatepost by gatepost_transport" in said
    assert "main.cf does not ask Gatepost by gatepost_tls" in said
    assert "run gatepost attach, then gatepost reload" in said
    told = gatepost.command(
        "explain", "--login=acme", "--sender=n@acme.example", "--recipient=u@good.example"
    )
    assert "BUT" in told
    assert "gatepost_transport" in told
    assert "does not ask Gatepost by gatepost_transport" in gatepost.command("doctor", status=1)
    gatepost.attach()
    gatepost.reload()
    assert deliver(mail("acme", "good.example")).service == "gp-normal-private"


def test_what_only_attach_brings_into_force_is_told(gatepost: Gatepost) -> None:
    gatepost.configure(CONFIGURATION)
    gatepost.attach()
    gatepost.reload()
    changed = {**CONFIGURATION, "lanes": {"bulk": {"concurrency": 7}}}
    gatepost.configure(changed)
    assert "gp-bulk-standard: concurrency in Postfix's files is not what" in gatepost.reload()
    gatepost.attach()
    assert "concurrency" not in gatepost.reload()
