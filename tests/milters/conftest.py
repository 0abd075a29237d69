"""A milter process for all tests here; each finds it as it was at its start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.milters.process import Milter


@pytest.fixture(scope="session")
def milter_process() -> Iterator[Milter]:
    # Not below pytest's own directory: a socket's path has 108 octets.
    with tempfile.TemporaryDirectory() as directory:
        milter = Milter(Path(directory) / "m")
        yield milter
        assert milter.stop() == 0


@pytest.fixture
def milter(milter_process: Milter) -> Iterator[Milter]:
    milter_process.tell("reset")
    yield milter_process
    report = milter_process.report()
    assert report["idle"], f"{report['in_flight']} messages are still counted as in hand"
