"""Whether Postfix can tell us what tenants are known by: logins, certificates, listeners.

Source: postconf(5) smtpd_sasl_auth_enable, smtpd_tls_ask_ccert, smtpd_tls_fingerprint_digest,
milter_macro_daemon_name; SMTPUTF8_README.
Limits: 3 names are shown of each kind.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.snapshot import Snapshot

_SHOWN = 3
# Characters of a fingerprint in hexadecimal with colons, by digest.
_LENGTHS = {"md5": 47, "sha1": 59, "sha224": 83, "sha256": 95, "sha384": 143, "sha512": 191}


def check(scene: Scene) -> Iterator[Finding]:
    """Look at what the configuration of the tenants needs from smtpd(8)."""
    if scene.snapshot is not None:
        yield from _logins(scene, scene.snapshot)
        yield from _certificates(scene, scene.snapshot)
        yield from _listeners(scene, scene.snapshot)
        yield from _international(scene, scene.snapshot)


def _logins(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    logins = [*snapshot.tenants.by_login, *snapshot.tenants.platform]
    offered = any(
        scene.value("smtpd_sasl_auth_enable", entry) == "yes" for entry in scene.listeners()
    )
    if logins and not offered:
        yield problem(
            f"Tenants are known by login ({_some(logins)}), and no listener offers AUTH.",
            "Nobody can log in, so their mail belongs to no tenant.",
            "set smtpd_sasl_auth_enable = yes for the listener that customers use (SASL_README)",
        )


def _certificates(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    fingerprints = snapshot.tenants.by_certificate
    if not fingerprints:
        return
    asking = [
        entry
        for entry in scene.listeners()
        if "yes"
        in {scene.value("smtpd_tls_ask_ccert", entry), scene.value("smtpd_tls_req_ccert", entry)}
    ]
    if not asking:
        yield problem(
            "Tenants are known by client certificate, and no listener asks for one.",
            "Clients do not show a certificate unasked, so their mail belongs to no tenant.",
            "set smtpd_tls_ask_ccert = yes for the listener that customers use",
        )
    digest = scene.value("smtpd_tls_fingerprint_digest").lower()
    length = _LENGTHS.get(digest)
    odd = [each for each in fingerprints if length is not None and len(each) != length]
    if odd:
        yield problem(
            f"smtpd_tls_fingerprint_digest = {digest}, and {len(odd)} fingerprints of tenants are "
            "of another length.",
            "They will never match, so the mail of these clients belongs to no tenant.",
            scene.set_main("smtpd_tls_fingerprint_digest = sha256"),
        )


def _listeners(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    wanted = set(snapshot.tenants.by_listener)
    name = "milter_macro_daemon_name"
    present = {scene.value(name, entry) for entry in scene.entries if entry.command == "smtpd"}
    if missing := sorted(wanted - present):
        yield problem(
            f"Tenants are known by listener ({_some(missing)}), and no smtpd service has that "
            "name.",
            "Their mail belongs to no tenant.",
            f"add -o {name}={missing[0]} to their smtpd service in master.cf",
        )


def _international(scene: Scene, snapshot: Snapshot) -> Iterator[Finding]:
    foreign = [domain for domain in snapshot.tenants.by_sender if "xn--" in domain]
    if foreign and scene.value("smtputf8_enable") != "yes":
        yield warning(
            f"smtputf8_enable is not yes, and tenants have international domains "
            f"({_some(foreign)}).",
            "Their addresses in native letters are refused by clients and servers that keep to "
            "the standard; in the xn-- form they work.",
            scene.set_main("smtputf8_enable = yes"),
        )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
