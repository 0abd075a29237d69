"""Faults of certain Postfix releases that meet what Gatepost does.

Source: Postfix HISTORY and RELEASE_NOTES: entries 20231213 (in 3.7.11, 3.8.6, 3.9.0), 20240109 (in
3.7.10, 3.8.5, 3.9.0), 20250619 (in 3.7.17, 3.8.12, 3.9.6, 3.10.3).
Errors: none.
Not handled: snapshots, which are told apart by date only; they count as older than their release.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix_version import PostfixVersion

_UPGRADE = "upgrade Postfix: apt-get update && apt-get install --only-upgrade postfix"


def has_fix(version: PostfixVersion, *fixed: PostfixVersion) -> bool:
    """Tell whether a version has a fix.

    Args:
        version: The version.
        fixed: The first release of each series that has it; later series have it from the start,
            earlier ones never got it.
    """
    for first in fixed:
        if (version.major, version.minor) == (first.major, first.minor):
            return version >= first
    return version > max(fixed)


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the version, and at whether what it does wrong is used here."""
    version, snapshot = scene.facts.version, scene.snapshot
    certificates = snapshot is not None and bool(snapshot.tenants.by_certificate)
    prepend_fixed = has_fix(
        version, PostfixVersion(3, 7, 11), PostfixVersion(3, 8, 6), PostfixVersion(3, 9)
    )
    if certificates and not prepend_fixed:
        yield problem(
            f"Postfix {version} edits the wrong header after a policy service has prepended one.",
            "Tenants that are known by certificate make Gatepost prepend a header; a forged tag "
            "could then stay in a message.",
            _UPGRADE,
        )
    reuse_fixed = has_fix(
        version,
        PostfixVersion(3, 7, 17),
        PostfixVersion(3, 8, 12),
        PostfixVersion(3, 9, 6),
        PostfixVersion(3, 10, 3),
    )
    if not reuse_fixed and scene.value("smtp_connection_cache_on_demand") != "no":
        yield warning(
            f"Postfix {version} may use an open plaintext connection again after a rule for that "
            "destination became stricter.",
            "Tenants do not share connections, so this is about a change of a rule only, for up "
            "to 5 minutes after it.",
            "after making a rule stricter: postfix reload",
            _UPGRADE,
        )
    yield from _smuggling(scene)


def _smuggling(scene: Scene) -> Iterator[Finding]:
    if not scene.on("cleanup_replace_stray_cr_lf"):
        yield problem(
            "Postfix sends stray CR and LF characters on (cleanup_replace_stray_cr_lf).",
            "A tenant can hide a second message in the body of the first, which some servers then "
            "take for one from this host in the name of another tenant (SMTP smuggling).",
            scene.set_main("cleanup_replace_stray_cr_lf = yes")
            if scene.facts.has("cleanup_replace_stray_cr_lf")
            else _UPGRADE,
        )
    snapshot = scene.snapshot
    platform = snapshot is not None and bool(snapshot.tenants.platform)
    if platform and scene.value("smtpd_forbid_bare_newline") in {"", "no"}:
        yield warning(
            "smtpd_forbid_bare_newline = no.",
            "A system that sends with a platform login and passes on texts of its customers could "
            "be made to send a second message with another tenant's tag (SMTP smuggling).",
            scene.set_main("smtpd_forbid_bare_newline = normalize")
            if scene.facts.has("smtpd_forbid_bare_newline")
            else _UPGRADE,
        )
