"""RFC 8461 §3.3: policy hosts good and bad, over real HTTPS."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from gatepost.runtime.loop import run_in_uvloop
from gatepost.tls.fetch import Fetcher
from gatepost.tls.mtasts.fetching import FetchError
from gatepost.tls.mtasts.policy import MAX_OCTETS, StsMode, StsPolicy
from gatepost.tls.resolver import Resolver
from lab.enter import RESOLVER
from lab.mx import Kind
from lab.policy_hosts import ADDRESS, PATH, PolicyHost, PolicyHosts, policy_text
from lab.world import World

pytestmark = pytest.mark.e2e

GOOD = policy_text("mx.good.example")
ENDLESS = {"Content-Type": "text/plain", "Content-Length": "9" * 9}
HTML = {"Content-Type": "text/html"}
CASES = {
    "plain": PolicyHost(GOOD),
    "charset": PolicyHost(GOOD, headers={"Content-Type": "Text/Plain; charset=utf-8"}),
    "full": PolicyHost(GOOD + b"x: " + b"y" * (MAX_OCTETS - len(GOOD) - 3)),
    "expired": PolicyHost(GOOD, certificate="expired"),
    "selfsigned": PolicyHost(GOOD, certificate="self-signed"),
    "wrongname": PolicyHost(GOOD, certificate="wrong-name"),
    "redirect": PolicyHost(
        GOOD, status="302 Found", headers={"Location": f"https://mta-sts.plain.example{PATH}"}
    ),
    "missing": PolicyHost(GOOD, status="404 Not Found"),
    "created": PolicyHost(GOOD, status="201 Created"),
    "html": PolicyHost(b"<html>", headers=HTML),
    "untyped": PolicyHost(GOOD, headers={}),
    "toolong": PolicyHost(GOOD + b"x" * MAX_OCTETS),
    "endless": PolicyHost(drips=True, headers=ENDLESS),
    "hangs": PolicyHost(hangs=True),
    "gzip": PolicyHost(
        b"\x1f\x8b", headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    ),
    "syntax": PolicyHost(b"version: STSv1\nmode: perhaps\n"),
    "header": PolicyHost(GOOD, headers={"X-Long": "x" * 100_000}),
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[World, PolicyHosts]]:
    world = World([Kind.GOOD])
    hosts = PolicyHosts(world.directory / "sts", world.authority, world.names)
    for name, host in CASES.items():
        hosts.add(f"{name}.example", host)
    with world, hosts:
        yield world, hosts


def fetch(world: World, domain: str, **options: Any) -> StsPolicy:
    async def scenario() -> StsPolicy:
        options.setdefault("ca_file", world.authority.ca_file)
        fetcher = Fetcher(Resolver([RESOLVER]), **options)
        try:
            return await fetcher.fetch(domain)
        finally:
            await fetcher.close()

    return run_in_uvloop(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("name", ["plain", "charset", "full"])
def test_a_policy_is_fetched(hosts: tuple[World, PolicyHosts], name: str) -> None:
    world, served = hosts
    before = served.count(f"{name}.example")
    policy = fetch(world, f"{name}.example")
    assert policy == StsPolicy(StsMode.ENFORCE, 86_400, ("mx.good.example",))
    assert served.count(f"{name}.example") == before + 1
    assert served.requests[-1] == (f"mta-sts.{name}.example", f"GET {PATH} HTTP/1.1")


@pytest.mark.parametrize(
    ("name", "failure", "reason"),
    [
        ("expired", "sts-webpki-invalid", "certificate has expired"),
        ("selfsigned", "sts-webpki-invalid", "self-signed certificate"),
        ("wrongname", "sts-webpki-invalid", "Hostname mismatch"),
        ("redirect", "sts-policy-fetch-error", "status 302"),
        ("missing", "sts-policy-fetch-error", "status 404"),
        ("created", "sts-policy-fetch-error", "status 201"),
        ("html", "sts-policy-invalid", "Content-Type 'text/html'"),
        ("untyped", "sts-policy-invalid", "Content-Type ''"),
        ("toolong", "sts-policy-invalid", "more than 65536 octets"),
        ("endless", "sts-policy-fetch-error", "no answer within 1 s"),
        ("hangs", "sts-policy-fetch-error", "no answer within 1 s"),
        ("gzip", "sts-policy-fetch-error", "compressed body"),
        ("syntax", "sts-policy-invalid", "mode 'perhaps'"),
        ("header", "sts-policy-fetch-error", ""),
        ("nowhere", "sts-policy-fetch-error", "mta-sts.nowhere.example has no address"),
    ],
)
def test_what_is_no_policy_is_named(
    hosts: tuple[World, PolicyHosts], name: str, failure: str, reason: str
) -> None:
    world, served = hosts
    with pytest.raises(FetchError) as caught:
        fetch(world, f"{name}.example", timeout_s=1)
    assert caught.value.failure == failure
    assert reason in str(caught.value)
    assert str(caught.value)
    if failure == "sts-webpki-invalid":
        assert served.count(f"{name}.example") == 0, "nothing is sent to a stranger"


def test_a_redirect_is_not_followed(hosts: tuple[World, PolicyHosts]) -> None:
    world, served = hosts
    before = served.count("plain.example")
    with pytest.raises(FetchError):
        fetch(world, "redirect.example")
    assert served.count("plain.example") == before


def test_a_closed_port_is_a_failure(hosts: tuple[World, PolicyHosts]) -> None:
    with pytest.raises(FetchError, match="Connect call failed"):
        fetch(hosts[0], "plain.example", port=444)


def test_section_7_2_no_version_below_tls_1_2(hosts: tuple[World, PolicyHosts]) -> None:
    world, _ = hosts
    chain = world.authority.issue("mta-sts.plain.example").chain_file
    command = ["openssl", "s_server", "-accept", f"{ADDRESS}:8443", "-tls1_1", "-www",
               "-cipher", "ALL:@SECLEVEL=0", "-cert", str(chain), "-key", str(chain)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            while b"ACCEPT" not in server.stdout.readline():
                pass
            with pytest.raises(FetchError) as caught:
                fetch(world, "plain.example", port=8443)
        finally:
            server.kill()
    assert caught.value.failure == "sts-webpki-invalid"
    assert "version" in str(caught.value).lower()


def test_the_system_s_roots_do_not_know_the_lab(hosts: tuple[World, PolicyHosts]) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(hosts[0], "plain.example", ca_file=None)
    assert caught.value.failure == "sts-webpki-invalid"
