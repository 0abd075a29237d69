"""What a status does: the operator's holds always, the ladder's as far as its mode goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.explain import Case, explain
from gatepost.decisions.facts import Header, RecipientFacts
from gatepost.decisions.message import decide_message
from gatepost.decisions.recipient import admit, decide_recipient
from gatepost.decisions.status import hold_all, hold_message, is_deferred_for_pause
from gatepost.decisions.transport import decide_transport
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Part, Pause, Queued, Scope, Status
from gatepost.modes import Feature, Mode, Modes
from gatepost.postfix_version import PostfixVersion
from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin
from gatepost.traffic.services import services_for
from tests.world import LANES, NOW, PROFILES, message, snapshot, tenant

WHY = "complaints 0.61 % (47 of 7,701, at least 0.46 %)"
SINCE = 1_790_000_000.0
ENFORCED, OBSERVED, OFF = (Modes(ladder=mode) for mode in (Mode.ENFORCE, Mode.OBSERVE, Mode.OFF))
BY_OPERATOR = Pause(Scope.ALL, "list bought", SINCE, by="root")


def world(modes=ENFORCED, lane="bulk", **fields):
    acme = tenant(
        "acme",
        modes,
        senders=("acme.example",),
        logins=("acme",),
        mail_type_header="x-mail-type",
        marketing_types=("newsletter",),
        **fields,
    )
    made = snapshot(acme, logins=[PlatformLogin("app", None)])
    services = services_for({("normal", "standard"), ("bulk", "standard")}, LANES, PROFILES)
    return replace(made, ladder=LadderRules(lane=lane), services=services), acme


def asked(sender="news@acme.example"):
    return RecipientFacts(Client(login="acme", address="192.0.2.1"), sender, "u@example.org")


def stepped(step, since=SINCE):
    return {"acme": Status(step, since, WHY)}


def test_a_paused_tenant_waits_at_rcpt_to():
    made, _ = world()
    verdict = decide_recipient(asked(), made, NOW, stepped(Step.PAUSE_ALL))
    reject = verdict.reject
    assert (reject.code, reject.status) == ("450", "4.7.1")
    assert reject.text == f"sending of acme is paused: {WHY}, since 2026-09-21 14:13 UTC"
    assert f"ladder: pause-all, {WHY} (mode enforce)" in verdict.reasons


def test_milder_steps_and_other_tenants_pass_at_rcpt_to():
    made, _ = world()
    for statuses in (stepped(Step.PAUSE_MARKETING), {"other": Status(Step.PAUSE_ALL)}, {}):
        assert decide_recipient(asked(), made, NOW, statuses).reject is None


@pytest.mark.parametrize("status", [stepped(Step.PAUSE_ALL), {"acme": Status(pause=BY_OPERATOR)}])
def test_a_paused_tenant_does_not_go_on_with_the_null_sender(status):
    made, _ = world()
    for reject in (
        decide_recipient(asked(""), made, NOW, status).reject,
        decide_message(message(sender=""), made, NOW, status).reject,
    ):
        assert reject is not None
        assert reject.code == "450"
    # Bounces of others to somebody here are no mail of a tenant.
    stranger = replace(asked(""), client=Client(address="198.51.100.1"))
    assert decide_recipient(stranger, made, NOW, status).reject is None


@pytest.mark.parametrize("modes", [ENFORCED, OBSERVED, OFF])
def test_the_operators_pause_holds_in_every_mode(modes):
    made, _ = world(modes)
    statuses = {"acme": Status(pause=BY_OPERATOR)}
    reject = decide_recipient(asked(), made, NOW, statuses).reject
    assert reject.text == "sending of acme is paused: list bought, since 2026-09-21 14:13 UTC"
    assert decide_message(message(), made, NOW, statuses).reject == reject


def test_the_operators_pause_ends():
    _, acme = world()
    status = Status(pause=replace(BY_OPERATOR, until=NOW))
    assert hold_all(acme, status, NOW - 0.1) is not None
    assert hold_all(acme, status, NOW) is None


def test_in_observe_the_ladder_says_what_it_would_do():
    made, _ = world(OBSERVED)
    verdict = decide_recipient(asked(), made, NOW, stepped(Step.PAUSE_ALL))
    assert verdict.reject is None
    found = [each for each in verdict.observations if each.feature is Feature.LADDER]
    assert [(each.action, each.detail.partition(":")[0]) for each in found] == [
        ("defer", "sending of acme is paused"),
        ("route", "lane bulk"),
    ]
    plan = decide_message(
        message(("X-Mail-Type", "newsletter")), made, NOW, stepped(Step.PAUSE_ALL)
    )
    assert plan.reject is None
    assert [each.action for each in plan.observations if each.feature is Feature.LADDER] == [
        "defer"
    ]


def test_off_neither_acts_nor_speaks():
    made, _ = world(OFF)
    verdict = decide_recipient(asked(), made, NOW, stepped(Step.PAUSE_ALL))
    assert verdict.reject is None
    assert not [each for each in verdict.observations if each.feature is Feature.LADDER]
    assert not [each for each in verdict.reasons if "ladder" in each]


@pytest.mark.parametrize(
    "statuses",
    [
        stepped(Step.PAUSE_MARKETING),
        {"acme": Status(pause=replace(BY_OPERATOR, scope=Scope.MARKETING))},
    ],
)
def test_marketing_waits_at_end_of_message_and_the_rest_passes(statuses):
    made, _ = world()
    for value in ("newsletter", " NewsLetter "):
        reject = decide_message(message(("X-Mail-Type", value)), made, NOW, statuses).reject
        assert (reject.code, reject.status) == ("450", "4.7.1")
        assert reject.text.startswith("marketing mail of acme is paused: ")
    for fields in ((("X-Mail-Type", "receipt"),), ()):
        assert decide_message(message(*fields), made, NOW, statuses).reject is None
    # Two headers that say different things: the stricter one counts.
    both = (("X-Mail-Type", "receipt"), ("X-Mail-Type", "newsletter"))
    assert decide_message(message(*both), made, NOW, statuses).reject is not None


def test_the_milter_is_told_of_a_certificate_whose_marketing_may_wait():
    off = Modes(*[Mode.OFF] * 7)
    certified = {"logins": (), "certificates": ("aa:bb",), "mail_type_header": "x-mail-type"}
    facts = replace(asked(), client=Client(certificate="aa:bb", address="192.0.2.1"))
    for types, told in ((("newsletter",), True), ((), False)):
        made = snapshot(tenant("acme", off, marketing_types=types, **certified), modes=off)
        assert (decide_recipient(facts, made, NOW).prepend is not None) == told


def test_a_paused_tenant_of_a_platform_login_waits_too():
    made, acme = world()
    statuses = stepped(Step.PAUSE_ALL)
    facts = message(("X-Tenant-ID", "acme"), client=Client(login="app", address="192.0.2.1"))
    assert decide_message(facts, made, NOW, statuses).reject.code == "450"
    verdict = admit(
        acme, "news@acme.example", ["u@example.org"], "4X", made, NOW, statuses=statuses
    )
    assert verdict.reject.code == "450"


def test_a_slow_tenant_takes_the_lane_of_the_ladder():
    made, _ = world()
    sender = "news@acme.example"
    assert decide_transport(sender, made, NOW, stepped(Step.WARN)).service is None
    for step in (Step.SLOW, Step.PAUSE_MARKETING, Step.PAUSE_ALL):
        assert decide_transport(sender, made, NOW, stepped(step)).service == "gp-bulk-standard"
    for modes in (OBSERVED, OFF):
        assert decide_transport(sender, world(modes)[0], NOW, stepped(Step.SLOW)).service is None
    assert decide_transport(sender, world(lane=None)[0], NOW, stepped(Step.SLOW)).service is None


def test_explain_tells_a_paused_tenant():
    made, _ = world()
    case = Case(Client(login="acme", address="192.0.2.1"), "news@acme.example", "u@example.org")
    version = PostfixVersion(3, 7, 11)
    told = explain(case, made, version, NOW, statuses=stepped(Step.PAUSE_ALL))
    assert told.refused
    assert told.rcpt.reject.text.startswith("sending of acme is paused")
    slow = explain(case, made, version, NOW, statuses=stepped(Step.SLOW))
    assert slow.route.service == "gp-bulk-standard"


def test_a_long_reason_leaves_room_for_the_time():
    _, acme = world()
    held = hold_all(acme, Status(Step.PAUSE_ALL, SINCE, "x" * 500), NOW)
    assert len(held.reject.text) == 200
    assert held.reject.text.endswith("x, since 2026-09-21 14:13 UTC")


def part(campaign="", domain="", until=None):
    return Pause(
        Part(campaign, domain).scope, "why", SINCE, until, campaign=campaign, domain=domain
    )


def with_parts(*parts):
    return {"acme": Status(parts=parts)}


def test_mail_to_a_paused_domain_waits_at_rcpt_to():
    made, _ = world(OBSERVED)
    statuses = with_parts(part(domain="example.org"))
    reject = decide_recipient(asked(), made, NOW, statuses).reject
    assert (reject.code, reject.status) == ("450", "4.7.1")
    assert (
        reject.text == "sending of acme to example.org is paused: why, since 2026-09-21 14:13 UTC"
    )
    for other in ("u@other.example", "u@sub.example.org", "u"):
        assert (
            decide_recipient(replace(asked(), recipient=other), made, NOW, statuses).reject is None
        )
    shouted = replace(asked(), recipient="U@EXAMPLE.ORG")
    assert decide_recipient(shouted, made, NOW, statuses).reject is not None
    # A platform login's mail is looked at as a whole, at its end.
    _, acme = world()
    to = ["u@other.example", "u@example.org"]
    assert admit(acme, "a@acme.example", to, "4X", made, NOW, statuses=statuses).reject is not None
    gone = with_parts(part(domain="example.org", until=NOW - 1))
    assert decide_recipient(asked(), made, NOW, gone).reject is None


@pytest.mark.parametrize(
    ("parts", "campaigns", "waits"),
    [
        ([part("spring")], ["spring"], True),
        ([part("spring")], [" spring\r\n"], True),
        ([part("spring")], ["Spring"], False),
        ([part("spring")], ["other", "spring"], True),
        ([part("spring")], [], False),
        ([part("spring", until=NOW - 1)], ["spring"], False),
        ([part("spring", "example.org")], ["spring"], True),
        ([part("spring", "other.example")], ["spring"], False),
        ([part("spring", "example.org")], ["other"], False),
        ([part(domain="example.org")], [], True),
        # What has ended does not hide what holds of the same domain.
        ([part(domain="example.org", until=NOW - 1), part("a", "example.org")], ["a"], True),
        ([part("a", "example.org"), part("b", until=NOW - 1)], ["b"], False),
    ],
)
def test_a_message_of_a_paused_campaign_waits_at_its_end(parts, campaigns, waits):
    made, _ = world(campaign_header="x-campaign")
    asked_for = message(
        recipients=("v@elsewhere.example", "u@example.org"),
        headers=tuple(Header("X-Campaign", each) for each in campaigns),
    )
    reject = decide_message(asked_for, made, NOW, with_parts(*parts)).reject
    assert (reject is not None) == waits
    if reject is not None:
        assert (reject.code, reject.status) == ("450", "4.7.1")
    # The campaign is not known yet when its recipients are.
    if all(each.campaign for each in parts):
        assert decide_recipient(asked(), made, NOW, with_parts(*parts)).reject is None


def test_a_paused_campaign_is_named_in_ascii():
    made, _ = world(campaign_header="x-campaign")
    campaign = "früh " + "x" * 60
    headers = (Header("X-Campaign", campaign),)
    status = with_parts(part(campaign, "example.org"))
    reject = decide_message(message(headers=headers), made, NOW, status).reject
    assert reject.text.startswith(f"campaign fr?h {'x' * 35} of acme to example.org is paused")


def test_queued_mail_of_a_paused_tenant_is_deferred_if_the_pause_says_so():
    made, _ = world()
    sender = "news@acme.example"
    paused = replace(BY_OPERATOR, queued=Queued.RETRY)
    route = decide_transport(sender, made, NOW, {"acme": Status(Step.SLOW, pause=paused)})
    text = "sending of acme is paused: list bought, since 2026-09-21 14:13 UTC"
    assert (route.service, route.nexthop) == ("retry", f"4.3.2 {text}")
    assert is_deferred_for_pause(text, "acme")
    assert not is_deferred_for_pause(text, "ac")
    assert not is_deferred_for_pause(f"host mx.example said: {text}", "acme")
    goes_on = [
        replace(paused, queued=Queued.KEEP),
        replace(paused, queued=Queued.HOLD),
        replace(paused, scope=Scope.MARKETING),
        replace(paused, until=NOW - 1),
    ]
    for pause in goes_on:
        assert decide_transport(sender, made, NOW, {"acme": Status(pause=pause)}).nexthop == ""
    # The map knows neither recipient nor campaign.
    parts = with_parts(replace(part("a", "example.org"), queued=Queued.RETRY))
    assert decide_transport(sender, made, NOW, parts).service is None


PAUSES = st.none() | st.builds(
    Pause,
    st.sampled_from(Scope),
    st.just("why"),
    st.just(SINCE),
    st.none() | st.sampled_from([NOW - 1, NOW + 1]),
)


@given(
    st.sampled_from(Step),
    PAUSES,
    st.sampled_from(Mode),
    st.sampled_from([(), ("newsletter",), ("receipt",)]),
)
def test_operator_and_ladder_must_both_allow(step, pause, mode, types):
    _, acme = world(Modes(ladder=mode))

    def acts(status):
        held = hold_message(acme, types, status, NOW)
        return held is not None and held.acts

    alone = acts(Status(step, SINCE, WHY)), acts(Status(pause=pause))
    assert acts(Status(step, SINCE, WHY, pause)) == any(alone)
    stronger = [acts(Status(each, SINCE, WHY, pause)) for each in Step]
    assert stronger == sorted(stronger)
