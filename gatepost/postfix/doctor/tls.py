"""Whether Postfix enforces the TLS that the configuration asks for.

Source: TLS_README; postconf(5); RELEASE_NOTES-3.10 (TLS-Required).
Errors: none.
Security: what is looked for here lets mail go out weaker than a tenant was promised, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gatepost.modes import Feature, Mode
from gatepost.postfix.clones import strictness
from gatepost.postfix.detach import is_our_service
from gatepost.postfix.doctor import tls_tables
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.operator_level import DNS_LEVEL, looks_up_dns
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level

_DANE = ("dane", "dane-only")


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the parameters of the SMTP client."""
    snapshot = scene.snapshot
    if snapshot is None:
        return
    demanding = _demands(snapshot)
    if scene.on("tls_required_enable") and demanding:
        yield problem(
            "tls_required_enable = yes.",
            'A message header "TLS-Required: no", which any sender can write, makes Postfix skip '
            "all TLS policy for that message: it goes out in plaintext whatever the profile says.",
            scene.set_main("tls_required_enable = no"),
        )
    yield from _level(scene)
    yield from _authorities(scene, snapshot)
    yield from _dane(scene)
    yield from _our_dane(scene, snapshot)
    yield from _policy_order(scene)
    yield from _behind_main_cf(scene)
    yield from tls_tables.check(scene)


def _level(scene: Scene) -> Iterator[Finding]:
    level = scene.value("smtp_tls_security_level")
    old = scene.on("smtp_enforce_tls") or scene.on("smtp_use_tls")
    if level == "none" or (not level and not old):
        yield warning(
            f"smtp_tls_security_level is {level or 'empty'}.",
            "Mail that no profile covers goes out in plaintext even where the server offers TLS.",
            scene.set_main("smtp_tls_security_level = may"),
        )


def _authorities(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    if not _demands(snapshot, Level.VERIFY):
        return
    file = scene.value("smtp_tls_CAfile")
    if file and not _readable(Path(file)):
        yield problem(
            f"smtp_tls_CAfile = {file} cannot be read, or is empty.",
            "No certificate verifies, so mail that asks for level verify is not delivered.",
            "apt-get install ca-certificates",
            scene.set_main("smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt"),
        )
    if not (file or scene.value("smtp_tls_CApath") or scene.on("tls_append_default_CA")):
        yield problem(
            "smtp_tls_CAfile and smtp_tls_CApath are empty.",
            "No certificate verifies, so mail that asks for level verify is not delivered.",
            scene.set_main("smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt"),
        )


def _dane(scene: Scene) -> Iterator[Finding]:
    level = scene.value("smtp_tls_security_level")
    if level in _DANE and scene.value("smtp_dns_support_level") != "dnssec":
        yield problem(
            f"smtp_tls_security_level = {level}, but smtp_dns_support_level is not dnssec.",
            "Postfix does not ask for DNSSEC, so DANE is off without a word.",
            scene.set_main("smtp_dns_support_level = dnssec"),
        )


def _our_dane(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what keeps Postfix from carrying out answers with DANE, which then are not given."""
    base = scene.base
    if not snapshot.tls.dane:
        return
    if not looks_up_dns(base, scene.facts.value):
        yield warning(
            "tls.dane is yes, but Postfix does not look up DNS, or goes on where that fails.",
            "DANE joins no answer: smtp(8) could not carry it out.",
            scene.set_main(f"{DNS_LEVEL} ="),
            scene.set_main("disable_dns_lookups = no"),
            scene.set_main("ignore_mx_lookup_error = no"),
        )
    elif snapshot.modes.tls is Mode.ENFORCE and scene.value(DNS_LEVEL, base) != "dnssec":
        yield warning(
            f"tls.dane is yes, but {DNS_LEVEL} of your own service is not dnssec.",
            "Mail that no tenant's service delivers goes out without DANE.",
            scene.set_main(f"{DNS_LEVEL} = dnssec"),
            "gatepost reload",
        )


def _policy_order(scene: Scene) -> Iterator[Finding]:
    for entry in scene.entries:
        listed = elements(scene.value("smtp_tls_policy_maps", entry))
        ours = [scene.is_our_tls_map(each) for each in listed]
        if entry.command == "smtp" and True in ours and (ahead := listed[: ours.index(True)]):
            yield problem(
                f"{entry.key}: in smtp_tls_policy_maps, {', '.join(ahead)} stands in front of "
                "Gatepost.",
                "Postfix takes the first answer, also where it is weaker than the profile.",
                "gatepost detach && gatepost attach",
            )


def _behind_main_cf(scene: Scene) -> Iterator[Finding]:
    """Yield what our services do not know of main.cf, which was changed after the last attach."""
    base = scene.base
    if base is None:
        return
    level = scene.level
    listed = elements(scene.value("smtp_tls_policy_maps", base))
    maps = [each for each in listed if not scene.is_our_tls_map(each)]
    for entry in scene.entries:
        if entry.command != "smtp" or not is_our_service(entry):
            continue
        own = scene.value("smtp_tls_security_level", entry).lower()
        if strictness(own) < strictness(level):
            yield problem(
                f"{entry.key}: smtp_tls_security_level is {own or 'empty'}, and {level} is what "
                f"your service {base.name} asks for.",
                "Mail by this service goes out with less than you ask for where Gatepost's map "
                "has no opinion.",
                "gatepost attach",
            )
        listed = elements(scene.value("smtp_tls_policy_maps", entry))
        if missing := [each for each in maps if each not in listed]:
            yield problem(
                f"{entry.key}: smtp_tls_policy_maps lacks {', '.join(missing)}, which your service "
                f"{base.name} asks.",
                "Your rules there do not hold for the mail that this service delivers.",
                "gatepost attach",
            )


def _demands(snapshot: Snapshot, least: Level = Level.ENCRYPT) -> bool:
    """Tell whether any rule that is not switched off asks for a level or more."""
    modes = [snapshot.modes, *(tenant.modes for tenant in snapshot.tenants.by_id.values())]
    if all(each.of(Feature.TLS) is Mode.OFF for each in modes):
        return False
    profiles = [snapshot.tls.profiles[name] for _, name in snapshot.services.values()]
    rules = [
        *snapshot.tls.everyone.table.values(),
        *(rule.requirement for rule in snapshot.tls.promoted.table.values()),
        *(rule for each in profiles for rule in (each.base, *each.exceptions.table.values())),
    ]
    return any(rule.level >= least for rule in rules)


def _readable(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
