"""What doctor says of the server of state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix.doctor.findings import Severity
from gatepost.postfix.doctor.state import _judge, state_findings
from gatepost.store.open import open_suppression
from gatepost.store.postgres_look import SeenServer, look_at_server
from gatepost.store.postgres_schema import MIGRATIONS
from lab.postgres import PrivatePostgres, programs

FINE = SeenServer(
    "postgresql://db/x", "15.14", (15, 14), 8, 8, 8,
    encrypted=True, connections=3, max_connections=100, commits="on", vacuums=True, answer_s=0.001,
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with contextlib.closing(PrivatePostgres()) as made:
        yield made


def test_a_real_server_is_looked_at_and_left_alone(server: PrivatePostgres, tmp_path: Path) -> None:
    seen = look_at_server(server.url)
    assert (seen.schema, seen.needs, seen.known) == (0, 0, len(MIGRATIONS))
    assert str(seen).endswith("at postgresql://gatepost@/gatepost, no tables yet")
    assert seen.number >= (13, 0)
    assert seen.encrypted
    with contextlib.closing(
        open_suppression(server.url, local=f"sqlite:///{tmp_path}/g.db")
    ) as made:
        made.lists()
    findings = list(state_findings(server.url, tmp_path))
    assert [each.severity for each in findings if each.severity is Severity.PROBLEM] == [
        Severity.PROBLEM
    ]
    assert f"{tmp_path}/suppression.key is missing." in [each.what for each in findings]
    (tmp_path / "suppression.key").write_text("x")
    found = {each.severity for each in state_findings(server.url, tmp_path)}
    assert Severity.PROBLEM not in found


def test_a_server_that_is_away_is_a_problem(tmp_path: Path) -> None:
    url = f"postgresql://gp:geheim@/gatepost?host={tmp_path}"
    (found,) = state_findings(url, tmp_path)
    assert found.severity is Severity.PROBLEM
    assert "postgresql://gp@/gatepost: " in found.what
    assert "geheim" not in found.what


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"number": (12, 9)}, Severity.PROBLEM, "older than version 13"),
        ({"needs": 9, "schema": 9}, Severity.PROBLEM, "made by a newer Gatepost"),
        ({"encrypted": False}, Severity.WARNING, "not encrypted"),
        ({"commits": "off"}, Severity.WARNING, "synchronous_commit is off"),
        ({"vacuums": False}, Severity.WARNING, "autovacuum is off"),
        ({"connections": 90}, Severity.WARNING, "90 of 100 connections"),
        ({"answer_s": 0.02}, Severity.WARNING, "took 20 ms"),
    ],
)
def test_what_is_wrong_with_a_server(changes, severity: Severity, words: str) -> None:
    assert [each.severity for each in _judge(FINE)] == [Severity.NOTE]
    _, found = _judge(replace(FINE, **changes))
    assert found.severity is severity
    assert words in found.what
    assert found.mend


def test_a_schema_of_another_version_is_named() -> None:
    assert str(FINE) == "PostgreSQL 15.14 at postgresql://db/x, schema 8"
    assert str(replace(FINE, schema=9)).endswith("schema 9, this version has 8")
