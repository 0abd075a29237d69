"""Doctor on the server of shared counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.postfix.doctor import counters as module
from gatepost.postfix.doctor.counters import counters_findings
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.traffic.valkey_look import Seen, see
from gatepost.traffic.valkey_target import Target
from tests.traffic.valkey_servers import server

FINE = Seen("valkey 8.1.4", (7, 2, 4), True, False, "noeviction", 1 << 30, 0.001, "")
TARGET = Target("unix:///nowhere/s", "valkey+unix:///nowhere/s", "mx1", 3)


def told(monkeypatch: pytest.MonkeyPatch, seen: Seen) -> list[Finding]:
    monkeypatch.setattr(module, "see", lambda _: seen)
    return list(counters_findings(TARGET))


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"version": (6, 0, 16)}, Severity.PROBLEM, "older than Redis 6.2"),
        ({"primary": False}, Severity.PROBLEM, "is a replica"),
        ({"clustered": True}, Severity.PROBLEM, "part of a cluster"),
        ({"problem": "NOPERM"}, Severity.PROBLEM, "does not run scripts: NOPERM"),
        ({"policy": "allkeys-lru"}, Severity.PROBLEM, "used up (allkeys-lru)"),
        ({"max_memory": 0}, Severity.NOTE, "no limit of memory"),
        ({"answer_s": 0.2}, Severity.WARNING, "took 200 ms"),
    ],
)
def test_what_is_wrong_with_a_server(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], severity: Severity, words: str
) -> None:
    assert told(monkeypatch, FINE) == []
    (finding,) = told(monkeypatch, replace(FINE, **changes))  # type: ignore[arg-type]
    assert finding.severity is severity
    assert words in finding.what
    assert finding.mend


def test_a_server_that_cannot_be_reached() -> None:
    (finding,) = counters_findings(TARGET)
    assert finding.severity is Severity.PROBLEM
    assert finding.what.startswith("The counters at valkey+unix:///nowhere/s cannot be reached: ")
    assert "1/3" in finding.why


def test_a_real_server() -> None:
    with server("--maxmemory", "50mb", "--requirepass", "hidden") as made:
        target = replace(made.target, url=f"unix://:hidden@{made.path}")
        seen = see(target)
        assert replace(seen, answer_s=0.0, name="", version=()) == replace(
            FINE, answer_s=0.0, name="", version=(), max_memory=50 << 20
        )
        assert seen.version >= (6, 2)
        assert seen.name.startswith(("redis ", "valkey "))
        (finding,) = counters_findings(made.target)
        assert "cannot be reached" in finding.what
        assert "hidden" not in str(finding)
