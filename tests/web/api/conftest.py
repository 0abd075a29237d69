"""An API for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.web.api.place import Api


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """Return an API with two tenants in a file and no others."""
    return Api(tmp_path)
