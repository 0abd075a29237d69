"""The tag of a tenant that enforces it is nobody else's, in whatever mode the others are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.decisions.actions import Plan, RemoveHeader
from gatepost.decisions.facts import CUT, MessageFacts
from gatepost.decisions.message import decide_message
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin
from tests.world import NOW, OBSERVE, OFF, edited, message, snapshot, tenant, values

# One tenant enforces, everybody else observes: the first step that the README advises.
BANK = tenant("bank", senders=("bank.example",), logins=("bank",))
WATCHED = tenant("watched", OBSERVE, senders=("watched.example",), logins=("watched",))
DISABLED = tenant("disabled", OFF, senders=("disabled.example",), logins=("disabled",))
APP = PlatformLogin("app", frozenset({"watched"}))
FIRST_STEP = snapshot(BANK, WATCHED, DISABLED, logins=[APP], modes=OBSERVE)
STRANGER = Client(address="198.51.100.1", port="4242")
OTHERS = [
    Client(login="watched", address="192.0.2.2"),
    Client(login="disabled", address="192.0.2.2"),
    STRANGER,
]


def decide(facts: MessageFacts, world: Snapshot = FIRST_STEP) -> Plan:
    return decide_message(facts, world, NOW)


@pytest.mark.parametrize("client", OTHERS, ids=lambda client: client.login or "nobody")
@pytest.mark.parametrize(
    "tag", ["bank", "BANK", " bank", "bank evil", "watched, bank", '"bank"', "x" * 20 + CUT]
)
def test_an_enforced_tag_is_nobody_elses(client: Client, tag: str) -> None:
    other = ("X-Tenant-ID", "watched")
    facts = message(other, ("x-tenant-id", tag), other, client=client, sender="a@watched.example")
    plan = decide(facts)
    assert plan.actions == (RemoveHeader("X-Tenant-ID", 2),)
    assert "tag: names a tenant whose tag is enforced" in plan.reasons


@pytest.mark.parametrize("client", OTHERS, ids=lambda client: client.login or "nobody")
@pytest.mark.parametrize("tag", ["watched", "disabled", "bankers", "my-bank", "", "acme"])
def test_another_tag_stays_where_it_is_only_watched(client: Client, tag: str) -> None:
    facts = message(("X-Tenant-ID", tag), client=client, sender="a@watched.example")
    assert decide(facts).actions == ()


def test_an_enforced_tenant_keeps_its_own_tag_among_observers() -> None:
    facts = message(("X-Tenant-ID", "bank"), client=Client(login="bank"), sender="a@bank.example")
    after = edited(facts, decide(facts).actions)
    assert values(after, "X-Tenant-ID") == ["bank"]


@pytest.mark.parametrize(("tag", "refused"), [("bank", True), ("disabled", False)])
def test_a_platform_login_may_not_name_an_enforced_tenant(tag: str, *, refused: bool) -> None:
    plan = decide(message(("X-Tenant-ID", tag), client=Client(login="app")))
    assert (plan.reject is not None) is refused
    assert plan.actions == ()
    assert ("tag: names a tenant whose tag is enforced" in plan.reasons) is refused


@pytest.mark.parametrize("client", OTHERS, ids=lambda client: client.login or "nobody")
@pytest.mark.parametrize("enforced", [True, False])
def test_what_could_not_be_read_whole_may_bear_an_enforced_tag(
    client: Client, *, enforced: bool
) -> None:
    tenants = (BANK if enforced else replace(BANK, modes=OBSERVE), WATCHED, DISABLED)
    world = snapshot(*tenants, logins=[APP], modes=OBSERVE)
    cut = message(("X-Tenant-ID", "x" + CUT), client=client, sender="a@watched.example")
    assert decide(cut, world).actions == ((RemoveHeader("X-Tenant-ID", 1),) if enforced else ())
    plan = decide(replace(message(client=client, sender="a@watched.example"), overfull=True), world)
    assert (plan.reject is not None) is enforced


@pytest.mark.parametrize("overfull", [True, False])
def test_a_platform_login_cannot_hide_an_enforced_tag(*, overfull: bool) -> None:
    facts = message(("X-Tenant-ID", "nonsense"), client=Client(login="app"), overfull=overfull)
    assert (decide(facts).reject is not None) is overfull
