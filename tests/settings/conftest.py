"""A directory with a configuration in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.settings import Loaded, Loader

KEYS = f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n"

Load = Callable[..., Loaded]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Path of the configuration file; the key file beside it is there."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    return tmp_path / "gatepost.yaml"


@pytest.fixture
def load(config: Path) -> Load:
    """Load a configuration from its text; further files are named by keyword, "__" for "/"."""

    def load(text: str, **files: str) -> Loaded:
        config.write_text(text)
        for name, content in files.items():
            path = config.parent / (name.replace("__", "/") + ".yaml")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        return Loader(config).load()

    return load
