"""What a node knows while it cannot reach the others."""

from __future__ import annotations

import pytest

from gatepost.traffic import alone as module
from gatepost.traffic.alone import Alone
from gatepost.traffic.counters import Amount, Holder
from gatepost.traffic.quota import Claim, Limit, campaign_name

NOW = 1_800_000_000.0
LIMIT = Limit(9, 3_600)


def test_names_that_one_tenant_makes_up_let_nobody_forget_what_others_have_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_KNOWN", 20)
    node = Alone()
    quiet, silent = Claim("tenant quiet", LIMIT), Claim("tenant silent", LIMIT)
    node.learn(silent.key, 9, NOW)
    for number in range(200):
        node.learn(Claim(campaign_name("loud", f"c{number}"), LIMIT).key, 1, NOW)
        if number % 10 == 0:
            node.learn(quiet.key, 9, NOW)
        (usage,) = node.usage([quiet], NOW)
        assert usage.used == 9
    for claim, full in ((quiet, True), (silent, False)):
        answer = node.commit(Holder(claim.name, claim.name), [claim], Amount(1, 1), NOW)
        assert (answer is not None) is full
