"""Days on which everybody comes at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gatepost.modes import Mode, Modes
from gatepost.postfix_version import PostfixVersion
from gatepost.traffic.counters import MemoryCounters
from gatepost.traffic.quota import Limit, QuotaRules, TenantQuota
from gatepost.wire.policy import AccessRequest, Action
from policy_server.handlers import Handlers
from policy_server.quota import QuotaCheck
from tests.world import snapshot, tenant

NOW = 1_800_000_000.0
LOGINS = 10_000
ENFORCE = Modes(quota=Mode.ENFORCE)


class Counts(Counter[str]):
    """Takes what handlers tell."""

    def policy(self, verdict: str) -> None:
        self[verdict] += 1

    def lookup(self, map_name: str, result: str) -> None:
        raise AssertionError(map_name, result)

    def record(self, observation: object) -> None:
        raise AssertionError(observation)


def test_ten_thousand_logins_at_once_get_what_the_quota_has_and_no_more() -> None:
    logins = tuple(f"u{number}" for number in range(LOGINS))
    rules = QuotaRules({"acme": TenantQuota((Limit(5_000, 3_600),), per_login=(Limit(1, 3_600),))})
    config = replace(snapshot(tenant("acme", ENFORCE, logins=logins)), quotas=rules)
    counters, counts = MemoryCounters(), Counts()
    handlers = Handlers(lambda: config, counts, counts, lambda: NOW, PostfixVersion(3, 7, 11))
    handlers.quota = QuotaCheck(counters, lambda: 3_600.0, lambda _result, _who: None)

    def ask(state: str, number: int, login: str) -> str:
        reply = handlers.policy(
            AccessRequest(
                {
                    "protocol_state": state,
                    "sasl_username": login,
                    "sender": "news@acme.example",
                    "recipient": "u@example.org",
                    "recipient_count": "0" if state == "RCPT" else "1",
                    "instance": f"{number:x}.1",
                }
            )
        )
        assert isinstance(reply, Action)
        return reply.text[:3]

    # All are under way before the first ends.
    reserved = [ask("RCPT", number, login) for number, login in enumerate(logins)]
    ended = [
        ask("END-OF-MESSAGE", number, logins[number])
        for number, answer in enumerate(reserved)
        if answer == "DUN"
    ]
    assert Counter(reserved) == {"DUN": 5_000, "450": 5_000}
    assert Counter(ended) == {"DUN": 5_000}
    # One for each login of the configuration, and the tenant's own.
    assert len(counters) == LOGINS + 1
    # Those that nobody has heard of belong to no tenant, and take neither room nor memory.
    assert {ask("RCPT", number, f"x{number}") for number in range(LOGINS)} == {"DUN"}
    assert len(counters) == LOGINS + 1
    assert counters.reservations == 0
