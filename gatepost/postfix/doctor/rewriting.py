"""What rewrites the envelope sender, by which a tenant and its lane and profile are found.

Purpose: Gatepost's map is asked with the sender as cleanup(8) leaves it; where that is an address
of no tenant, or of another, the mail goes out by the wrong rules or by none.
Source: cleanup(8), canonical(5), generic(5), ADDRESS_REWRITING_README; postconf(5)
masquerade_domains: of its list the first entry that matches counts, and "!" excepts a domain.
Limits: of a table or a list, 3 senders are shown.
Errors: none are raised: a table that cannot be read is a finding.
Not handled: masquerade_exceptions, which spare some users of a domain and no domain; what several
rewritings make of an address one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.errors import PostfixUnavailable
from gatepost.modes import Mode
from gatepost.postfix.doctor import tables
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.doctor.senders import SHOWN, domain_of_key, in_force
from gatepost.postfix.services import sends_tokens
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import ReturnPath, Tenant

# Each with the parameter that says which addresses it is for; generic(5) is for all, at delivery.
_TABLES = {
    "sender_canonical_maps": "sender_canonical_classes",
    "canonical_maps": "canonical_classes",
    "smtp_generic_maps": None,
}
_ENVELOPE = "envelope_sender"
_ANY = "gatepost-any"


def check(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    """Look at everything that rewrites envelope senders."""
    yield from _masquerading(scene, snapshot)
    for name, classes in _TABLES.items():
        value = _value(scene, name)
        if not value or (classes and _ENVELOPE not in elements(_value(scene, classes))):
            continue
        # By the time of generic(5), the lane and profile are chosen.
        found = list(_bad_entries(scene, snapshot, name, value)) if classes else []
        if found:
            yield from found
        else:
            yield _perhaps(snapshot, name, value)


def _masquerading(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    value = _value(scene, "masquerade_domains")
    if not value or _ENVELOPE not in elements(_value(scene, "masquerade_classes")):
        return
    entries = [entry.lower() for entry in elements(value)]
    senders = list(_senders(snapshot, entries))
    strays = [
        stray for old in senders if (stray := _stray(old, masquerade(old, entries), snapshot))
    ]
    if strays:
        yield problem(
            f"masquerade_domains = {value} rewrites senders: {_shown(strays)}.",
            "Gatepost finds a tenant by the sender's domain as it is afterwards: this mail goes "
            "out without the lane and TLS profile that are in force for it, or loses its bounces.",
            "put !domain for each of them in front of the entry of masquerade_domains that matches",
            scene.set_main("masquerade_classes = header_sender, header_recipient"),
        )


def _senders(snapshot: Snapshot, entries: list[str]) -> Iterator[str]:
    """Yield the sender domains of all tenants, with examples of sub-domains, and of tokens."""
    if snapshot.platform.bounce_domain is not None:
        yield snapshot.platform.bounce_domain
    names = {entry.lstrip("!") for entry in entries}
    for sender in snapshot.tenants.by_sender:
        if not sender.startswith("."):
            yield sender
            continue
        yield _ANY + sender
        yield from (f"{_ANY}.{name}" for name in sorted(names) if name.endswith(sender))


def masquerade(domain: str, entries: list[str]) -> str:
    """Return what masquerade_domains makes of a domain.

    Args:
        domain: A normalised domain.
        entries: The list, in lower case.
    """
    for entry in entries:
        name = entry.lstrip("!")
        if name and (domain == name or domain.endswith(f".{name}")):
            return domain if (len(entry) - len(name)) % 2 else name
    return domain


def _bad_entries(scene: Scene, snapshot: Snapshot, name: str, value: str) -> Iterator[Finding]:
    for table in elements(value):
        strays = []
        try:
            entries = tables.entries(scene, table)
        except PostfixUnavailable:
            continue
        for key, address in entries:
            old = domain_of_key(key)
            # An address without a domain gets $myorigin.
            new = domain_of_key(address if "@" in address else f"@{_value(scene, 'myorigin')}")
            if old is not None and (stray := _stray(old, new, snapshot)):
                strays.append(f"{key}: {stray}")
        if strays:
            yield problem(
                f"{name} {table} rewrites senders: {_shown(strays)}.",
                "Gatepost finds a tenant by the sender's domain as it is afterwards: this mail "
                "goes out without the lane and TLS profile that are in force for it, or loses its "
                "bounces.",
                f"take these entries out of {table}, or give the new domain to the tenant "
                "(senders)",
            )


def _stray(old: str, new: str | None, snapshot: Snapshot) -> str:
    """Return what is wrong if addresses of one domain become those of another, or nothing."""
    if old == new:
        return ""
    becomes = f"{old.replace(_ANY, '*')} becomes {new or 'an address without a domain'}"
    tenants = snapshot.tenants
    if old == snapshot.platform.bounce_domain:
        return f"{becomes} (token return paths)" if _tokens(snapshot) else ""
    tenant = tenants.owner(old)
    if tenant is None or _has_token(tenant, snapshot) or not in_force(tenant, snapshot):
        return ""
    other = tenants.owner(new) if new is not None else None
    if other is tenant:
        return ""
    whose = "no tenant" if other is None else f"tenant {other.id}"
    return f"{becomes} (from tenant {tenant.id} to {whose})"


def _has_token(tenant: Tenant, snapshot: Snapshot) -> bool:
    """Tell whether a tenant is found by the token in its senders, whatever they were before."""
    return (
        tenant.return_path is ReturnPath.TOKEN
        and tenant.modes.feedback is Mode.ENFORCE
        and snapshot.platform.bounce_domain is not None
    )


def _tokens(snapshot: Snapshot) -> bool:
    return any(map(sends_tokens, snapshot.tenants.by_id.values()))


def _perhaps(snapshot: Snapshot, name: str, value: str) -> Finding:
    domain = snapshot.platform.bounce_domain
    except_for = f" and {domain}" if domain and _tokens(snapshot) else ""
    return warning(
        f"{name} = {value}.",
        "A sender that it rewrites is what Gatepost's map is asked with: if the new domain "
        "belongs to no tenant, the mail goes out without lane and TLS profile; a token return "
        "path that it rewrites loses its bounces.",
        f"make it leave the tenants' domains{except_for} alone (postsrsd: domains-file)",
    )


def _shown(strays: list[str]) -> str:
    more = f"; and {len(strays) - SHOWN} more" if len(strays) > SHOWN else ""
    return "; ".join(strays[:SHOWN]) + more


def _value(scene: Scene, name: str) -> str:
    cleanup = next((entry for entry in scene.entries if entry.key == "cleanup/unix"), None)
    return scene.value(name, cleanup)
