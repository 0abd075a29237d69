"""The TLS level that the operator's own delivery service has without us.

Source: postconf(5) smtp_tls_security_level, smtp_enforce_tls, smtp_tls_enforce_peername,
default_transport, smtp_dns_support_level; smtp_tls_policy.c, dane_init, for what DANE needs;
master(5) on -o.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gatepost.postfix.master_cf import Service

PARAMETERS = (
    "default_transport",
    "smtp_tls_security_level",
    "smtp_enforce_tls",
    "smtp_tls_enforce_peername",
    "smtp_dns_support_level",
    "disable_dns_lookups",
    "ignore_mx_lookup_error",
    "smtp_host_lookup",
    "smtp_dns_resolver_options",
    "relayhost",
)
DNS_LEVEL = "smtp_dns_support_level"


def looks_up_dns(base: Service | None, value: Callable[[str], str | None]) -> bool:
    """Tell whether smtp(8) looks up DNS, and stops where that fails, as DANE needs it.

    Args:
        base: The service, or None for main.cf alone.
        value: Returns the value of one of `PARAMETERS`, or nothing where it is not set.
    """

    def own(name: str) -> str:
        general = value(name) or ""
        return general if base is None else base.value(name, general)

    options = {each.lower() for each in own("smtp_dns_resolver_options").replace(",", " ").split()}
    lookups = own("smtp_host_lookup").replace(",", " ").split()
    return (
        own(DNS_LEVEL) != "disabled"
        and own("disable_dns_lookups") != "yes"
        and own("ignore_mx_lookup_error") != "yes"
        and (not lookups or "dns" in lookups)
        and not options & {"res_defnames", "res_dnsrch"}
    )


def asks_for_dnssec(base: Service | None, value: Callable[[str], str]) -> bool:
    """Tell whether a service asks for DNSSEC, without which it has no DANE; arguments as above."""
    level = value(DNS_LEVEL)
    if base is not None:
        level = base.value(DNS_LEVEL, level)
    return level == "dnssec" and looks_up_dns(base, value)


def operators_level(base: Service | None, value: Callable[[str], str]) -> str:
    """Return the level in force in a service, empty if nothing asks for TLS.

    Args:
        base: The service, or None for main.cf alone.
        value: Returns the value in force of one of `PARAMETERS`.
    """
    level = value("smtp_tls_security_level")
    if base is not None:
        level = base.value("smtp_tls_security_level", level)
    if level or value("smtp_enforce_tls") != "yes":
        return level.lower()
    # postconf(5) smtp_enforce_tls: what an empty level then means.
    return "verify" if value("smtp_tls_enforce_peername") != "no" else "encrypt"


def default_name(default_transport: str) -> str:
    """Return the name of the service that delivers by default."""
    return default_transport.partition(":")[0] or "smtp"


def default_service(entries: Iterable[Service], default_transport: str) -> Service | None:
    """Return the smtp(8) service that delivers by default, or None if there is none."""
    name = default_name(default_transport)
    for entry in entries:
        if entry.name == name and entry.type == "unix" and entry.command == "smtp":
            return entry
    return None
