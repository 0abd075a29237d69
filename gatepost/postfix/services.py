"""From a configuration to what Postfix has to be told: hooks and delivery services.

Purpose: "no needless hook": each hook costs Postfix a round trip per message or recipient, so one
that no mode and no tenant can need is left out, with the reason.
Errors: none; `shortfalls` and `drift` say nothing about files that they cannot read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatepost.decisions.quota import counts_campaigns, needs_end_of_message
from gatepost.decisions.tlsmap import LANE_MARK
from gatepost.modes import Feature, Mode, Modes
from gatepost.postfix import master_cf
from gatepost.postfix.bounce_filter import FILE_NAME
from gatepost.postfix.instances.place import config_dir_of
from gatepost.postfix.main_cf import references, settings
from gatepost.postfix.markers import BEGIN_ANY
from gatepost.postfix.operator_level import DNS_LEVEL, default_service, looks_up_dns
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.spec import DEFAULT_SOCKET_DIR, AttachSpec, Hook, InstanceSpec, ServiceSpec
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import ReturnPath, Tenant
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure
from gatepost.traffic.lanes import hand_over_name, service_name

_MILTER_FEATURES = (Feature.TAG, Feature.FEEDBACK)
_POLICY_FEATURES = (
    *(Feature.SENDER, Feature.TLS, Feature.LANE),
    *(Feature.SUPPRESSION, Feature.LADDER),
)
_ASKED_BY = {
    Hook.MILTER: "smtpd_milters",
    Hook.POLICY: "smtpd_recipient_restrictions",
    Hook.QUOTA: "smtpd_end_of_data_restrictions",
    Hook.TRANSPORT: "sender_dependent_default_transport_maps",
    Hook.TLS: "smtp_tls_policy_maps",
    Hook.RETURNS: "transport_maps",
}
_TRANSPORT_FEATURES = (Feature.TLS, Feature.LANE, Feature.LADDER)


def attach_spec(snapshot: Snapshot, socket_dir: str = DEFAULT_SOCKET_DIR) -> AttachSpec:
    """Return what Postfix has to be told for a configuration.

    Args:
        snapshot: The configuration.
        socket_dir: Directory of the sockets below the queue directory.
    """
    left_out = dict(_needless(snapshot))
    hooks = frozenset(hook for hook in Hook if hook not in left_out)
    by_lane: dict[str, list[ServiceSpec]] = {}
    for lane, profile in dict.fromkeys(snapshot.services.values()):
        if Hook.TRANSPORT in hooks:
            by_lane.setdefault(lane, []).extend(_services(snapshot, lane, profile))
    services = tuple(
        each
        for lane, found in by_lane.items()
        if not snapshot.lanes[lane].instance
        for each in found
    )
    instances = tuple(
        InstanceSpec(lane, tuple(found))
        for lane, found in by_lane.items()
        if snapshot.lanes[lane].instance
    )
    everything = [each for found in by_lane.values() for each in found]
    return AttachSpec(
        hooks,
        tuple(left_out.items()),
        services,
        socket_dir,
        _answers(snapshot, hooks, everything),
        snapshot.tls.without_dane,
        snapshot.platform.bounce_domain is not None
        and any(map(sends_tokens, snapshot.tenants.by_id.values())),
        snapshot.tls.dane,
        returning_domains(snapshot),
        holds_back(snapshot),
        instances,
    )


def holds_back(snapshot: Snapshot) -> bool:
    """Tell whether a delivery may be held back, or might be if the mode were another."""
    return snapshot.shaping.on and snapshot.modes.lane is not Mode.OFF


def returning_domains(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the domains that bounces and reports come back to, each once."""
    platform = snapshot.platform
    return tuple(dict.fromkeys(filter(None, (platform.bounce_domain, platform.feedback_domain))))


def sends_tokens(tenant: Tenant) -> bool:
    """Tell whether a tenant's envelope senders are replaced by token addresses, or may soon be."""
    return tenant.return_path is ReturnPath.TOKEN and tenant.modes.feedback is not Mode.OFF


def is_attached(config_dir: Path) -> bool:
    """Tell whether attach has written into an instance's files; also if they cannot be read."""
    files = _read(config_dir)
    return files is None or _attached(files.main)


def shortfalls(snapshot: Snapshot, config_dir: Path) -> list[str]:
    """Return a sentence for each hook and service that a snapshot needs and Postfix lacks.

    Without a hook, Postfix does not ask what the configuration then would promise in vain; mail for
    a service that is not there would wait in the queue. Where nothing is attached, nothing is
    missing: mail passes as if there were no configuration. Two files are read and no command is
    run, so a reload can afford it.

    Args:
        snapshot: The configuration that is to come into force.
        config_dir: The configuration directory of the instance.
    """
    files = _read(config_dir)
    if files is None or not _attached(files.main):
        return []
    spec = attach_spec(snapshot)
    values = settings(files.main)
    found = [
        f"main.cf does not ask Gatepost by {hook} ({_ASKED_BY[hook]}), and this configuration "
        "needs it; run gatepost attach, then gatepost reload"
        for hook in Hook
        # What comes back may be delivered by the operator's own means.
        if hook in spec.hooks and hook is not Hook.RETURNS and not _asks(hook, values, files.master)
    ]
    present = {entry.name for entry in files.services}
    found += [
        f"master.cf has no service {service.name} (lane {service.lane}, profile "
        f"{service.profile}), and mail for it would wait; run gatepost attach, then gatepost reload"
        for service in spec.services
        if service.name not in present
    ]
    found += [each for instance in spec.instances for each in _apart(instance, files, config_dir)]
    return found + list(_without_dnssec(spec, files, values))


