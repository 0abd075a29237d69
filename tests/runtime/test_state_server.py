"""What status says of the server of state."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime.state_server import state_server
from gatepost.settings import Settings
from gatepost.store import postgres_look
from tests.postfix.doctor.test_state import FINE, replace

SERVER = Settings(Path("gatepost.yaml"), state="postgresql://gp:geheim@db/x")


def test_of_a_file_nothing_is_said() -> None:
    assert state_server(Settings(Path("gatepost.yaml"))) == ("", [])


def test_a_server_is_named_with_its_version_and_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_look, "look_at_server", lambda _: FINE)
    assert state_server(SERVER) == ("PostgreSQL 15.14 at postgresql://db/x, schema 8", [])
    newer = replace(FINE, needs=9, schema=9)
    monkeypatch.setattr(postgres_look, "look_at_server", lambda _: newer)
    assert state_server(SERVER)[1] == [f"state is for a newer Gatepost than this one: {newer}"]


def test_a_server_that_is_away_should_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(url: str) -> None:
        raise StoreUnavailable(f"{postgres_look.shown(url)}: it is away")

    monkeypatch.setattr(postgres_look, "look_at_server", away)
    told = "cannot be used: postgresql://gp@db/x: it is away"
    assert state_server(SERVER) == (told, [f"state {told}"])
