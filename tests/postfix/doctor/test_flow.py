"""Doctor on what holds up everybody's mail while one tenant floods."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gatepost.postfix.doctor.flow import check
from gatepost.traffic.burst import Burst, BurstRules
from gatepost.traffic.quota import Limit
from tests.world import snapshot, tenant

if TYPE_CHECKING:
    from tests.postfix.doctor.conftest import MakeScene

PLAIN = snapshot(tenant("acme", senders=("acme.example",)))
BURST = Burst("normal", Limit(20, 1))
FOR_ALL = replace(PLAIN, bursts=BurstRules(burst=BURST))
FOR_ONE = replace(PLAIN, bursts=BurstRules(bursts={"acme": BURST}))


@pytest.mark.parametrize("config", [FOR_ALL, FOR_ONE])
@pytest.mark.parametrize("delay", ["1s", "10", "2m"])
def test_a_pause_for_everybody_is_told(scene: MakeScene, config, delay: str) -> None:
    (found,) = check(scene(config=config, in_flow_delay=delay))
    assert found.what.startswith(f"in_flow_delay = {delay}: ")
    assert found.mend[-1] == "postconf -e 'in_flow_delay = 0'"


@pytest.mark.parametrize(("config", "delay"), [(FOR_ALL, "0"), (FOR_ALL, "0s"), (PLAIN, "1s")])
def test_none_is_not(scene: MakeScene, config, delay: str) -> None:
    assert list(check(scene(config=config, in_flow_delay=delay))) == []
