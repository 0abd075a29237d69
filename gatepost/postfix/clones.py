"""The smtp(8) clones in master.cf: one for each (lane, profile) pair.

Purpose: a clone is what carries a tenant's rules to the delivery, since Postfix asks a TLS policy
map for the destination only. It works as the operator's own smtp(8) service does, except for the
overrides written here.
Source: Postfix master(5), smtp(8); postconf(5) smtp_tls_security_level, smtp_tls_policy_maps,
smtp_delivery_status_filter, smtp_bind_address.
Errors: `base_service` raises `AttachError` where default_transport is no smtp(8) service, or names
a next-hop: a map that answers with another service would send mail elsewhere.
Security: where our map has no opinion, the level is the stricter of the operator's and the
profile's, and where it has one, the operator's is joined to it (`gatepost.tls.operator`), so a
clone is never weaker than the service that would have delivered. Where that cannot be joined,
nothing is attached without the operator's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gatepost.errors import AttachError
from gatepost.postfix.bounce_filter import FILE_NAME, HELD_BACK
from gatepost.postfix.editor import Editor
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.markers import SERVICE_PREFIX
from gatepost.postfix.master_cf import BLANKS, Service
from gatepost.postfix.operator_level import (
    DNS_LEVEL,
    default_service,
    looks_up_dns,
    operators_level,
)
from gatepost.postfix.parameters import Setting
from gatepost.postfix.spec import AttachSpec, ServiceSpec
from gatepost.tls.levels import Level
from gatepost.tls.operator import BEYOND_JOINING
from gatepost.tls.rules import OnFailure

_INDENT = "  "

# How strictly smtp(8) takes each level. "dane" is opportunistic: without records it is "may".
_STRICTNESS = {
    "none": 0,
    "may": 1,
    "dane": 2,
    "encrypt": 3,
    "dane-only": 4,
    "fingerprint": 4,
    "verify": 4,
    "secure": 5,
}


def base_service(entries: Sequence[Service], facts: PostfixFacts) -> Service:
    """Return the service that delivers by default, which the clones are made after.

    Raises:
        AttachError: If that is no smtp(8) service, or a next-hop belongs to it.
    """
    default = facts.value("default_transport") or "smtp"
    transport, _, nexthop = default.partition(":")
    if nexthop:
        raise AttachError(
            f"default_transport = {default} names a next-hop; mail of a tenant with a lane or a "
            "TLS profile would not go there. Set default_transport = "
            f"{transport} and relayhost = {nexthop} (relay_domains then go there too), and attach "
            "again"
        )
    if (found := default_service(entries, default)) is None:
        raise AttachError(
            f"default_transport = {default} is not an smtp(8) service of master.cf; lanes and TLS "
            "profiles need one there"
        )
    return found


def add_clones(
    editor: Editor,
    entries: Sequence[Service],
    spec: AttachSpec,
    facts: PostfixFacts,
    main: Mapping[str, str],
) -> None:
    """Add the clones to the block of master.cf.

    Args:
        editor: The master.cf on its way.
        entries: The operator's services.
        spec: What Postfix has to be told.
        facts: The instance.
        main: Parameter to value, not expanded, in the operator's own main.cf.

    Raises:
        AttachError: If there is nothing to clone, or a name is taken.
    """
    if not spec.services:
        return
    base = base_service(entries, facts)
    for entry in entries:
        if entry.type == "unix" and any(entry.name == service.name for service in spec.services):
            raise AttachError(
                f"master.cf has a service {entry.name} that attach did not write; names that "
                f"start with {SERVICE_PREFIX} are Gatepost's, so rename or remove it"
            )
    for service in spec.services:
        editor.add(_entry(service.name, base), _purpose(service))
        for setting in _overrides(service, base, spec, facts, main):
            editor.add(_override(setting), setting.reason, indent=_INDENT)


def not_joined(spec: AttachSpec, level: str) -> str | None:
    """Return what is wrong with answers of ours beside a level of the operator's, or None.

    They would stand in its place and could not be joined with it, and nobody has said that they
    may.
    """
    if not spec.answers or spec.without_dane or level not in BEYOND_JOINING:
        return None
    if spec.dane and level != "fingerprint":
        return None
    return (
        f"smtp_tls_security_level = {level} cannot be joined with what tls.profiles and "
        "tls.domains ask for: Postfix would take our answer in its place, and no longer look at "
        f"{'fingerprints' if level == 'fingerprint' else 'TLSA records'}. Take those rules out, "
        + ("" if level == "fingerprint" else "set tls.dane: yes to have Gatepost look, ")
        + "or set tls.without_dane: yes to accept that for mail under them"
    )


def _entry(name: str, base: Service) -> str:
    private, unprivileged, chroot, _, limit = base.columns
    columns = [private, unprivileged, chroot, "-", limit]
    fields = "".join(f"{column:<7} " for column in columns)
    return " ".join([f"{name:<9}", f"unix  {fields}smtp", *base.flags])


def _purpose(service: ServiceSpec) -> str:
    level = {
        Level.NONE: "no TLS asked for",
        Level.MAY: "TLS where it is offered",
        Level.ENCRYPT: "only with TLS",
        Level.VERIFY: "only with TLS and a verified certificate",
    }[service.level]
    failure = ""
    if service.level > Level.MAY:
        verb = "bounces" if service.on_failure is OnFailure.BOUNCE else "waits"
        failure = f"; what cannot go that way {verb}"
    return f"Lane {service.lane}, profile {service.profile}: {level}{failure}."


def _override(setting: Setting) -> str:
    if any(blank in setting.value for blank in BLANKS):
        return f"-o {{ {setting.name} = {setting.value} }}"
    return f"-o {setting.name}={setting.value}"


def _overrides(
    service: ServiceSpec,
    base: Service,
    spec: AttachSpec,
    facts: PostfixFacts,
    main: Mapping[str, str],
) -> Iterator[Setting]:
    ours = list(_our_overrides(service, base, spec, facts, main))
    yield from ours
    taken = {setting.name for setting in ours}
    inherited = {o.name: o.value for o in base.options if o.name not in taken}
    for name, value in inherited.items():
        yield Setting(name, " ".join(value.split()), f"As in your service {base.name}.")


def _our_overrides(
    service: ServiceSpec,
    base: Service,
    spec: AttachSpec,
    facts: PostfixFacts,
    main: Mapping[str, str],
) -> Iterator[Setting]:
    yield Setting(
        "syslog_name",
        f"{facts.value('syslog_name') or 'postfix'}/{service.name}",
        "Its own name in the log: grep finds the deliveries of this lane and profile.",
    )
    level = _floor(service, base, facts)
    if level is not None:
        yield Setting(
            "smtp_tls_security_level",
            level,
            "Where the map below has no opinion: the level of the profile.",
        )
    if spec.dane and looks_up_dns(base, facts.value):
        yield Setting(DNS_LEVEL, "dnssec", "tls.dane: without it, smtp(8) knows of no TLSA record.")
    own_maps = base.value("smtp_tls_policy_maps", main.get("smtp_tls_policy_maps", ""))
    yield Setting(
        "smtp_tls_policy_maps",
        ", ".join(filter(None, [spec.tls_map(service), " ".join(own_maps.split())])),
        "What this profile and tls.domains ask for, by destination; mail waits while the map does "
        "not answer." + (" Where it has no opinion, your own maps are asked." if own_maps else ""),
    )
    if spec.shaping:
        yield Setting(
            "smtp_connection_cache_on_demand",
            "no",
            "shaping: over a connection that is used again, smtp(8) delivers without asking the "
            "map, so that a slowed destination would get all the same.",
        )
    yield from _status_filter(service, base, spec, main)
    for name, address in (
        ("smtp_bind_address", service.address4),
        ("smtp_bind_address6", service.address6),
    ):
        if address is not None:
            yield Setting(name, address, f"The source address of lane {service.lane}.")


def _status_filter(
    service: ServiceSpec, base: Service, spec: AttachSpec, main: Mapping[str, str]
) -> Iterator[Setting]:
    tables, reasons = [], []
    if spec.shaping:
        tables.append(HELD_BACK)
        reasons.append(
            "shaping: where a delivery is held back, Postfix would log a problem of its TLS "
            "configuration. Only the text and the code of that are changed."
        )
    if service.on_failure is OnFailure.BOUNCE:
        tables.append(f"regexp:$config_directory/{FILE_NAME}")
        reasons.append(
            "The profile says on_failure: bounce. The table matches only what the other side "
            "lacks, never an outage of ours."
        )
    if not tables:
        return
    own = base.value("smtp_delivery_status_filter", main.get("smtp_delivery_status_filter", ""))
    if not own and main.get("default_delivery_status_filter"):
        own = "$default_delivery_status_filter"
    yield Setting(
        "smtp_delivery_status_filter",
        ", ".join(filter(None, [*tables, " ".join(own.split())])),
        " ".join(reasons),
    )


def _floor(service: ServiceSpec, base: Service, facts: PostfixFacts) -> str | None:
    """Return the level for a clone, or None where the operator's own is as strict.

    The operator's is not written down: a later change of main.cf should count here as well.
    """
    wanted = service.level.keyword
    if strictness(operators_level(base, facts.value)) >= strictness(wanted):
        return None
    return wanted


def strictness(level: str) -> int:
    """Return a rank by which levels of Postfix can be compared; empty is the lowest."""
    # A value with a reference in it cannot be ranked; it counts as more than "may", less than TLS.
    return _STRICTNESS.get(level, _STRICTNESS["dane"] if level else 0)
