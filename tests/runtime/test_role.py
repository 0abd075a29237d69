"""What a role tells of itself; tests/runtime/test_roles.py runs whole ones."""

from __future__ import annotations

from gatepost.modes import Feature
from gatepost.runtime.role import modes_summary
from tests.world import ENFORCE, OBSERVE, snapshot, tenant


def test_tenants_are_counted_by_feature_and_mode() -> None:
    found = modes_summary(
        snapshot(tenant("a", OBSERVE), tenant("b", OBSERVE), tenant("c", ENFORCE))
    )
    assert set(found) == {str(feature) for feature in Feature}
    assert found["tls"] == {"off": 0, "observe": 2, "enforce": 1}
    assert modes_summary(snapshot())["tag"] == {"off": 0, "observe": 0, "enforce": 0}
