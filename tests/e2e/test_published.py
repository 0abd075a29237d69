"""What destinations publish, DANE and MTA-STS, on a real Postfix, resolver and HTTPS.

The mail servers tell what arrived and how; none of them may see less than was published or asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.store.mta_sts import SqliteSts
from lab.dns import BOGUS, INSECURE, ZONE
from lab.enter import RESOLVER
from lab.gatepost import Gatepost
from lab.mx import Host, Kind
from lab.policy_hosts import PolicyHost, PolicyHosts, policy_text
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import Mail, send
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROFILES: dict[str, Any] = {
    "private": {"level": "encrypt", "on_failure": "defer"},
    "bank": {"level": "verify", "on_failure": "defer"},
    "opened": {"level": "encrypt", "fail": "open"},
}
TENANTS = (*PROFILES, "plain")
CONFIGURATION: dict[str, Any] = {
    "platform": {"sender_id": "examplesp"},
    "modes": {"default": "enforce"},
    "tls": {"dane": True, "mta_sts": True, "profiles": PROFILES},
    "dns": {"servers": [RESOLVER], "signed": ZONE, "bogus": BOGUS},
    "tenants": {
        name: {"logins": [name], "senders": [f"{name}.example"]}
        | ({"profile": name} if name in PROFILES else {})
        for name in TENANTS
    },
}
KINDS = (Kind.GOOD, Kind.PLAIN, Kind.SELF_SIGNED, Kind.WRONG_NAME)
# Domain to its mail exchangers.
MAIL: dict[str, list[str]] = {
    "right.example": ["mx.right.example"],
    "forged.example": ["mx.forged.example"],
    "stripped.example": ["mx.stripped.example"],
    "mixed.example": ["mx.forged.example", "mx.good.example"],
    "unusable.example": ["mx.unusable.example"],
    "hidden.example": ["mx.bogus.example"],
    "broken.example": ["mx.bogus.example", "mx.good.example"],
    "sts.example": ["mx.good.example"],
    "stsplain.example": ["mx.plain.example"],
    "stsname.example": ["mx.wrongname.example"],
    "stsother.example": ["mx.good.example"],
    "stswild.example": ["mx.good.example"],
    "ststest.example": ["mx.plain.example"],
    "stsdane.example": ["mx.right.example"],
    "stsbroken.example": ["mx.good.example"],
}
STS = {
    "sts.example": PolicyHost(policy_text("mx.good.example")),
    "stsplain.example": PolicyHost(policy_text("mx.plain.example")),
    "stsname.example": PolicyHost(policy_text("mx.wrongname.example")),
    "stsother.example": PolicyHost(policy_text("mx.elsewhere.example")),
    "stswild.example": PolicyHost(policy_text("*.good.example")),
    "ststest.example": PolicyHost(policy_text("mx.elsewhere.example", mode="testing")),
    "stsdane.example": PolicyHost(policy_text("mx.elsewhere.example")),
    "stsbroken.example": PolicyHost(policy_text("mx.elsewhere.example"), certificate="expired"),
}


def key_digest(host: Host) -> str:
    octets = Path(host.chain_file).read_bytes()
    certificate = x509.load_pem_x509_certificate(octets[octets.index(b"-----BEGIN CERT") :])
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[World, PolicyHosts]]:
    world = World(KINDS)
    names = world.names
    at = {host.kind: host for host in world.fleet.hosts}
    nobody = "ab" * 32
    for name, kind, record in (
        ("mx.right.example", Kind.SELF_SIGNED, f"3 1 1 {key_digest(at[Kind.SELF_SIGNED])}"),
        ("mx.forged.example", Kind.GOOD, f"3 1 1 {nobody}"),
        ("mx.stripped.example", Kind.PLAIN, f"3 1 1 {nobody}"),
        ("mx.unusable.example", Kind.SELF_SIGNED, f"1 1 1 {nobody}"),
    ):
        names.records.append(f"{name}. A {at[kind].address}")
        names.record(f"_25._tcp.{name}. TLSA {record}")
    for domain, exchangers in MAIL.items():
        for preference, host in enumerate(exchangers):
            names.mail(domain, host, preference)
    # Not signed, at a host that is: the most common case of all.
    names.children[INSECURE] = [f"{INSECURE}. MX 10 mx.right.example."]
    policies = PolicyHosts(world.directory / "sts", world.authority, names)
    for domain, host in STS.items():
        policies.add(domain, host)
    with world, policies:
        yield world, policies


@pytest.fixture(scope="module")
def world(hosts: tuple[World, PolicyHosts]) -> World:
    return hosts[0]


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    # The operator's own transport can do DANE, too: for mail of no tenant.
    with world.postfix({"smtp_dns_support_level": "dnssec"}, users=TENANTS) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    configuration = {
        **CONFIGURATION,
        "dns": CONFIGURATION["dns"] | {"https_ca_file": str(world.authority.ca_file)},
    }
    gatepost = world.gatepost(postfix, configuration)
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


@pytest.fixture(autouse=True)
def forgetful(world: World, gatepost: Gatepost) -> None:
    world.fleet.forget()
    if not gatepost.answers("policy"):
        gatepost.start("policy")


def mail(tenant: str, domain: str) -> Mail:
    return Mail(f"news@{tenant}.example", f"u@{domain}", f"{tenant} {domain}", tenant)


@pytest.mark.parametrize(
    ("tenant", "domain", "host"),
    [
        # A certificate of nobody, and a TLSA record that names its key.
        *((tenant, "right.example", "mx.selfsigned.example") for tenant in TENANTS),
        *((tenant, "stsdane.example", "mx.selfsigned.example") for tenant in TENANTS),
        *((tenant, "sts.example", "mx.good.example") for tenant in TENANTS),
        ("plain", "stswild.example", "mx.good.example"),
        ("private", "unusable.example", "mx.selfsigned.example"),
        ("plain", "unusable.example", "mx.selfsigned.example"),
        # The first host's records do not fit; the second one has none, which level may accepts.
        ("plain", "mixed.example", "mx.good.example"),
        # One broken host among two.
        *((tenant, "broken.example", "mx.good.example") for tenant in TENANTS),
        # Signed records behind an unsigned list of hosts.
        ("private", INSECURE, "mx.selfsigned.example"),
        ("plain", INSECURE, "mx.selfsigned.example"),
        # A policy that cannot be fetched, and none cached: as without (RFC 8461 §3.3).
        ("bank", "stsbroken.example", "mx.good.example"),
    ],
)
def test_it_arrives_by_tls(
    world: World, deliver: Callable, tenant: str, domain: str, host: str
) -> None:
    done = deliver(mail(tenant, domain))
    assert done.status == "sent", done.text
    received = world.fleet.wait_subject(f"{tenant} {domain}")
    assert received.host == host
    assert received.tls is not None


@pytest.mark.parametrize(
    ("tenant", "domain", "text"),
    [
        # DANE: records that name another key, or a server without STARTTLS.
        *((tenant, "forged.example", "Server certificate not verified") for tenant in TENANTS),
        *((tenant, "stripped.example", "TLS is required") for tenant in TENANTS),
        # Where TLS is required, the host without records is passed over.
        ("private", "mixed.example", ""),
        ("bank", "mixed.example", ""),
        # Unusable records ask for encryption, and a bank for a good certificate.
        ("bank", "unusable.example", "Server certificate not verified"),
        ("bank", INSECURE, "Server certificate not verified"),
        # MTA-STS, also for who asks for nothing.
        *((tenant, "stsplain.example", "TLS is required") for tenant in TENANTS),
        *((tenant, "stsname.example", "Server certificate not verified") for tenant in TENANTS),
        ("plain", "stsother.example", "client TLS configuration problem"),
        ("private", "stsother.example", ""),
    ],
)
def test_it_waits_and_nothing_is_said_in_plaintext(
    world: World, deliver: Callable, tenant: str, domain: str, text: str
) -> None:
    done = deliver(mail(tenant, domain))
    assert done.status == "deferred"
    assert text in done.text
    assert not world.fleet.messages()
    assert world.fleet.plaintext_data("plain.example") == 0


def test_a_policy_in_testing_changes_nothing(world: World, deliver: Callable) -> None:
    assert deliver(mail("plain", "ststest.example")).status == "sent"
    assert world.fleet.wait_subject("plain ststest.example").tls is None


def test_mail_of_nobody_has_it_too(world: World, postfix: PrivatePostfix) -> None:
    for domain in ("right.example", "stsplain.example"):
        send(postfix.address, Mail("a@nobody.example", f"u@{domain}", f"nobody {domain}"))
    assert world.fleet.wait_subject("nobody right.example").tls
    postfix.wait_log(r" postfix/smtp\[\d+\]: .*to=<u@stsplain\.example>.*status=deferred")
    assert world.fleet.plaintext_data("plain.example") == 0


def test_the_log_of_the_policy_server_names_the_cause(
    gatepost: Gatepost, deliver: Callable
) -> None:
    deliver(mail("plain", "stsother.example"))
    assert [
        line
        for line in gatepost.log_lines()
        if "no MX host of stsother.example is named by its MTA-STS policy" in line
    ]
    assert [line for line in gatepost.log_lines() if "sts-policy domain=sts.example" in line]
    assert [
        line
        for line in gatepost.log_lines()
        if "sts-fetch-failed domain=stsbroken.example result=sts-webpki-invalid" in line
    ]


def test_a_policy_outlives_a_restart_and_its_host(
    hosts: tuple[World, PolicyHosts], gatepost: Gatepost, deliver: Callable
) -> None:
    world, policies = hosts
    deliver(mail("plain", "stsplain.example"))
    before = policies.count("stsplain.example")
    store = SqliteSts(gatepost.directory / "state" / "gatepost.db")
    wait_until(lambda: "stsplain.example" in [e.domain for e in store.load()], 10, "the policy")
    store.close()
    gatepost.kill("policy")
    policies.change("stsplain.example", status="500 Down")
    gatepost.start("policy")
    done = deliver(mail("plain", "stsplain.example"))
    assert done.status == "deferred", "\n".join(gatepost.log_lines()[-30:])
    assert policies.count("stsplain.example") == before
    assert world.fleet.plaintext_data("plain.example") == 0


def test_status_says_what_is_known(gatepost: Gatepost, deliver: Callable) -> None:
    deliver(mail("plain", "sts.example"))
    found = gatepost.json("status")["roles"]["policy"]["discovery"]
    assert (found["dane"], found["mta_sts"], found["validates"]) == (True, True, True)
    assert found["destinations"] > 0
    assert found["policy_domains"] > 0


def test_tls_answer_tells_what_is_published_and_what_follows(gatepost: Gatepost) -> None:
    asked = ["mixed.example", "sts.example", "stsother.example", "[192.0.2.1]"]
    document = gatepost.json("tls", "answer", *asked, "--profile", "private", status=1)
    assert document["resolver"]["validates"] is True
    mixed, sts, other, literal = document["destinations"]
    assert [(host["name"], host["tlsa"]) for host in mixed["hosts"]] == [
        ("mx.forged.example", "usable"),
        ("mx.good.example", "none"),
    ]
    assert mixed["maps"] == [
        {
            "map": "tls-private",
            "policy": "dane-only",
            "waits": "",
            "opinions": ["profile private", "DANE: usable TLSA records at 1 of 2 MX hosts"],
            "notes": [],
        }
    ]
    assert sts["mta_sts"]["mode"] == "enforce"
    assert sts["maps"][0]["policy"].startswith("verify match=mx.good.example servername=hostname")
    assert other["maps"][0]["waits"].endswith("is named by its MTA-STS policy")
    assert (literal["hosts"], literal["maps"][0]["policy"]) == ([], "encrypt")
    text = gatepost.command("tls", "answer", "stsother.example", status=1)
    assert "  host           mx.good.example: TLSA none\n" in text
    assert "  MTA-STS        enforce, id 20260101, mx mx.elsewhere.example\n" in text
    assert "  tls-bank       TEMP: stsother.example: no MX host of stsother.example" in text


def test_explain_looks_at_the_destination_as_the_live_system_does(gatepost: Gatepost) -> None:
    options = ("--login", "private", "--sender", "news@private.example", "--recipient")
    document = gatepost.json("explain", *options, "u@right.example")
    assert document["policy"] == "dane-only"
    document = gatepost.json("explain", *options, "u@stsother.example", status=1)
    assert "is named by its MTA-STS policy" in document["waits"]
