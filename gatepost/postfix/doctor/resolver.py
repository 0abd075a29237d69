"""Whether the resolver that Postfix uses validates DNSSEC.

Purpose: with a resolver that does not, DANE is off without a word, and whoever can forge an answer
chooses the server that mail goes to. Each name server is put to the test that the policy server
puts it to, see `gatepost.tls.resolver`.
Source: RFC 4035 §3.2.3 (the AD bit), §5.5 (SERVFAIL for what does not validate); TLS_README,
"DANE TLS authentication", for why the resolver has to be on the host itself.
Errors: none are raised: a query without an answer is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.tls.resolver import BOGUS, SIGNED, Resolver, SelfTest, nameservers

_USE_UNBOUND = (
    "apt-get install unbound",
    "make 127.0.0.1 the only nameserver in /etc/resolv.conf",
    "postfix reload",
)


def put_to_the_test(server: str, signed: str, bogus: str) -> SelfTest:
    """Return what one name server makes of a name in a signed zone and of a forged one."""
    return asyncio.run(Resolver([server]).self_test(signed, bogus))


def check(scene: Scene) -> Iterator[Finding]:
    """Look at each name server of the host."""
    signed, bogus = scene.dns_names or (SIGNED, BOGUS)
    servers = nameservers()
    if not servers:
        yield problem(
            "No name server is configured in /etc/resolv.conf.",
            "Postfix cannot find the servers of any domain.",
            *_USE_UNBOUND,
        )
    for server in servers:
        yield from _judge(scene, server, put_to_the_test(server, signed, bogus))


def _judge(scene: Scene, server: str, test: SelfTest) -> Iterator[Finding]:
    if not test.answered:
        yield problem(
            f"The name server {server} does not answer: {test.reason}.",
            "Each look-up waits for it before the next one is asked; mail is slow or waits.",
            "look at /etc/resolv.conf",
        )
    elif not test.validates:
        yield _not_validating(scene, server, test.reason)
    elif not test.local:
        yield warning(
            f"The name server {server} is not on this host.",
            "It says that answers are authentic, and whoever can change packets on the way can say "
            "so as well.",
            *_USE_UNBOUND,
        )


def _not_validating(scene: Scene, server: str, how: str) -> Finding:
    dane = scene.level.startswith("dane") or (scene.snapshot and scene.snapshot.tls.dane)
    return (problem if dane else warning)(
        f"The name server {server} does not validate DNSSEC: {how}.",
        "DANE is off without a word, and for verify the name of the server to be verified comes "
        "from answers that can be forged.",
        *_USE_UNBOUND,
    )
