"""Which lane mail takes: ladder before burst before its own, and only the lane."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from gatepost.decisions.explain import Case, explain
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.lane import LaneChoice, Would, choose_lane
from gatepost.decisions.recipient import decide_recipient
from gatepost.decisions.transport import decide_transport
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import NO_STATUSES, Status
from gatepost.modes import Feature, Mode, Modes
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.model import Tenant
from gatepost.traffic.burst import Burst, BurstRules, Cap
from gatepost.traffic.lanes import Lane
from gatepost.traffic.quota import Limit, Unit
from gatepost.traffic.services import services_for
from gatepost.traffic.state import NO_TRAFFIC, Backlog, Moved
from tests.world import NOW, PROFILES, snapshot, tenant

LANES = {name: Lane(name) for name in ("normal", "bulk")} | {
    name: Lane(name, concurrency=2) for name in ("burst", "penalty")
}
SENDER = "news@acme.example"
CLIENT = Client(login="acme", address="192.0.2.1")


@dataclass
class Known:
    """What is known of traffic, as a test says."""

    moved: dict[str, Moved] = field(default_factory=dict)
    backlogs: dict[str, Backlog] | None = None

    def in_burst(self, tenant_id: str) -> Moved | None:
        return self.moved.get(tenant_id)

    def backlog(self, tenant_id: str) -> Backlog | None:
        return None if self.backlogs is None else self.backlogs.get(tenant_id, Backlog())

    def over_warmup(self, key: str) -> bool:
        return bool(key) and False


BURST = Known({"acme": Moved(NOW, "more than 20/second")})


def world(
    lane: Mode = Mode.ENFORCE, ladder: Mode = Mode.ENFORCE, **fields: object
) -> tuple[Snapshot, Tenant]:
    modes = Modes(**dict.fromkeys(("tag", "sender", "tls", "feedback"), Mode.ENFORCE))
    modes = replace(modes, lane=lane, ladder=ladder, quota=fields.pop("quota", Mode.ENFORCE))
    acme = tenant(
        "acme", modes, senders=("acme.example",), logins=("acme",), **{"lane": "bulk", **fields}
    )
    rules = BurstRules(bursts={"acme": Burst("burst", Limit(20, 1))}, caps={"acme": Cap(100)})
    names = {(each, profile) for each in LANES for profile in ("standard", "private")}
    made = replace(
        snapshot(acme),
        lanes=LANES,
        bursts=rules,
        ladder=LadderRules(lane="penalty"),
        services=services_for(names, LANES, PROFILES),
    )
    return made, acme


SLOWED = {"acme": Status(Step.SLOW, NOW, "complaints 0.3 %")}


@pytest.mark.parametrize(
    ("lane", "ladder", "statuses", "traffic", "expected"),
    [
        (Mode.ENFORCE, Mode.ENFORCE, NO_STATUSES, NO_TRAFFIC, "bulk"),
        (Mode.ENFORCE, Mode.ENFORCE, NO_STATUSES, BURST, "burst"),
        (Mode.ENFORCE, Mode.ENFORCE, SLOWED, BURST, "penalty"),
        (Mode.ENFORCE, Mode.OBSERVE, SLOWED, BURST, "burst"),
        (Mode.ENFORCE, Mode.OFF, SLOWED, BURST, "burst"),
        (Mode.OBSERVE, Mode.ENFORCE, SLOWED, BURST, "penalty"),
        (Mode.OBSERVE, Mode.OBSERVE, SLOWED, BURST, "normal"),
        (Mode.OBSERVE, Mode.OFF, NO_STATUSES, BURST, "normal"),
        (Mode.OFF, Mode.OFF, SLOWED, BURST, "normal"),
    ],
)
def test_what_is_stronger_goes_first(lane, ladder, statuses, traffic, expected) -> None:
    made, acme = world(lane, ladder)
    assert choose_lane(acme, made, statuses, traffic).lane == expected


def test_what_is_observed_is_told() -> None:
    made, acme = world(Mode.OBSERVE, Mode.OBSERVE)
    assert choose_lane(acme, made, SLOWED, BURST) == LaneChoice(
        "normal",
        "lanes are observed only",
        (
            Would(Feature.LADDER, "penalty", "ladder: complaints 0.3 %"),
            Would(Feature.LANE, "burst", "burst: more than 20/second"),
        ),
    )


def test_a_burst_lane_keeps_the_profile() -> None:
    made, _ = world(profile="private")
    usual = decide_transport(SENDER, made, NOW)
    moved = decide_transport(SENDER, made, NOW, traffic=BURST)
    assert (usual.service, moved.service) == ("gp-bulk-private", "gp-burst-private")
    assert moved.why == (
        "sender domain acme.example; burst: more than 20/second; lane burst, profile private"
    )


def test_mail_in_the_instance_of_a_lane_stays_there() -> None:
    made, _ = world()
    lanes = {**LANES, "bulk": Lane("bulk", instance=True)}
    route = decide_transport(SENDER, replace(made, lanes=lanes), NOW, within="bulk", traffic=BURST)
    assert route.service == "gp-bulk-standard"


def test_observe_records_the_burst_lane_at_rcpt_to() -> None:
    made, _ = world(Mode.OBSERVE)
    facts = RecipientFacts(CLIENT, SENDER, "u@example.org")
    (seen,) = decide_recipient(facts, made, NOW, traffic=BURST).observations
    assert (seen.feature, seen.action) == (Feature.LANE, "route")
    assert seen.detail == "lane burst, service gp-burst-standard: burst: more than 20/second"
    (usual,) = decide_recipient(facts, made, NOW).observations
    assert usual.detail == "lane bulk, service gp-bulk-standard"


def told(made: Snapshot, traffic: Known, sender: str = SENDER):
    case = Case(CLIENT, sender, "u@example.org")
    return explain(case, made, PostfixVersion(3, 7, 11), NOW, traffic=traffic)


def test_explain_tells_the_lane_and_why() -> None:
    made, _ = world()
    assert "burst: more than 20/second" in told(made, BURST).route.why


@pytest.mark.parametrize(
    ("cap", "backlog", "text"),
    [
        (Cap(100), Backlog(99, 500), None),
        (Cap(100), Backlog(100, 500), "100 messages outstanding, at most 100"),
        (Cap(100, Unit.RECIPIENTS), Backlog(5, 99), None),
        (Cap(100, Unit.RECIPIENTS), Backlog(5, 100), "100 recipients outstanding, at most 100"),
        (Cap(100), None, None),
    ],
)
def test_a_full_backlog_waits_at_the_client(cap, backlog, text) -> None:
    made, _ = world()
    made = replace(made, bursts=BurstRules(cap=cap))
    known = Known(backlogs=None if backlog is None else {"acme": backlog})
    found = told(made, known)
    if text is None:
        assert not found.refused
        return
    reject = found.rcpt.reject
    assert (reject.code, reject.status) == ("450", "4.7.1")
    assert reject.text == (
        f"backlog of tenant acme is full: {text}; try again when some are delivered"
    )


def test_a_full_backlog_is_only_recorded_in_observe_and_nothing_when_off() -> None:
    known = Known(backlogs={"acme": Backlog(100, 100)})
    made, _ = world(quota=Mode.OBSERVE)
    found = told(made, known)
    assert not found.refused
    (seen,) = [each for each in found.rcpt.observations if each.feature is Feature.QUOTA]
    assert seen.action == "defer"
    assert seen.detail.startswith("backlog of tenant acme is full: 100 messages")
    made, _ = world(quota=Mode.OFF)
    assert not [each for each in told(made, known).rcpt.observations if "backlog" in each.detail]


def test_bounces_pass_a_full_backlog() -> None:
    made, _ = world()
    assert not told(made, Known(backlogs={"acme": Backlog(100, 100)}), "").refused
