"""Configurations with many tenants, as files, for what is measured with a real process.

Format: one YAML file; tenant ``tN`` owns ``tN.example`` and logs in as ``tN``; three profiles take
turns, and every tenant enforces every feature that is measured.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench.roles import postfix_stub

# The account of the processes: none of our own has to exist for a measurement.
USER = "nobody"
PROFILES = ("standard", "private", "bank")


def write_configuration(
    directory: Path,
    tenants: int,
    *,
    postfix_dir: Path | None = None,
    tls_profiles: str = "",
    first_tenant: str = "profile: standard",
) -> Path:
    """Write a configuration with its keys, and return the path of its main file.

    Args:
        directory: Where; made if it is missing.
        tenants: How many.
        postfix_dir: The configuration directory of the Postfix that is attached; without it one
            that never runs is made beside the configuration.
        tls_profiles: Lines of YAML to add to the profiles.
        first_tenant: Settings of tenant ``t0`` beside login and sender domain.
    """
    directory.mkdir(parents=True, exist_ok=True)
    postfix_dir = postfix_dir or postfix_stub(directory / "postfix")
    # Postfix's account and ours have to be able to enter.
    directory.chmod(0o755)
    keys = directory / "keys.yaml"
    keys.write_text(
        f'current: 1\nkeys: {{1: {{secret: "{os.urandom(32).hex()}"}}}}\n', encoding="ascii"
    )
    keys.chmod(0o600)
    shutil.chown(keys, USER)
    path = directory / "gatepost.yaml"
    path.write_text(
        _text(directory, tenants, postfix_dir, tls_profiles, first_tenant), encoding="ascii"
    )
    return path


def _text(
    directory: Path, tenants: int, postfix_dir: Path, tls_profiles: str, first_tenant: str
) -> str:
    lines = [
        f"postfix: {{config_dir: {postfix_dir}}}",
        f"service: {{user: {USER}, run_dir: {directory}/run}}",
        "log: {to: stderr, level: warning}",
        f"state: sqlite:///{directory}/state/gatepost.db",
        "metrics: off",
        "keys: keys.yaml",
        "platform: {sender_id: examplesp, bounce_domain: bounces.sender.example}",
        f"feedback: {{intake_dir: {directory}/intake}}",
        "modes: {default: enforce}",
        "tls:",
        "  profiles:",
        "    private: {level: encrypt, min_version: TLSv1.2, on_failure: bounce}",
        "    bank: {level: verify}",
        *filter(None, [tls_profiles]),
        "  domains: {gov.example: {level: verify}}",
        "tenants:",
        f"  t0: {{logins: [t0], senders: [t0.example], {first_tenant}}}",
    ]
    lines += [
        f"  t{number}: {{logins: [t{number}], senders: [t{number}.example], "
        f"profile: {PROFILES[number % len(PROFILES)]}}}"
        for number in range(1, tenants)
    ]
    return "\n".join(lines) + "\n"
