from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tenants.client import Client
from gatepost.tenants.identity import NOBODY, Evidence, identify, is_loopback, parse_address
from gatepost.tenants.model import PlatformLogin, TenantIndex
from tests.world import index, tenant

LOGIN = tenant("by-login", logins=("acme",))
CERTIFICATE = tenant("by-certificate", certificates=("aa:bb:cc",))
NETWORK = tenant("by-network", clients=("192.0.2.0/28", "2001:db8::/48"))
LISTENER = tenant("by-listener", listeners=("ORIGINATING",))
PLATFORM = PlatformLogin("mailer", None)
INDEX = index([LOGIN, CERTIFICATE, NETWORK, LISTENER], [PLATFORM])
EVERYTHING = Client("acme", "AA:BB:CC", "192.0.2.5", "4242", "ORIGINATING")


def without(*names: str) -> Client:
    """Return a client of all tenants at once, less some of its evidence."""
    return Client(
        **{
            name: "" if name in names else getattr(EVERYTHING, name)
            for name in ("login", "certificate", "address", "port", "listener")
        }
    )


@pytest.mark.parametrize(
    ("client", "owner", "evidence", "how"),
    [
        (EVERYTHING, LOGIN, Evidence.LOGIN, "login acme"),
        (without("login"), CERTIFICATE, Evidence.CERTIFICATE, "certificate aa:bb:cc"),
        (
            without("login", "certificate"),
            NETWORK,
            Evidence.ADDRESS,
            "client address 192.0.2.5",
        ),
        (
            without("login", "certificate", "address"),
            LISTENER,
            Evidence.LISTENER,
            "listener ORIGINATING",
        ),
    ],
)
def test_the_first_kind_of_evidence_decides(client, owner, evidence, how) -> None:
    identity = identify(client, INDEX)
    assert identity.tenant is owner
    assert identity.platform is None
    assert (identity.evidence, identity.how) == (evidence, how)


def test_nothing_known_is_nobody() -> None:
    assert identify(Client("x", "ff", "198.51.100.1", "1", "x"), INDEX) == NOBODY
    assert identify(Client(), INDEX) == NOBODY
    assert identify(EVERYTHING, TenantIndex()) == NOBODY
    assert (NOBODY.tenant, NOBODY.platform, NOBODY.evidence) == (None, None, None)


def test_platform_login_names_nobody_and_goes_before_weaker_evidence() -> None:
    identity = identify(Client("mailer", "aa:bb:cc", "192.0.2.5"), INDEX)
    assert identity.tenant is None
    assert identity.platform is PLATFORM
    assert identity.evidence is Evidence.LOGIN


def test_a_login_of_nobody_is_no_evidence() -> None:
    assert identify(Client("stranger", "aa:bb:cc"), INDEX).tenant is CERTIFICATE


@pytest.mark.parametrize("login", ["ACME", "Acme", "aCME"])
def test_a_login_in_capitals_is_the_same_login(login: str) -> None:
    assert identify(Client(login), INDEX).tenant is LOGIN
    assert identify(Client("MAILER"), INDEX).platform is PLATFORM


def test_listeners_are_compared_as_written() -> None:
    assert identify(Client(listener="originating"), INDEX) == NOBODY


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("192.0.2.0", True),
        ("192.0.2.15", True),
        ("192.0.2.16", False),
        ("::ffff:192.0.2.5", True),
        ("2001:db8::1", True),
        ("2001:DB8:0:FFFF::1", True),
        ("2001:db8:1::1", False),
        ("::192.0.2.5", False),
        ("unknown", False),
        ("", False),
        ("IPv6:2001:db8::1", False),
    ],
)
def test_client_networks(address: str, *, found: bool) -> None:
    assert (identify(Client(address=address), INDEX).tenant is NETWORK) is found


def test_the_longest_prefix_wins() -> None:
    wide = tenant("wide", clients=("10.0.0.0/8",))
    narrow = tenant("narrow", clients=("10.1.0.0/16", "10.2.3.4/32"))
    either = index([wide, narrow])
    assert identify(Client(address="10.1.2.3"), either).tenant is narrow
    assert identify(Client(address="10.2.3.4"), either).tenant is narrow
    assert identify(Client(address="10.2.3.5"), either).tenant is wide


@given(st.ip_addresses())
def test_addresses_are_read_as_the_standard_library_reads_them(address) -> None:
    read = parse_address(str(address))
    mapped = address.version == 6 and address.ipv4_mapped
    expected = mapped or address
    assert read == (expected.version, expected.max_prefixlen, int(expected))


@given(st.ip_addresses())
def test_loopback(address) -> None:
    mapped = address.version == 6 and address.ipv4_mapped
    assert is_loopback(str(address)) == (mapped or address).is_loopback


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::ffff:127.0.0.1", True),
        ("::1", True),
        ("::1:2:3", False),
        ("::2", False),
        ("128.0.0.1", False),
        ("127.evil", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_what_is_this_host(address: str, *, local: bool) -> None:
    assert is_loopback(address) is local


@given(st.text(max_size=60))
def test_no_address_raises(text: str) -> None:
    read = parse_address(text)
    if read is not None:
        ipaddress.ip_address(text)
