"""Where mail goes past lanes and profiles.

Purpose: `sender_dependent_default_transport_maps` covers only mail that nothing else routes, and is
asked with the envelope sender as it stands in the queue file (`rewriting`, `senders`).
Source: trivial-rewrite(8), transport(5); postconf(5).
Limits: of a transport table, 3 entries are shown.
Errors: none are raised: a table that cannot be read is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gatepost.errors import PostfixUnavailable
from gatepost.postfix.attach_main import not_deferred
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor import rewriting, senders, tables
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.master_cf import Service
from gatepost.postfix.spec import Hook
from gatepost.snapshot import Snapshot
from gatepost.tls.rules import OnFailure

_SHOWN = 3


def check(scene: Scene) -> Iterator[Finding]:
    """Look at everything that takes part in routing."""
    spec, snapshot = scene.spec, scene.snapshot
    if spec is None or snapshot is None:
        return
    yield from senders.check(scene, snapshot)
    if spec.tokens or Hook.TRANSPORT in spec.hooks:
        yield from rewriting.check(scene, snapshot)
    if Hook.TRANSPORT not in spec.hooks:
        return
    if scene.attached:
        yield from _order(scene)
    yield from _default_transport(scene)
    yield from _transport_maps(scene, apart=bool(spec.instances))
    yield from _next_hops(scene)
    yield from _bounces(scene, snapshot)
    if scene.attached and (missing := not_deferred(spec, scene.facts)):
        deferred = scene.value("defer_transports")
        yield warning(
            f"defer_transports = {deferred} forgets {', '.join(missing)}.",
            "Mail of tenants with a lane or profile in force goes out at once, while the rest is "
            "held back.",
            scene.set_main(f"defer_transports = {', '.join([deferred, *missing])}"),
        )


def _order(scene: Scene) -> Iterator[Finding]:
    name = "sender_dependent_default_transport_maps"
    listed = elements(scene.value(name, _service(scene, "trivial-rewrite")))
    ours = [each.endswith(":transport") and scene.socket_dir in each for each in listed]
    if True not in ours:
        yield problem(
            f"{name} does not ask Gatepost.",
            "Mail goes out by the default transport, whatever lane or TLS profile its tenant has.",
            "gatepost attach",
        )
    elif ahead := listed[: ours.index(True)]:
        yield problem(
            f"In {name}, {', '.join(ahead)} stands in front of Gatepost.",
            "For the senders that it knows, Gatepost is not asked: their lane and TLS profile do "
            "not count.",
            f"put $gatepost_transport first in {name}",
        )


def _default_transport(scene: Scene) -> Iterator[Finding]:
    default = scene.value("default_transport") or "smtp"
    transport, _, nexthop = default.partition(":")
    if nexthop:
        yield problem(
            f"default_transport = {default} names a next-hop.",
            "Gatepost answers with another service, and mail of a tenant with a lane or profile "
            "would not go to that next-hop.",
            scene.set_main(f"default_transport = {transport}"),
            scene.set_main(f"relayhost = {nexthop}"),
            "gatepost attach",
        )
    elif not any(
        e.name == transport and e.type == "unix" and e.command == "smtp" for e in scene.entries
    ):
        yield problem(
            f"default_transport = {default} is no smtp(8) service of master.cf.",
            "Lanes and TLS profiles are clones of the service that delivers by default, and there "
            "is none to clone.",
        )


def _transport_maps(scene: Scene, *, apart: bool) -> Iterator[Finding]:
    postfix = PostfixCommands(scene.facts.config_dir)
    queue = scene.facts.queue_directory
    for table in elements(scene.value("transport_maps")):
        try:
            everything = postfix.postmap("-q", "*", table, directory=queue)
            entries = _entries(scene, table)
        except PostfixUnavailable as error:
            yield warning(
                f"transport_maps {table} cannot be read: {error}.",
                "While Postfix cannot read it either, all mail waits.",
            )
            continue
        why = (
            "transport_maps wins over lanes and profiles: a tenant's TLS rules and limits do not "
            "hold for these destinations."
        )
        if everything:
            yield problem(
                f'transport_maps {table} has an entry for every destination: "* {everything}".',
                why,
                f'take the "*" entry out of {table}; relayhost says the same and keeps the lanes',
            )
        elif entries:
            shown = "; ".join(entries[:_SHOWN])
            more = f"; and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
            yield warning(f"transport_maps {table} routes by itself: {shown}{more}.", why)
            if apart:
                yield from _next_hops_alone(table, entries)
        elif tables.listable(table) is None:
            yield warning(f"transport_maps asks {table}, whose entries cannot be listed.", why)


def _next_hops_alone(table: str, entries: list[str]) -> Iterator[Finding]:
    """Find entries that leave the service to the map and replace its next-hop."""
    # Where nothing follows the colon, all stays as it is.
    found = [each for each in entries if re.match(r":.", each.split(None, 1)[1])]
    if found:
        yield problem(
            f"transport_maps {table} has entries with a next-hop and no service: "
            f"{'; '.join(found[:_SHOWN])}.",
            "A lane that is an instance of its own hands mail over by lmtp(8) to a socket, and "
            "such an entry sends that lmtp(8) to its next-hop instead, in plaintext. A mail server "
            "does not speak LMTP, so mail of tenants in such a lane waits until it is returned.",
            f"name the service in {table}, as in smtp:[host]",
        )


def _entries(scene: Scene, table: str) -> list[str]:
    """Return the entries that lead to another service or next-hop than the default."""
    # Local and discarding services have no TLS and no lanes.
    inside = ("local", "virtual", "lmtp", "error", "discard", "retry", "pipe")
    return [
        f"{key} {value}"
        for key, value in tables.entries(scene, table)
        if value.partition(":")[0] not in inside
    ]


def _next_hops(scene: Scene) -> Iterator[Finding]:
    if relay := scene.value("relayhost"):
        yield warning(
            f"relayhost = {relay}.",
            "All lanes deliver to it, and TLS rules are looked up for its name: rules for a "
            "recipient's domain have no effect, and what happens behind it nobody here sees.",
        )
    for name in ("sender_dependent_relayhost_maps", "smtp_fallback_relay"):
        if value := scene.value(name):
            yield warning(
                f"{name} = {value}.",
                "TLS rules are looked up for the host that it names, not for the recipient's "
                "domain; the level of the profile holds all the same.",
            )
    if scene.value("content_filter"):
        yield warning(
            f"content_filter = {scene.value('content_filter')}.",
            "Mail passes Gatepost before the filter. What the filter gives back through "
            "sendmail(1) looks like local mail and loses its tag; a listener on loopback is known "
            "and left out.",
        )


def _bounces(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    used = {profile for _, profile in snapshot.services.values()}
    bouncing = sorted(
        name for name in used if snapshot.tls.profiles[name].on_failure is OnFailure.BOUNCE
    )
    if bouncing and scene.on("soft_bounce"):
        yield warning(
            "soft_bounce = yes.",
            f"on_failure: bounce of {', '.join(bouncing)} has no effect: Postfix turns every "
            "bounce into a retry.",
            scene.set_main("soft_bounce = no"),
        )


def _service(scene: Scene, command: str) -> Service | None:
    return next((entry for entry in scene.entries if entry.command == command), None)
