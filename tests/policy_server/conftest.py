"""A configuration with a few tenants, built by hand, and handlers over it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from gatepost.feedback.token import Keyring
from gatepost.modes import Mode, Modes, Observation
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Platform, Snapshot
from gatepost.tenants.model import PlatformLogin, Tenant, TenantIndex, tenant_number
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.rules import DomainRules, Profile, TlsRules
from gatepost.traffic.lanes import Lane
from gatepost.traffic.services import services_for
from policy_server.handlers import Handlers

NOW = 1_800_000_000.0
ENFORCE = Modes(*[Mode.ENFORCE] * 5)


def make_snapshot(modes: Modes = ENFORCE, **platform: object) -> Snapshot:
    acme = Tenant(
        "acme",
        tenant_number("acme"),
        senders=("acme.example",),
        logins=("acme",),
        profile="private",
        modes=modes,
    )
    cert = Tenant(
        "cert",
        tenant_number("cert"),
        senders=("cert.example",),
        certificates=("aa:bb",),
        modes=modes,
    )
    profiles = {
        "standard": Profile("standard", Requirement(Level.MAY)),
        "private": Profile("private", Requirement(Level.ENCRYPT)),
    }
    lanes = {"normal": Lane("normal")}
    index = TenantIndex(
        by_id={"acme": acme, "cert": cert},
        by_number={acme.number: acme, cert.number: cert},
        by_login={"acme": acme},
        by_certificate={"aa:bb": cert},
        by_sender={"acme.example": acme, "cert.example": cert},
        platform={"mailer": PlatformLogin("mailer", frozenset({"acme"}))},
    )
    return Snapshot(
        digest="0" * 12,
        platform=replace(
            Platform("examplesp", bounce_domain="bounces.example"),
            **platform,  # type: ignore[arg-type]
        ),
        modes=modes,
        tenants=index,
        tls=TlsRules(profiles, DomainRules({"bank.example": Requirement(Level.VERIFY)})),
        lanes=lanes,
        keyring=KEYRING,
        services=services_for([("normal", "private"), ("normal", "standard")], lanes, profiles),
    )


KEYRING = Keyring({1: b"k" * 32}, 1)


@dataclass
class Seen:
    """What handlers told the world."""

    observations: list[Observation] = field(default_factory=list)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def record(self, observation: Observation) -> None:
        self.observations.append(observation)

    def policy(self, verdict: str) -> None:
        self.counts["policy", verdict] += 1

    def lookup(self, map_name: str, result: str) -> None:
        self.counts[map_name, result] += 1


@dataclass
class World:
    """Handlers over a configuration, and what they told the world."""

    snapshot: Snapshot = field(default_factory=make_snapshot)
    seen: Seen = field(default_factory=Seen)

    @property
    def handlers(self) -> Handlers:
        return Handlers(
            lambda: self.snapshot, self.seen, self.seen, lambda: NOW, PostfixVersion(3, 7, 11)
        )

    def configure(self, modes: Modes = ENFORCE, **platform: object) -> None:
        self.snapshot = make_snapshot(modes, **platform)


@pytest.fixture
def world() -> World:
    return World()
