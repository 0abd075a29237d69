"""The world that the end-to-end tests happen in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Return signed DNS and a mail server of each kind, for one file of tests.

    There can be one world at a time, so no longer than that.
    """
    with World() as running:
        yield running
