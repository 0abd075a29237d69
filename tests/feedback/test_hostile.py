"""Mail that is made to cost is read or refused within 2 s of CPU and 200 MiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.feedback.hostile import MAILS

READ = {"bounce", "complaint", "unknown"}
REFUSED = {
    "25 MiB of multiparts in multiparts": "limit on depth",
    "25 MiB of messages in messages": "limit on depth",
    "25 MiB of parts": "limit on parts",
    "25 MiB of text": "limit on size",
    "1,000 multiparts": "limit on depth",
    "1,000 messages": "limit on depth",
    "a Subject of 400 KiB": "limit on header",
    "70,000 addresses in To": "limit on header",
    "fields": "limit on fields",
    "blocks": "limit on rows",
    "noise": "RFC 5322 §3.6",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.feedback.hostile"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split(": ", 1) for line in run.stdout.splitlines())


@pytest.mark.parametrize("name", MAILS)
def test_it_stays_within_bounds(name: str, outcomes: dict[str, str]) -> None:
    if name in REFUSED:
        assert outcomes[name] == REFUSED[name]
    else:
        assert outcomes[name] in READ
