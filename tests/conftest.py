"""What all tests share: where the end-to-end tests may run, and how hard hypothesis tries."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from lab.enter import inside

# A deadline would measure the machine, not the code, so no profile has one.
settings.register_profile("test", max_examples=100, deadline=None, print_blob=True)
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("GATEPOST_FUZZ_EXAMPLES", "2000")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fuzz" if "GATEPOST_FUZZ_EXAMPLES" in os.environ else "test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip end-to-end tests where they would meet the real network, and say how to run them."""
    if inside():
        return
    outside = pytest.mark.skip(reason="runs in the lab only: sudo ./dev test")
    for item in items:
        if item.get_closest_marker("e2e") is not None:
            item.add_marker(outside)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test has logged fit to be sent: workers speak UTF-8, and mail often does not."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
