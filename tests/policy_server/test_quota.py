"""Quotas at the policy socket: reserved at RCPT TO, counted at the end, said in words."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from gatepost.modes import Mode, Modes, Observation
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import PlatformLogin
from gatepost.traffic.counters import Amount, Holder, MemoryCounters
from gatepost.traffic.quota import (
    Claim,
    Limit,
    OverQuota,
    QuotaRules,
    Shortage,
    TenantQuota,
    Unit,
)
from gatepost.wire.policy import AccessRequest, Action, AdmitRequest, PolicyReply
from policy_server.handlers import Handlers
from policy_server.quota import QuotaCheck, session_of
from tests.world import snapshot, tenant

NOW = 1_800_000_000.0
TWO = Limit(2, 3_600)
ENFORCE = Modes(quota=Mode.ENFORCE, sender=Mode.OFF, tls=Mode.OFF, lane=Mode.OFF)
OBSERVE = replace(ENFORCE, quota=Mode.OBSERVE)
USED_UP = (
    "450 4.7.1 quota of tenant acme is used up: 2 messages per hour, open again at 09:02:01 UTC"
)


@dataclass
class Later:
    """Counters of which each answer has to be waited for."""

    counters: MemoryCounters

    def reserve(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Coroutine[Any, Any, Shortage | None]:
        return self._later(self.counters.reserve(holder, claims, amount, now))

    def commit(
        self, holder: Holder, claims: Sequence[Claim], amount: Amount, now: float
    ) -> Coroutine[Any, Any, Shortage | None]:
        return self._later(self.counters.commit(holder, claims, amount, now))

    def release(self, session: str, message: str) -> None:
        self.counters.release(session, message)

    def refund(self, message: str, now: float) -> bool:
        return self.counters.refund(message, now)

    async def _later(self, shortage: Shortage | None) -> Shortage | None:
        await asyncio.sleep(0)
        return shortage


@dataclass
class Desk:
    """Handlers over one tenant with quotas, and what they told."""

    later: ClassVar[bool] = False
    config: Snapshot
    counters: MemoryCounters = field(default_factory=MemoryCounters)
    at: float = 0.0
    observations: list[Observation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.handlers = Handlers(
            lambda: self.config, self, self, lambda: NOW + self.at, PostfixVersion(3, 7, 11)
        )
        counters = Later(self.counters) if self.later else self.counters
        self.handlers.quota = QuotaCheck(counters, lambda: 3_600.0 + self.at, self.counted)

    def record(self, observation: Observation) -> None:
        self.observations.append(observation)

    def policy(self, verdict: str) -> None:
        self.counts[verdict] += 1

    def lookup(self, map_name: str, result: str) -> None:
        raise AssertionError(map_name, result)

    def counted(self, result: str, who: str) -> None:
        self.counts[f"{result} {who}"] += 1

    def ask(self, state: str, message: str, **changes: str) -> str:
        attributes = {
            "protocol_state": state,
            "sasl_username": "acme",
            "sender": "news@acme.example",
            "recipient": "u@example.org",
            "recipient_count": "1" if state == "END-OF-MESSAGE" else "0",
            "instance": message,
            "queue_id": "" if state == "RCPT" else "4Q",
            **changes,
        }
        return self.text(self.handlers.policy(AccessRequest(attributes)))

    @staticmethod
    def text(reply: PolicyReply | Awaitable[PolicyReply]) -> str:
        async def wait(later: Awaitable[PolicyReply]) -> PolicyReply:
            return await later

        if isinstance(reply, Awaitable):
            reply = asyncio.run(wait(reply))
        assert isinstance(reply, Action)
        return reply.text

    def rcpt(self, message: str, **changes: str) -> str:
        return self.ask("RCPT", message, **changes)

    def end(self, message: str, **changes: str) -> str:
        return self.ask("END-OF-MESSAGE", message, **changes)

    def admit(self, queue_id: str, who: str = "acme", login: str = "app", **changes: str) -> str:
        reply = self.handlers.policy(
            AdmitRequest(
                who, login, queue_id, "news@acme.example", ("a@x.example", "b@x.example"), **changes
            )
        )
        return self.text(reply)

    def used(self, name: str, limit: Limit = TWO) -> tuple[int, int]:
        (usage,) = self.counters.usage([Claim(name, limit)], 3_600.0 + self.at)
        return usage.used, usage.reserved


@pytest.fixture(params=[False, True], ids=["at once", "later"], autouse=True)
def _later(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "later", request.param)


def desk(quota: TenantQuota, modes: Modes = ENFORCE, **shared: object) -> Desk:
    config = snapshot(
        tenant("acme", modes, logins=("acme", "b"), campaign_header="x-campaign"),
        tenant("globex", modes, logins=("globex",)),
        logins=[PlatformLogin("app", None)],
        modes=Modes(),
    )
    rules = QuotaRules({"acme": quota}, **shared)  # type: ignore[arg-type]
    return Desk(replace(config, quotas=rules))


def test_a_place_is_reserved_and_then_taken() -> None:
    made = desk(TenantQuota((TWO,)))
    assert made.rcpt("1.a") == "DUNNO"
    assert made.rcpt("2.a") == "DUNNO"
    assert made.used("tenant acme") == (0, 2)
    assert made.rcpt("3.a") == USED_UP
    assert made.end("1.a") == "DUNNO"
    assert made.used("tenant acme") == (1, 1)
    # Postfix asks again when it got no answer.
    assert made.end("1.a") == "DUNNO"
    assert made.used("tenant acme") == (1, 1)
    # The process of the second one has begun another.
    assert made.rcpt("2.b", sasl_username="globex") == "DUNNO"
    assert made.used("tenant acme") == (1, 0)
    assert made.counts == {"dunno": 5, "reject": 1, "over acme": 1, "room acme": 2}
    made.at = 3_600 + 121
    assert made.rcpt("4.a") == "DUNNO"


def test_who_comes_when_it_was_said_to_open_is_taken() -> None:
    made = desk(TenantQuota((Limit(1, 3_600),)))
    assert made.end("1.a") == "DUNNO"
    made.at = 100.0
    text = made.rcpt("2.a")
    said = text.rpartition(" at ")[2]
    hours, minutes, seconds = map(int, said.removesuffix(" UTC").split(":"))
    made.at = (hours - 8) * 3_600.0 + minutes * 60 + seconds
    assert made.rcpt("2.b") == "DUNNO"


def test_without_a_reservation_the_end_looks_again() -> None:
    made = desk(TenantQuota((TWO,)))
    assert [made.end(f"{n}.a") for n in range(3)] == ["DUNNO", "DUNNO", USED_UP]
    assert made.counts["over acme"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"sender": ""}, {"sasl_username": "globex"}, {"sasl_username": ""}, {"sasl_username": "app"}],
)
def test_what_is_not_counted_passes(changes: dict[str, str]) -> None:
    made = desk(TenantQuota((Limit(1, 60),)))
    for number in range(3):
        assert made.rcpt(f"{number}.a", **changes) == "DUNNO"
        assert made.end(f"{number}.a", **changes) == "DUNNO"
    assert len(made.counters) == 0


@pytest.mark.parametrize(
    ("quota", "modes"),
    [
        (TenantQuota((Limit(1, 60),), exempt=True), ENFORCE),
        (TenantQuota((Limit(1, 60),)), replace(ENFORCE, quota=Mode.OFF)),
    ],
)
def test_exempt_or_off_passes_and_counts_nowhere(quota: TenantQuota, modes: Modes) -> None:
    made = desk(quota, modes, platform=(Limit(1, 60),))
    for number in range(3):
        assert made.rcpt(f"{number}.a") == "DUNNO"
        assert made.end(f"{number}.a") == "DUNNO"
    assert len(made.counters) == 0


def test_observe_tells_and_counts_as_enforce_would() -> None:
    made = desk(TenantQuota((TWO,)), OBSERVE)
    for number in range(5):
        assert made.rcpt(f"{number}.a") == "DUNNO"
        assert made.end(f"{number}.a") == "DUNNO"
    assert made.used("tenant acme") == (2, 0)
    assert made.counts["observed acme"] == len(made.observations) == 3
    seen = made.observations[0]
    assert (seen.feature, seen.action, seen.queue_id) == ("quota", "defer", "4Q")
    assert seen.detail == USED_UP.removeprefix("450 4.7.1 ")


def test_what_is_over_is_held_where_the_operator_wants_it() -> None:
    made = desk(TenantQuota((Limit(1, 3_600),), over=OverQuota.HOLD))
    assert [made.rcpt(f"{n}.a") for n in range(3)] == ["DUNNO"] * 3
    assert made.end("1.a") == "DUNNO"
    assert made.end("2.a").startswith("HOLD quota of tenant acme is used up: 1 messages per hour")
    assert made.used("tenant acme") == (1, 0)
    assert made.counts["held acme"] == made.counts["hold"] == 1
    small = desk(TenantQuota((Limit(1, 3_600, Unit.RECIPIENTS),), over=OverQuota.HOLD))
    assert small.end("1.a", recipient_count="2").startswith("HOLD quota of tenant acme can never")
    watched = desk(TenantQuota((Limit(1, 3_600),), over=OverQuota.HOLD), OBSERVE)
    assert [watched.end(f"{n}.a") for n in range(2)] == ["DUNNO"] * 2
    assert watched.observations[0].action == "hold"


def test_recipients() -> None:
    made = desk(TenantQuota((Limit(3, 3_600, Unit.RECIPIENTS),)))
    assert [made.rcpt("1.a") for _ in range(3)] == ["DUNNO"] * 3
    # The client may send it in another message, so this is not for good.
    assert made.rcpt("1.a").startswith("450 4.7.1 quota of tenant acme is used up: 3 recipients")
    assert made.end("1.a", recipient_count="2") == "DUNNO"
    assert made.used("tenant acme", Limit(3, 3_600, Unit.RECIPIENTS)) == (2, 0)
    assert made.rcpt("1.b") == "DUNNO"
    assert made.rcpt("1.b").startswith("450")
    # A whole message that will never fit is refused for good.
    assert made.end("2.a", recipient_count="4") == (
        "550 5.7.1 quota of tenant acme can never hold it: 3 recipients per hour"
    )


def test_a_recipient_that_was_refused_is_not_one_of_the_message() -> None:
    limit = Limit(3, 3_600, Unit.RECIPIENTS)
    made = desk(TenantQuota((limit,)))
    assert made.end("1.a", recipient_count="3") == "DUNNO"
    assert [made.rcpt("2.a")[:3] for _ in range(4)] == ["450"] * 4
    made.at = 3_600 + 121
    assert [made.rcpt("2.a")[:3] for _ in range(4)] == ["DUN"] * 3 + ["450"]
    assert made.used("tenant acme", limit) == (0, 3)


def test_logins_groups_and_the_platform() -> None:
    made = desk(
        TenantQuota(per_login=(TWO,), group="g"),
        groups={"g": (Limit(3, 3_600),)},
        platform=(Limit(5, 3_600),),
    )
    assert [made.end(f"{n}.a")[:3] for n in range(3)] == ["DUN", "DUN", "450"]
    assert made.end("4.a", sasl_username="B") == "DUNNO"
    assert "quota of group g is used up" in made.end("5.a", sasl_username="b")
    assert [made.end(f"{n}.g", sasl_username="globex")[:3] for n in range(3)] == [
        "DUN",
        "DUN",
        "450",
    ]
    assert "quota of platform is used up" in made.end("9.g", sasl_username="globex")
    assert made.used("login acme b") == (1, 0)


def test_a_platform_login_counts_when_its_header_has_told_the_tenant() -> None:
    made = desk(TenantQuota((TWO,)))
    assert made.admit("4A") == "DUNNO"
    assert made.admit("4A") == "DUNNO"
    assert made.used("tenant acme") == (1, 0)
    assert made.admit("4B") == "DUNNO"
    assert made.admit("4C").startswith("450 4.7.1 quota of tenant acme is used up")


def test_campaigns_are_counted_by_themselves() -> None:
    made = desk(TenantQuota((Limit(9, 3_600),), per_campaign=(TWO,)))
    for login in ("acme", ""):
        assert made.admit(f"4A{login}", login=login, campaign="spring") == "DUNNO"
    # The message itself was counted at its end, and is not again.
    assert made.used("tenant acme") == (0, 0)
    said = made.admit("4C", login="acme", campaign="spring")
    assert said.startswith(
        "450 4.7.1 quota of campaign acme spring is used up: 2 messages per hour"
    )
    assert made.admit("4D", login="acme", campaign="b\xfccher \udcff") == "DUNNO"
    assert made.admit("4E", campaign="spring").startswith("450")
    assert made.used("tenant acme", Limit(9, 3_600)) == (0, 0)
    assert made.admit("4F", campaign="autumn") == "DUNNO"
    assert made.used("tenant acme", Limit(9, 3_600)) == (1, 0)


def test_what_is_refused_for_its_campaign_counts_for_nobody() -> None:
    made = desk(TenantQuota((Limit(9, 3_600),), per_campaign=(Limit(1, 3_600),)))
    for number, queue_id in enumerate(("4A", "4B", "4C")):
        assert made.end(f"{number}.a", queue_id=queue_id) == "DUNNO"
        made.admit(queue_id, login="acme", campaign="spring")
    assert made.used("tenant acme", Limit(9, 3_600)) == (1, 0)


def test_what_others_refuse_after_its_end_is_given_back() -> None:
    made = desk(TenantQuota((TWO,), per_campaign=(TWO,)))
    quota = made.handlers.quota
    assert quota is not None
    made.end("1.a", queue_id="4A")
    made.admit("4A", login="acme", campaign="spring")
    assert quota.refused("4A")
    assert not quota.refused("4A")
    assert not quota.refused("4Z")
    assert made.used("tenant acme") == made.used("campaign acme spring") == (0, 0)
    made.admit("4B")
    assert quota.refused("4B")
    # Too late: it is not known any more which one it was.
    made.end("2.a", queue_id="4C")
    made.at = 61
    assert not quota.refused("4C")
    assert made.used("tenant acme") == (1, 0)


def test_names_that_clients_make_up_are_said_in_ascii() -> None:
    made = desk(TenantQuota(per_campaign=(Limit(1, 60),)))
    name = "b\xfccher \udcff\r\n" + "x" * 300
    made.admit("4A", login="acme", campaign=name)
    text = made.admit("4B", login="acme", campaign=name)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 230


def test_a_reload_brings_other_limits_and_keeps_counts() -> None:
    made = desk(TenantQuota((TWO,)))
    made.end("1.a")
    made.end("2.a")
    rules = QuotaRules({"acme": TenantQuota((Limit(3, 3_600),))})
    made.config = replace(made.config, quotas=rules)
    assert made.end("3.a") == "DUNNO"
    assert made.end("4.a").startswith("450")


def test_what_others_refuse_reserves_nothing() -> None:
    made = desk(TenantQuota((TWO,)), replace(ENFORCE, sender=Mode.ENFORCE))
    acme = replace(made.config.tenants.by_id["acme"], senders=("acme.example",))
    index = replace(
        made.config.tenants,
        by_id={**made.config.tenants.by_id, "acme": acme},
        by_login={"acme": acme},
    )
    made.config = replace(made.config, tenants=index)
    assert made.rcpt("1.a", sender="x@other.example").startswith("553")
    assert made.used("tenant acme") == (0, 0)


def test_the_session_of_an_instance() -> None:
    assert session_of("1a2b.5f0001.00042.0") == "1a2b"
    assert session_of("") == ""
