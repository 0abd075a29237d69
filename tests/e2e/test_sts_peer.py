"""Our answers beside those of postfix-mta-sts-resolver, domain by domain, over the same socketmap.

Both are asked in the lab about the same domains, with the same resolver and trusted roots. Where
they differ, the table says why; docs/tls.md has the same in words.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.wire.netstring import encode_netstring
from lab.dns import BOGUS, ZONE
from lab.enter import RESOLVER
from lab.mx import Kind
from lab.policy_hosts import PATH, PolicyHost, PolicyHosts, policy_text
from lab.process import Daemon
from lab.world import World

DAEMON = Path(sys.executable).with_name("mta-sts-daemon")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not DAEMON.exists(), reason="postfix-mta-sts-resolver is not installed"),
]

PORT = 8461
GOOD = policy_text("mx.good.example")
SNI = "servername=hostname protocols=>=TLSv1.2"
TEMP = "TEMP"

# Domain, its MX host, its policy host (None: no record), its record ("" for a good one).
DOMAINS: dict[str, tuple[str, PolicyHost | None, str]] = {
    "enforce.example": ("mx.good.example", PolicyHost(GOOD), ""),
    "testing.example": (
        "mx.good.example",
        PolicyHost(policy_text("mx.good.example", mode="testing")),
        "",
    ),
    "none.example": ("mx.good.example", PolicyHost(policy_text(mode="none")), ""),
    "absent.example": ("mx.good.example", None, ""),
    "twice.example": ("mx.good.example", PolicyHost(GOOD), "v=STSv1; id=a; id=b;"),
    "noid.example": ("mx.good.example", PolicyHost(GOOD), "v=STSv1;"),
    "expired.example": ("mx.good.example", PolicyHost(GOOD, certificate="expired"), ""),
    "wrongname.example": ("mx.good.example", PolicyHost(GOOD, certificate="wrong-name"), ""),
    "redirect.example": (
        "mx.good.example",
        PolicyHost(
            GOOD,
            status="301 Moved Permanently",
            headers={"Location": f"https://mta-sts.enforce.example{PATH}"},
        ),
        "",
    ),
    "missing.example": ("mx.good.example", PolicyHost(GOOD, status="404 Not Found"), ""),
    "html.example": (
        "mx.good.example",
        PolicyHost(GOOD, headers={"Content-Type": "text/html"}),
        "",
    ),
    "long.example": ("mx.good.example", PolicyHost(GOOD + b"x: y\r\n" * 20_000), ""),
    "syntax.example": ("mx.good.example", PolicyHost(b"version: STSv1\nmode: perhaps\n"), ""),
    "nomx.example": (
        "mx.good.example",
        PolicyHost(b"version: STSv1\nmode: enforce\nmax_age: 86400\n"),
        "",
    ),
    "wild.example": ("mx.good.example", PolicyHost(policy_text("*.good.example")), ""),
    "deep.example": ("mx.good.example", PolicyHost(policy_text("*.example")), ""),
    "other.example": ("mx.good.example", PolicyHost(policy_text("mx.elsewhere.example")), ""),
    "dane.example": ("mx.tlsa.example", PolicyHost(policy_text("mx.tlsa.example")), ""),
    "evil.example": (
        "mx.good.example",
        PolicyHost(policy_text("mx.good.example", "a:b")),
        "",
    ),
    "uppercase.example": ("mx.good.example", PolicyHost(policy_text("MX.Good.Example")), ""),
}

VERIFY = f"OK verify match=mx.good.example {SNI}"
SECURE = "OK secure match=mx.good.example servername=hostname"
NOTHING = "NOTFOUND "
# Key, the peer's reply, ours, why they differ.
ANSWERS = [
    ("enforce.example", SECURE, VERIFY, "TLS 1.2 (RFC 8461 §7.2); verify with names is as secure"),
    ("Enforce.Example", SECURE, VERIFY, "as above"),
    (
        "[enforce.example]",
        SECURE,
        TEMP,
        "§3.4, §4.1: the host that is connected to is not named; its certificate would not fit",
    ),
    ("enforce.example:587", SECURE, VERIFY, "as above"),
    (".enforce.example", NOTHING, NOTHING, ""),
    ("sub.enforce.example", NOTHING, NOTHING, ""),
    ("[198.18.1.1]", NOTHING, NOTHING, ""),
    ("testing.example", NOTHING, NOTHING, ""),
    ("none.example", NOTHING, NOTHING, ""),
    ("absent.example", NOTHING, NOTHING, ""),
    ("nowhere.example", NOTHING, NOTHING, ""),
    ("twice.example", SECURE, VERIFY, "as above"),
    ("noid.example", NOTHING, NOTHING, ""),
    ("expired.example", NOTHING, NOTHING, ""),
    ("wrongname.example", NOTHING, NOTHING, ""),
    ("redirect.example", NOTHING, NOTHING, ""),
    ("missing.example", NOTHING, NOTHING, ""),
    ("html.example", NOTHING, NOTHING, ""),
    ("long.example", NOTHING, NOTHING, ""),
    ("syntax.example", NOTHING, NOTHING, ""),
    ("nomx.example", NOTHING, NOTHING, ""),
    (
        "wild.example",
        "OK secure match=.good.example servername=hostname",
        VERIFY,
        "§4.1: one label, and only a host that MX names; .good.example matches a.b.good.example",
    ),
    (
        "deep.example",
        "OK secure match=.example servername=hostname",
        TEMP,
        "§4.1: *.example names no host with two labels, so none may be delivered to",
    ),
    (
        "other.example",
        "OK secure match=mx.elsewhere.example servername=hostname",
        TEMP,
        "no MX host is named: we say so, the peer has Postfix connect to each in vain",
    ),
    (
        "dane.example",
        "OK secure match=mx.tlsa.example servername=hostname",
        "OK dane-only",
        "§2: DANE goes before MTA-STS",
    ),
    (
        "evil.example",
        "OK secure match=a:b:mx.good.example servername=hostname",
        NOTHING,
        "a pattern that is no host name makes the policy invalid",
    ),
    (
        "uppercase.example",
        "OK secure match=MX.Good.Example servername=hostname",
        VERIFY,
        "TLS 1.2; names are written in one case",
    ),
]


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, tuple[str, str]]]:
    world = World([Kind.GOOD])
    names = world.names
    names.records.append(f"mx.tlsa.example. A {world.fleet.hosts[0].address}")
    names.record(f"_25._tcp.mx.tlsa.example. TLSA 3 1 1 {'ab' * 32}")
    policies = PolicyHosts(world.directory / "sts", world.authority, names)
    for domain, (host, policy, text) in DOMAINS.items():
        names.mail(domain, host)
        if policy is not None:
            policies.add(domain, policy, text=text)
    configuration = {
        "modes": {"default": "enforce"},
        "tls": {"dane": True, "mta_sts": True},
        "dns": {
            "servers": [RESOLVER],
            "signed": ZONE,
            "bogus": BOGUS,
            "https_ca_file": str(world.authority.ca_file),
        },
    }
    with contextlib.ExitStack() as stack:
        for each in (world, policies):
            stack.enter_context(each)
        postfix = stack.enter_context(world.postfix({"smtp_dns_support_level": "dnssec"}))
        gatepost = world.gatepost(postfix, configuration)
        stack.callback(gatepost.stop)
        gatepost.start("policy")
        stack.enter_context(peer(world))
        ours = str(postfix.queue_dir / "gatepost" / "maps.sock")
        yield {
            key: (ask(("127.0.0.1", PORT), "postfix", key), ask(ours, "tls", key))
            for key, *_ in ANSWERS
        }


@contextlib.contextmanager
def peer(world: World) -> Iterator[None]:
    config = world.directory / "mta-sts-daemon.yml"
    config.write_text(json.dumps({"host": "127.0.0.1", "port": PORT}))
    shutil.copy(world.authority.ca_file, world.directory / "peer-ca.pem")
    os.environ["SSL_CERT_FILE"] = str(world.directory / "peer-ca.pem")
    daemon = Daemon([DAEMON, "-c", config], world.directory / "peer.log")
    try:
        daemon.wait_until(listens, 30, "mta-sts-daemon to listen")
        yield
    finally:
        daemon.stop()
        del os.environ["SSL_CERT_FILE"]


def in_order(reply: str) -> str:
    """Return a reply with its names sorted: the peer keeps patterns in a set."""
    words = reply.split(" ")
    names = [word.removeprefix("match=") for word in words if word.startswith("match=")]
    ordered = {f"match={each}": f"match={':'.join(sorted(each.split(':')))}" for each in names}
    return " ".join(ordered.get(word, word) for word in words)


def listens() -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def ask(address: tuple[str, int] | str, name: str, key: str) -> str:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(30)
        client.connect(address)
        client.sendall(encode_netstring(f"{name} {key}".encode()))
        octets = b""
        while b":" not in octets or len(octets) < int(octets.partition(b":")[0]) + 2:
            more = client.recv(65536)
            if not more:
                break
            octets += more
    return octets.partition(b":")[2].removesuffix(b",").decode()


@pytest.mark.parametrize(("key", "theirs", "ours", "why"), ANSWERS, ids=[a[0] for a in ANSWERS])
def test_answers_beside_the_peer_s(
    answers: dict[str, tuple[str, str]], key: str, theirs: str, ours: str, why: str
) -> None:
    assert in_order(answers[key][0]) == theirs
    # From Postfix 3.10 the policy itself follows, for its TLS reports.
    said = answers[key][1].partition(" policy_type=")[0]
    assert said == ours or (ours == TEMP and said.startswith(TEMP))
    assert (theirs == ours) is not bool(why)
