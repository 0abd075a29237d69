"""The TLS level that the operator's own delivery service has without us.

Source: postconf(5) smtp_tls_security_level, smtp_enforce_tls, smtp_tls_enforce_peername,
default_transport; master(5) on -o.
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
)


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
