"""Who sent it: from what Postfix authenticated to a tenant.

Purpose: one order of evidence, the same for the policy server and the milter: SASL login, client
certificate, client address, listener. The first that is known to the configuration decides; a
login that the configuration does not name is no evidence, and the next kind is asked.
Source: Postfix SMTPD_POLICY_README (sasl_username, ccert_fingerprint), MILTER_README
({auth_authen}).
Errors: none: no evidence gives an `Identity` without tenant. Identity never guesses.
Security: nothing that the client merely says (HELO name, envelope sender, headers) is evidence.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin, Tenant, TenantIndex, fold_login


class Evidence(StrEnum):
    """What identified a client, strongest first."""

    LOGIN = "login"
    CERTIFICATE = "client certificate"
    ADDRESS = "client address"
    LISTENER = "listener"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent it, as far as is known.

    Attributes:
        tenant: The tenant, or None.
        platform: The platform login, which may name a tenant in the tag header, or None.
        how: The evidence in words, such as ``login acme``; for logs and `explain`.
        evidence: The kind of evidence, or None for nobody.
    """

    tenant: Tenant | None = None
    platform: PlatformLogin | None = None
    how: str = "no login, certificate, address or listener of a tenant"
    evidence: Evidence | None = None


NOBODY = Identity()

_IPV4 = 4
_LOOPBACK_NET = 127


def identify(client: Client, index: TenantIndex) -> Identity:
    """Return who sent it, by the first kind of evidence that the configuration knows."""
    if client.login:
        login = fold_login(client.login)
        if (tenant := index.by_login.get(login)) is not None:
            return Identity(tenant, None, f"login {client.login}", Evidence.LOGIN)
        if (platform := index.platform.get(login)) is not None:
            return Identity(None, platform, f"platform login {client.login}", Evidence.LOGIN)
    if client.certificate:
        fingerprint = client.certificate.lower()
        if (tenant := index.by_certificate.get(fingerprint)) is not None:
            how = f"certificate {fingerprint}"
            return Identity(tenant, None, how, Evidence.CERTIFICATE)
    if index.networks and (tenant := _by_address(client.address, index)) is not None:
        return Identity(tenant, None, f"client address {client.address}", Evidence.ADDRESS)
    if client.listener and (tenant := index.by_listener.get(client.listener)) is not None:
        return Identity(tenant, None, f"listener {client.listener}", Evidence.LISTENER)
    return NOBODY


def _by_address(address: str, index: TenantIndex) -> Tenant | None:
    parsed = parse_address(address)
    if parsed is None:
        return None
    version, bits, number = parsed
    for (network_version, length), table in index.networks.items():
        if network_version == version:
            shift = bits - length
            if (tenant := table.get(number >> shift << shift)) is not None:
                return tenant
    return None


def is_loopback(address: str) -> bool:
    """Tell whether an address is this host's own loopback, in either IP version."""
    parsed = parse_address(address)
    if parsed is None:
        return False
    version, _, number = parsed
    return number >> 24 == _LOOPBACK_NET if version == _IPV4 else number == 1


@lru_cache(maxsize=16384)
def parse_address(address: str) -> tuple[int, int, int] | None:
    """Return (IP version, bits, address as integer), or None for what is no IP address.

    An IPv4 address that arrives in IPv6 form (``::ffff:192.0.2.1``) is the IPv4 address: it is
    how a dual-stack listener sees an IPv4 client, and the operator wrote IPv4.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.version, parsed.max_prefixlen, int(parsed)
