"""What all tests share: where the end-to-end tests may run, and how hard hypothesis tries."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from lab.enter import inside

settings.register_profile("test", max_examples=100, deadline=None, print_blob=True)
settings.register_profile(
    "fuzz",
    max_examples=20_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# A deadline would measure the machine, not the code, so no profile has one.
settings.load_profile(os.environ.get("GATEPOST_HYPOTHESIS", "test"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip end-to-end tests where they would meet the real network, and say how to run them."""
    if inside():
        return
    outside = pytest.mark.skip(reason="runs in the lab only: sudo ./dev test")
    for item in items:
        if item.get_closest_marker("e2e") is not None:
            item.add_marker(outside)