def _apart(instance: InstanceSpec, files: _Files, config_dir: Path) -> Iterator[str]:
    """Yield a sentence for each thing that a lane's own instance lacks, or the way to it."""
    remedy = "; run gatepost attach, then gatepost reload"
    if hand_over_name(instance.lane) not in {entry.name for entry in files.services}:
        yield (
            f"master.cf has no service {hand_over_name(instance.lane)}, by which mail of lane "
            f"{instance.lane} is handed to its own instance, and mail for it would wait{remedy}"
        )
        return
    theirs = _read(config_dir_of(instance.lane, config_dir))
    present = {entry.name for entry in theirs.services} if theirs else set()
    missing = [each.name for each in instance.services if each.name not in present]
    if missing:
        yield (
            f"the instance of lane {instance.lane} has no service {' or '.join(missing)}, and mail "
            f"for it would wait{remedy}"
        )


def drift(snapshot: Snapshot, config_dir: Path) -> list[str]:
    """Return a sentence for each setting in Postfix's files that is not the snapshot's.

    These are what only attach can bring into force: ``on_failure`` and the settings of lanes.

    Args:
        snapshot: The configuration in force.
        config_dir: The configuration directory of the instance.
    """
    files = _read(config_dir)
    if files is None or not _attached(files.main):
        return []
    values = settings(files.main)
    entries = {entry.name: entry for entry in files.services}
    spec = attach_spec(snapshot)
    return [
        *_returns_drift(spec, values),
        *_service_drift(spec.services, entries, values, spec),
        *(each for instance in spec.instances for each in _drift_apart(instance, spec, config_dir)),
    ]


def _drift_apart(instance: InstanceSpec, spec: AttachSpec, config_dir: Path) -> list[str]:
    theirs = _read(config_dir_of(instance.lane, config_dir))
    if theirs is None:
        return []
    entries = {entry.name: entry for entry in theirs.services}
    return _service_drift(instance.services, entries, settings(theirs.main), spec)


