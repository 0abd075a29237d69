"""What Postfix asks the operator's tables with, once the envelope sender is a token address.

Purpose: with ``return_path: token`` an entry for a tenant's own address is found no more by what
asks with the envelope sender as it stands in the queue file.
Source: postconf(5) sender_dependent_relayhost_maps, smtp_sender_dependent_authentication,
sender_dependent_default_transport_maps.
Limits: of a table, 3 keys are shown; values never, which may be passwords.
Errors: none are raised: a table that cannot be read is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.decisions.transport import effective_pair
from gatepost.domains import domain_of
from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor import tables
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.services import sends_tokens
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant
from gatepost.traffic.services import is_ordinary

SHOWN = 3
_TRANSPORT = "sender_dependent_default_transport_maps"
_RELAY = "sender_dependent_relayhost_maps"
_PASSWORDS = "smtp_sasl_password_maps"


def in_force(tenant: Tenant, snapshot: Snapshot) -> bool:
    """Tell whether mail of a tenant needs a service of ours, by a lane or profile in force."""
    lane, profile = effective_pair(tenant)
    return not is_ordinary(snapshot.lanes[lane], snapshot.tls.profiles[profile])


def check(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    """Look for entries of the operator's that a token return path keeps from being found."""
    bounce_domain = snapshot.platform.bounce_domain
    if bounce_domain is None or not any(map(sends_tokens, snapshot.tenants.by_id.values())):
        return
    for name in (_RELAY, _PASSWORDS, _TRANSPORT):
        if name == _PASSWORDS and not scene.on("smtp_sender_dependent_authentication"):
            continue
        theirs = [
            table
            for table in elements(scene.value(name))
            if not (table.endswith(":transport") and scene.socket_dir in table)
        ]
        yield from _lost_entries(scene, snapshot, name, theirs, bounce_domain)


def _lost_entries(
    scene: Scene, snapshot: Snapshot, name: str, theirs: list[str], bounce_domain: str
) -> Iterator[Finding]:
    why = (
        "Where the feature feedback is enforced for a tenant with return_path: token, Postfix asks "
        f"with an address in {bounce_domain}, and does not find what is there for the tenant's own."
    )
    mend = f"put an entry for @{bounce_domain} there, or set return_path: keep for the tenant"
    postfix = PostfixCommands(scene.facts.config_dir)
    found: list[Finding] = []
    for table in theirs:
        try:
            if postfix.postmap(
                "-q", f"@{bounce_domain}", table, directory=scene.facts.queue_directory
            ):
                return
            lost = _of_tokens(scene, snapshot, name, table)
        except PostfixUnavailable as error:
            found.append(warning(f"{name} {table} cannot be read: {error}.", why, mend))
            continue
        if lost:
            more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
            shown = ", ".join(lost[:SHOWN])
            what = f"{name} {table} has entries for senders that become tokens: {shown}{more}."
            found.append(problem(what, why, mend))
        elif tables.listable(table) is None:
            what = f"{name} asks {table}, whose entries cannot be listed, with token senders too."
            found.append(warning(what, why, mend))
    yield from found


def _of_tokens(scene: Scene, snapshot: Snapshot, name: str, table: str) -> list[str]:
    """Return the keys for senders of tenants with a token return path, each with its tenant."""
    lost = []
    for key, _ in tables.entries(scene, table):
        domain = domain_of_key(key)
        tenant = None if domain is None else snapshot.tenants.owner(domain)
        if tenant is None or not sends_tokens(tenant):
            continue
        # Where Gatepost names a service, the operator's entry does not count anyway.
        if name != _TRANSPORT or not in_force(tenant, snapshot):
            lost.append(f"{key} (tenant {tenant.id})")
    return lost


def domain_of_key(key: str) -> str | None:
    """Return the domain of a key of the form ``user@domain`` or ``@domain``, or None."""
    _, at, name = key.rpartition("@")
    return domain_of(f"x@{name}") if at else None
