"""Which TLS level the operator's own delivery service has."""

from __future__ import annotations

import pytest

from gatepost.postfix.master_cf import services
from gatepost.postfix.operator_level import (
    asks_for_dnssec,
    default_service,
    looks_up_dns,
    operators_level,
)

LEVEL = "smtp_tls_security_level"
MASTER = """\
smtp      inet  n - y - - smtpd
smtp      unix  - - y - - smtp
relay     unix  - - y - - smtp
  -o smtp_tls_security_level=verify
strict    unix  - - y - - smtp
  -o { smtp_tls_security_level = Secure }
lmtp      unix  - - y - - lmtp
"""


@pytest.mark.parametrize(
    ("transport", "name"),
    [
        ("", "smtp"),
        ("smtp", "smtp"),
        ("smtp:[relay.example]", "smtp"),
        ("strict", "strict"),
        ("lmtp", None),
        ("nowhere", None),
    ],
)
def test_the_service_that_delivers_by_default(transport: str, name: str | None) -> None:
    found = default_service(services(MASTER), transport)
    assert (None if found is None else found.name) == name
    assert found is None or (found.type, found.command) == ("unix", "smtp")


@pytest.mark.parametrize(
    ("transport", "values", "level"),
    [
        ("smtp", {}, ""),
        ("smtp", {LEVEL: "may"}, "may"),
        ("smtp", {LEVEL: "Encrypt"}, "encrypt"),
        ("strict", {LEVEL: "may"}, "secure"),
        ("relay", {}, "verify"),
        ("nowhere", {LEVEL: "encrypt"}, "encrypt"),
        ("smtp", {"smtp_enforce_tls": "yes"}, "verify"),
        ("smtp", {"smtp_enforce_tls": "yes", "smtp_tls_enforce_peername": "no"}, "encrypt"),
        ("smtp", {"smtp_enforce_tls": "yes", LEVEL: "may"}, "may"),
        ("smtp", {"smtp_enforce_tls": "no"}, ""),
    ],
)
def test_the_level_in_force(transport: str, values: dict[str, str], level: str) -> None:
    base = default_service(services(MASTER), transport)
    assert operators_level(base, lambda name: values.get(name, "")) == level


DNS = "smtp_dns_support_level"


@pytest.mark.parametrize(
    ("options", "values", "looks_up", "dnssec"),
    [
        ("", {}, True, False),
        ("", {DNS: "enabled"}, True, False),
        ("", {DNS: "dnssec"}, True, True),
        ("  -o smtp_dns_support_level=dnssec\n", {}, True, True),
        ("  -o smtp_dns_support_level=enabled\n", {DNS: "dnssec"}, True, False),
        ("", {DNS: "disabled"}, False, False),
        ("", {"disable_dns_lookups": "yes"}, False, False),
        ("", {DNS: "dnssec", "ignore_mx_lookup_error": "yes"}, False, False),
        ("  -o ignore_mx_lookup_error=yes\n", {DNS: "dnssec"}, False, False),
        ("  -o disable_dns_lookups=yes\n", {DNS: "dnssec"}, False, False),
        ("  -o smtp_dns_support_level=disabled\n", {DNS: "dnssec"}, False, False),
        ("", {DNS: "dnssec", "smtp_host_lookup": "native"}, False, False),
        ("", {DNS: "dnssec", "smtp_host_lookup": "native, dns"}, True, True),
        ("", {DNS: "dnssec", "smtp_dns_resolver_options": "res_defnames"}, False, False),
    ],
)
def test_whether_a_service_can_carry_out_dane(
    options: str,
    values: dict[str, str],
    looks_up: bool,  # noqa: FBT001
    dnssec: bool,  # noqa: FBT001
) -> None:
    base = default_service(services(f"smtp unix - - y - - smtp\n{options}"), "smtp")
    assert looks_up_dns(base, lambda name: values.get(name, "")) is looks_up
    assert asks_for_dnssec(base, lambda name: values.get(name, "")) is dnssec