def _returns_drift(spec: AttachSpec, values: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence if mail comes back to a domain that attach has not heard of."""
    present = values.get(Hook.RETURNS, "")
    missing = [domain for domain in spec.returns if f"@{domain} = " not in present]
    if present and missing:
        yield (
            f"mail that comes back to {', '.join(missing)} does not reach the intake yet; it does "
            "after gatepost attach"
        )


def _service_drift(
    services: Sequence[ServiceSpec],
    entries: Mapping[str, master_cf.Service],
    values: Mapping[str, str],
    spec: AttachSpec,
) -> list[str]:
    return [
        f"{service.name}: {what} in Postfix's files is not what the configuration says; it comes "
        "into force with gatepost attach"
        for service in services
        if service.name in entries
        for what in _differences(service, entries[service.name], values, spec)
    ]


def _without_dnssec(spec: AttachSpec, files: _Files, values: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each service that could not carry out an answer with DANE."""
    base = default_service(files.services, values.get("default_transport", ""))
    if not spec.dane or not looks_up_dns(base, values.get):
        return
    ours = {service.name for service in spec.services}
    for entry in files.services:
        level = entry.value(DNS_LEVEL, values.get(DNS_LEVEL, ""))
        if entry.name in ours and level != "dnssec":
            yield (
                f"{entry.name} in master.cf does not ask for DNSSEC ({DNS_LEVEL}), and tls.dane "
                "needs it; run gatepost attach, then gatepost reload"
            )


@dataclass(frozen=True, slots=True)
class _Files:
    main: str
    master: str
    services: tuple[master_cf.Service, ...]


def _read(config_dir: Path) -> _Files | None:
    try:
        main, master = (
            (config_dir / name).read_text(encoding="utf-8", errors="surrogateescape")
            for name in (MAIN_CF, MASTER_CF)
        )
    except OSError:
        return None
    entries = tuple(entry for entry in master_cf.services(master) if entry.type == "unix")
    return _Files(main, master, entries)


def _attached(main: str) -> bool:
    return any(line.startswith(BEGIN_ANY) for line in main.splitlines()) or any(
        hook.value in settings(main) for hook in Hook
    )


def _asks(hook: Hook, values: Mapping[str, str], master: str) -> bool:
    """Tell whether a hook is defined, and referred to from wherever the operator wants it."""
    if not values.get(hook):
        return False
    return hook in references(master) or any(hook in references(value) for value in values.values())


def _differences(
    service: ServiceSpec, entry: master_cf.Service, values: Mapping[str, str], spec: AttachSpec
) -> Iterator[str]:
    maps = entry.value("smtp_tls_policy_maps").replace(",", " ").split()
    if spec.shaping != any(each.endswith(f"{LANE_MARK}{service.lane}") for each in maps):
        yield "shaping"
    bounces = FILE_NAME in entry.value("smtp_delivery_status_filter")
    if bounces != (service.on_failure is OnFailure.BOUNCE):
        yield "on_failure"
    if (entry.value("smtp_bind_address") or None) != service.address4 or (
        entry.value("smtp_bind_address6") or None
    ) != service.address6:
        yield "addresses"
    concurrency = "" if service.concurrency is None else str(service.concurrency)
    delay = "" if service.rate_delay_s is None else f"{service.rate_delay_s}s"
    base = values.get("default_transport", "smtp")
    for suffix, what, wanted in (
        ("_destination_concurrency_limit", "concurrency", concurrency),
        ("_destination_rate_delay", "rate_delay", delay),
    ):
        present = values.get(service.name + suffix, "")
        # Where the lane has no limit, the operator's own holds, by a reference or by its value.
        theirs = present.startswith("$") or present == values.get(base + suffix, "")
        if present != wanted and not (theirs and not wanted):
            yield what


def _answers(snapshot: Snapshot, hooks: frozenset[Hook], services: Sequence[ServiceSpec]) -> bool:
    """Tell whether a TLS map that Postfix is told to ask could ever answer."""
    asked_of_everyone = services or Hook.TLS in hooks
    profiles = (snapshot.tls.profiles[service.profile] for service in services)
    return bool(asked_of_everyone and snapshot.tls.for_everyone) or any(
        profile.base.level > Level.MAY or profile.exceptions.table for profile in profiles
    )


def _services(snapshot: Snapshot, lane_name: str, profile_name: str) -> Iterator[ServiceSpec]:
    """Yield the services of a lane and a profile: one for each source of the lane."""
    lane = snapshot.lanes[lane_name]
    profile = snapshot.tls.profiles[profile_name]
    for number in lane.numbers:
        source = lane.source(number)
        yield ServiceSpec(
            service_name(lane_name, profile_name, number),
            lane_name,
            profile_name,
            profile.base.level,
            profile.on_failure,
            lane.concurrency,
            lane.rate_delay_s,
            source.address4,
            source.address6,
        )


def _needless(snapshot: Snapshot) -> Iterator[tuple[Hook, str]]:
    in_use = _features_in_use(snapshot)
    tenants = snapshot.tenants
    marks_mail = bool(in_use.intersection(_MILTER_FEATURES))
    checks_from = Feature.SENDER in in_use and any(t.check_from for t in tenants.by_id.values())
    asks = tenants.platform or counts_campaigns(snapshot)
    # The type of a message, by which marketing waits, stands in its header.
    holds = Feature.LADDER in in_use and any(t.marketing_types for t in tenants.by_id.values())
    if not (marks_mail or checks_from or holds or asks):
        yield Hook.MILTER, "the features tag and feedback are off for everybody"
    # A milter never sees a client certificate; the policy service tells it.
    vouches = marks_mail and bool(tenants.by_certificate)
    counts = needs_end_of_message(snapshot)
    if not (in_use.intersection(_POLICY_FEATURES) or vouches or counts):
        yield Hook.POLICY, f"the features {_named(_POLICY_FEATURES)} are off for everybody"
    if not counts:
        yield Hook.QUOTA, "no tenant has a quota that counts when its mail comes in"
    if not snapshot.services:
        yield Hook.TRANSPORT, "no tenant has a lane or a TLS profile of its own"
    elif not in_use.intersection(_TRANSPORT_FEATURES):
        yield Hook.TRANSPORT, f"the features {_named(_TRANSPORT_FEATURES)} are off for everybody"
    if not returning_domains(snapshot):
        yield Hook.RETURNS, "neither platform.bounce_domain nor platform.feedback_domain is set"
    if holds_back(snapshot):
        return
    if not snapshot.tls.for_everyone:
        why = "tls.domains holds no rules for everyone, tls.dane and mta_sts are no"
        yield Hook.TLS, f"{why}, and tls.promoted names no file"
    elif snapshot.modes.tls is Mode.OFF:
        yield Hook.TLS, "the feature tls is off by default, and the map tls follows the default"


def _named(features: Sequence[Feature]) -> str:
    return f"{', '.join(features[:-1])} and {features[-1]}"


def _features_in_use(snapshot: Snapshot) -> set[Feature]:
    modes: set[Modes] = {snapshot.modes}
    modes.update(tenant.modes for tenant in snapshot.tenants.by_id.values())
    return {feature for feature in Feature for each in modes if each.of(feature) is not Mode.OFF}
