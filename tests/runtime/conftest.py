"""What tests of whole processes share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.place import Site


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a place of one's own, without any process in it afterwards."""
    if shutil.which("postconf", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("Postfix is not installed")
    directory = Path(tempfile.mkdtemp(prefix="gp-"))
    made = Site(directory)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)
