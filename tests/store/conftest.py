"""Stores to test: each backend in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatepost.modes import Feature, Observation
from gatepost.store import ObservationStore, open_store

NOON = 1_800_000_000 // 86_400 * 86_400 + 12 * 3600.0

Opener = Callable[[], ObservationStore]


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store of each kind."""
    assert request.param == "sqlite"
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def store(url: str) -> Iterator[ObservationStore]:
    """Return an empty store, closed at the end."""
    with contextlib.closing(open_store(url)) as opened:
        yield opened


@pytest.fixture
def seen() -> Callable[..., Observation]:
    """Return what makes an observation: at noon, of tenant acme, unless told otherwise."""

    def seen(at: float = NOON, tenant: str = "acme", **fields: str) -> Observation:
        feature = Feature(fields.pop("feature", "tag"))
        action = fields.pop("action", "add-header")
        return Observation(at, tenant, feature, action, fields.pop("detail", "d"), **fields)

    return seen
