"""From a configuration to what Postfix has to be told: hooks and delivery services.

Purpose: "no needless hook": each hook costs Postfix a round trip per message or recipient, so one
that no mode and no tenant can need is left out, with the reason.
Errors: none; `missing_services` says nothing about files that it cannot read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gatepost.modes import Feature, Mode, Modes
from gatepost.postfix import master_cf
from gatepost.postfix.main_cf import refers_to, settings
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.spec import DEFAULT_SOCKET_DIR, AttachSpec, Hook, ServiceSpec
from gatepost.snapshot import Snapshot

_MILTER_FEATURES = (Feature.TAG, Feature.FEEDBACK)
_POLICY_FEATURES = (Feature.SENDER, Feature.TLS, Feature.LANE)
_TRANSPORT_LIST = "sender_dependent_default_transport_maps"
_TRANSPORT_FEATURES = (Feature.TLS, Feature.LANE)


def attach_spec(snapshot: Snapshot, socket_dir: str = DEFAULT_SOCKET_DIR) -> AttachSpec:
    """Return what Postfix has to be told for a configuration.

    Args:
        snapshot: The configuration.
        socket_dir: Directory of the sockets below the queue directory.
    """
    left_out = dict(_needless(snapshot))
    hooks = frozenset(hook for hook in Hook if hook not in left_out)
    services = tuple(
        _service(snapshot, name, lane, profile)
        for name, (lane, profile) in snapshot.services.items()
        if Hook.TRANSPORT in hooks
    )
    return AttachSpec(hooks, tuple(left_out.items()), services, socket_dir)


def missing_services(snapshot: Snapshot, config_dir: Path) -> list[str]:
    """Return a sentence for each delivery service that a snapshot names and master.cf lacks.

    Mail for such a service would wait in the queue. Where Postfix does not ask our transport map,
    nothing is missing. Two files are read and no command is run, so a reload can afford it.

    Args:
        snapshot: The configuration that is to come into force.
        config_dir: The configuration directory of the instance.
    """
    try:
        main, master = (
            (config_dir / name).read_text(encoding="utf-8", errors="surrogateescape")
            for name in (MAIN_CF, MASTER_CF)
        )
    except OSError:
        return []
    if not refers_to("$" + _TRANSPORT_LIST, Hook.TRANSPORT, settings(main)):
        return []
    present = {entry.name for entry in master_cf.services(master) if entry.type == "unix"}
    return [
        f"master.cf has no service {name} (lane {lane}, profile {profile}), and mail for it would "
        "wait; run gatepost attach, then gatepost reload"
        for name, (lane, profile) in snapshot.services.items()
        if name not in present
    ]


def _service(snapshot: Snapshot, name: str, lane_name: str, profile_name: str) -> ServiceSpec:
    lane = snapshot.lanes[lane_name]
    profile = snapshot.tls.profiles[profile_name]
    return ServiceSpec(
        name,
        lane_name,
        profile_name,
        profile.base.level,
        profile.on_failure,
        lane.concurrency,
        lane.rate_delay_s,
        lane.address4,
        lane.address6,
    )


def _needless(snapshot: Snapshot) -> Iterator[tuple[Hook, str]]:
    in_use = _features_in_use(snapshot)
    tenants = snapshot.tenants
    marks_mail = bool(in_use.intersection(_MILTER_FEATURES))
    checks_from = Feature.SENDER in in_use and any(t.check_from for t in tenants.by_id.values())
    if not (marks_mail or checks_from or tenants.platform):
        yield Hook.MILTER, "the features tag and feedback are off for everybody"
    # A milter never sees a client certificate; the policy service tells it.
    vouches = marks_mail and bool(tenants.by_certificate)
    if not (in_use.intersection(_POLICY_FEATURES) or vouches):
        yield Hook.POLICY, "the features sender, tls and lane are off for everybody"
    if not snapshot.services:
        yield Hook.TRANSPORT, "no tenant has a lane or a TLS profile of its own"
    elif not in_use.intersection(_TRANSPORT_FEATURES):
        yield Hook.TRANSPORT, "the features tls and lane are off for everybody"
    if not snapshot.tls.everyone.table:
        yield Hook.TLS, "tls.domains holds no rules for everyone"
    elif snapshot.modes.tls is Mode.OFF:
        yield Hook.TLS, "the feature tls is off by default, and tls.domains follows the default"


def _features_in_use(snapshot: Snapshot) -> set[Feature]:
    modes: set[Modes] = {snapshot.modes}
    modes.update(tenant.modes for tenant in snapshot.tenants.by_id.values())
    return {feature for feature in Feature for each in modes if each.of(feature) is not Mode.OFF}
