"""Configurations built by hand, for tests of everything that reads a `Snapshot`.

`gatepost.settings` makes snapshots from files; here they are made from objects, so that a test
shows the one setting that it is about.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gatepost.decisions.actions import Action, AddHeader, ChangeSender, RemoveHeader
from gatepost.decisions.facts import Header, MessageFacts
from gatepost.feedback.token import Keyring
from gatepost.modes import Feature, Mode, Modes
from gatepost.snapshot import Platform, Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin, Tenant, TenantIndex, fold_login, tenant_number
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.rules import DomainRules, OnFailure, Profile, TlsRules
from gatepost.traffic.lanes import DEFAULT_LANE, Lane
from gatepost.traffic.services import services_for

NOW = 1_800_000_000.0
DAY = 86_400.0
KEYS = Keyring({1: bytes(range(32)), 2: bytes(range(32, 64))}, 2)

OFF = Modes(*[Mode.OFF] * len(Feature))
OBSERVE = Modes()
ENFORCE = Modes(*[Mode.ENFORCE] * len(Feature))

PROFILES = {
    "standard": Profile("standard", Requirement(Level.MAY)),
    "private": Profile(
        "private", Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2), on_failure=OnFailure.BOUNCE
    ),
    "bank": Profile(
        "bank",
        Requirement(Level.VERIFY),
        DomainRules(
            {
                "partner.example": Requirement(
                    Level.VERIFY, match=frozenset({"mx.partner.example"})
                ),
                "old.example": Requirement(Level.MAY),
            }
        ),
    ),
}
LANES = {"normal": Lane("normal"), "bulk": Lane("bulk", concurrency=10)}
PLATFORM = Platform("examplesp", bounce_domain="bounces.example")


def tenant(name: str, modes: Modes = ENFORCE, **fields: Any) -> Tenant:
    return Tenant(name, tenant_number(name), modes=modes, **fields)


def index(tenants: Iterable[Tenant], logins: Iterable[PlatformLogin] = ()) -> TenantIndex:
    tenants = tuple(tenants)
    networks: dict[tuple[int, int], dict[int, Tenant]] = {}
    for each in tenants:
        for text in each.clients:
            network = ipaddress.ip_network(text)
            table = networks.setdefault((network.version, network.prefixlen), {})
            table[int(network.network_address)] = each
    senders = {key: each for each in tenants for key in each.senders}
    return TenantIndex(
        by_id={each.id: each for each in tenants},
        by_number={each.number: each for each in tenants},
        by_login={fold_login(key): each for each in tenants for key in each.logins},
        by_certificate={key: each for each in tenants for key in each.certificates},
        by_listener={key: each for each in tenants for key in each.listeners},
        by_sender=senders,
        networks=dict(sorted(networks.items(), reverse=True)),
        platform={fold_login(login.login): login for login in logins},
        has_suffixes=any(key.startswith(".") for key in senders),
    )


def snapshot(
    *tenants: Tenant,
    logins: Iterable[PlatformLogin] = (),
    modes: Modes = ENFORCE,
    everyone: Mapping[str, Requirement] | None = None,
    profiles: Mapping[str, Profile] = PROFILES,
    lanes: Mapping[str, Lane] = LANES,
    keyring: Keyring = KEYS,
    **platform: Any,
) -> Snapshot:
    settings = replace(PLATFORM, **platform)
    wanted = {(each.lane, each.profile) for each in tenants}
    if settings.null_sender_profile is not None:
        wanted.add((DEFAULT_LANE, settings.null_sender_profile))
    return Snapshot(
        digest="0" * 12,
        platform=settings,
        modes=modes,
        tenants=index(tenants, logins),
        tls=TlsRules(profiles, DomainRules(everyone or {})),
        lanes=lanes,
        keyring=keyring,
        services=services_for(wanted, lanes, profiles),
    )


def headers(*pairs: tuple[str, str]) -> tuple[Header, ...]:
    return tuple(Header(name, value) for name, value in pairs)


def message(*fields: tuple[str, str], **changes: Any) -> MessageFacts:
    """Return a message of the login ``acme``, with header fields as given."""
    facts = MessageFacts(
        client=Client(login="acme", address="192.0.2.1", port="4242"),
        host="mail.example",
        queue_id="4Xyz123",
        sender="news@acme.example",
        recipients=("user@example.org",),
        headers=headers(*fields),
    )
    return replace(facts, **changes)


def edited(facts: MessageFacts, actions: Iterable[Action]) -> MessageFacts:
    """Return a message after a milter's edits, as Postfix would make them."""
    fields = list(facts.headers)
    sender = facts.sender
    for action in actions:
        match action:
            case AddHeader(name, value):
                fields.append(Header(name, value))
            case RemoveHeader(name, number):
                places = [i for i, field in enumerate(fields) if field.name.lower() == name.lower()]
                del fields[places[number - 1]]
            case ChangeSender(address):
                sender = address
    return replace(facts, headers=tuple(fields), sender=sender)


def values(facts: MessageFacts, name: str) -> list[str]:
    return [field.value for field in facts.headers if field.name.lower() == name.lower()]
