"""Observe computes what enforce does, changes nothing and records it; off does nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.actions import Action, AddHeader, ChangeSender, RemoveHeader
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.message import decide_message
from gatepost.decisions.recipient import decide_recipient
from gatepost.decisions.transport import decide_transport
from gatepost.errors import Unavailable
from gatepost.feedback.session import SESSION_HEADER
from gatepost.modes import Feature, Mode, Modes, Observation
from gatepost.snapshot import Snapshot
from tests.decisions.cases import CLIENTS, RECIPIENTS, SENDERS, messages, snapshots
from tests.world import NOW, OBSERVE, OFF, edited


def in_mode(world: Snapshot, modes: Modes) -> Snapshot:
    """Return a configuration with the same modes for everybody."""
    tenants = world.tenants
    changed = {each.id: replace(each, modes=modes) for each in tenants.by_id.values()}

    def again(table):
        return {key: changed[each.id] for key, each in table.items()}

    index = replace(
        tenants,
        by_id=changed,
        by_number=again(tenants.by_number),
        by_login=again(tenants.by_login),
        by_certificate=again(tenants.by_certificate),
        by_listener=again(tenants.by_listener),
        by_sender=again(tenants.by_sender),
        networks={key: again(table) for key, table in tenants.networks.items()},
    )
    return replace(world, modes=modes, tenants=index)


def one_feature(feature: Feature, mode: Mode) -> Modes:
    """Return modes with one feature in a mode, and all others off."""
    return replace(OFF, **{feature.value: mode})


def told(observations: tuple[Observation, ...]) -> list[tuple[str, str]]:
    return [(observation.action, observation.detail) for observation in observations]


def summary(actions: tuple[Action, ...]) -> list[tuple[str, str]]:
    """Return what observations say of these actions, by an independent reading."""
    removed: dict[str, int] = {}
    others = []
    for action in actions:
        match action:
            case RemoveHeader(name, _) if name != SESSION_HEADER:
                removed[name] = removed.get(name, 0) + 1
            case AddHeader(name, value):
                others.append(("add-header", f"{name}: {value}"[:200]))
            case ChangeSender(address):
                others.append(("change-sender", address))
    return sorted([*(("remove-header", f"{name} x{n}") for name, n in removed.items()), *others])


def without_session(facts):
    return [header for header in facts.headers if header.name != SESSION_HEADER]


@pytest.mark.fuzz
@pytest.mark.parametrize("feature", Feature)
@given(messages(), snapshots())
def test_each_feature_at_the_end_of_message(feature: Feature, facts, world: Snapshot) -> None:
    def decide(mode: Mode):
        return decide_message(facts, in_mode(world, one_feature(feature, mode)), NOW)

    enforced, observed, off = (decide(mode) for mode in (Mode.ENFORCE, Mode.OBSERVE, Mode.OFF))
    assert (enforced.tenant, enforced.observations) == (observed.tenant, ())
    # In observe and off the message stays as the client sent it.
    for plan in (observed, off):
        assert plan.reject is None
        after = edited(facts, plan.actions)
        assert without_session(after) == without_session(facts)
        assert after.sender == facts.sender
    assert off.observations == ()
    assert (off.notices, observed.notices) == ((), ())
    if enforced.reject is not None:
        assert ("reject", enforced.reject.text) in told(observed.observations)
    else:
        left = [("leave-header", notice.text[:200]) for notice in enforced.notices]
        assert sorted(told(observed.observations)) == sorted(summary(enforced.actions) + left)
    for observation in observed.observations:
        assert observation.feature is feature
        assert (observation.at, observation.tenant) == (NOW, observed.tenant)
        assert (observation.queue_id, observation.sender) == (facts.queue_id, facts.sender)


RCPT = st.builds(RecipientFacts, CLIENTS, SENDERS, RECIPIENTS.map(lambda all_: all_[0]))


@pytest.mark.fuzz
@pytest.mark.parametrize("feature", Feature)
@given(RCPT, snapshots())
def test_each_feature_at_rcpt_to(feature: Feature, facts: RecipientFacts, world: Snapshot) -> None:
    def decide(mode: Mode):
        return decide_recipient(facts, in_mode(world, one_feature(feature, mode)), NOW)

    enforced, observed, off = (decide(mode) for mode in (Mode.ENFORCE, Mode.OBSERVE, Mode.OFF))
    assert (observed.reject, off.reject, off.observations) == (None, None, ())
    assert enforced.observations == ()
    assert enforced.tenant == observed.tenant == off.tenant
    refusals = [each for each in observed.observations if each.action == "reject"]
    if enforced.reject is not None:
        assert [each.detail for each in refusals] == [enforced.reject.text]
    else:
        assert refusals == []
    assert all(each.feature is feature for each in observed.observations)


@pytest.mark.fuzz
@pytest.mark.parametrize("feature", [Feature.TLS, Feature.LANE])
@given(RCPT, snapshots())
def test_what_a_delivery_would_be_is_told_when_it_would_be_another(
    feature: Feature, facts: RecipientFacts, world: Snapshot
) -> None:
    """The service changes with enforce exactly where observe says so, but for a bare profile."""
    observing = in_mode(world, one_feature(feature, Mode.OBSERVE))
    enforcing = in_mode(world, one_feature(feature, Mode.ENFORCE))
    verdict = decide_recipient(facts, observing, NOW)
    # The sender names the tenant at delivery only if it is the tenant's own.
    owner = world.tenants.by_id.get(verdict.tenant)
    try:
        before = decide_transport(facts.sender, observing, NOW)
        after = decide_transport(facts.sender, enforcing, NOW)
    except Unavailable:
        return
    assert before.service is None or not facts.sender
    if owner is None or after.tenant is None or after.tenant.id != owner.id or not facts.sender:
        return
    assert bool(verdict.observations) == (after.service != before.service)
    for observation in verdict.observations:
        assert observation.action == "route"
        assert observation.recipient == facts.recipient
        if feature is Feature.LANE:
            assert observation.detail == f"lane {owner.lane}, service {after.service}"


@given(messages(), snapshots(st.just(OFF)))
def test_all_off_is_as_if_we_were_not_there(facts, world: Snapshot) -> None:
    plan = decide_message(facts, world, NOW)
    after = edited(facts, plan.actions)
    assert without_session(after) == without_session(facts)
    assert (plan.reject, plan.observations, after.sender) == (None, (), facts.sender)


@pytest.mark.fuzz
@given(messages(), snapshots(st.just(OBSERVE)))
def test_attached_in_observe_every_message_leaves_as_it_came(facts, world: Snapshot) -> None:
    plan = decide_message(facts, world, NOW)
    after = edited(facts, plan.actions)
    assert without_session(after) == without_session(facts)
    assert (plan.reject, after.sender) == (None, facts.sender)


@given(RCPT, snapshots(st.just(OBSERVE)))
def test_attached_in_observe_every_recipient_passes(facts: RecipientFacts, world: Snapshot) -> None:
    assert decide_recipient(facts, world, NOW).reject is None


@given(SENDERS, snapshots(st.just(OBSERVE)))
def test_attached_in_observe_no_delivery_changes(sender: str, world: Snapshot) -> None:
    world = replace(world, platform=replace(world.platform, null_sender_profile=None))
    try:
        assert decide_transport(sender, world, NOW).service is None
    except Unavailable:
        # Only an address that has the form of a token waits.
        assert sender.startswith("a" * 48)


@given(messages(), snapshots())
def test_one_tenant_in_enforce_is_as_if_all_were(facts, world: Snapshot) -> None:
    """Modes of other tenants matter to a tenant's message only where it bears their tag."""
    plan = decide_message(facts, world, NOW)
    if not plan.tenant or plan.ask_admission:
        return
    mine = world.tenants.by_id[plan.tenant].modes
    if mine.tag is not Mode.ENFORCE:
        tag = world.platform.tenant_header.lower()
        kept = tuple(each for each in facts.headers if each.name.lower() != tag)
        facts = replace(facts, headers=kept, overfull=False)
        plan = decide_message(facts, world, NOW)
        if not plan.tenant:
            return
    alone = replace(in_mode(world, mine), modes=world.modes)
    assert decide_message(facts, alone, NOW) == plan
