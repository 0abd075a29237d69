"""What a survey makes sure of before it asks anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import GatepostError
from gatepost.runtime.tls import survey_setup as module
from gatepost.runtime.tls.survey_setup import Conduct, run_survey
from gatepost.settings import Settings
from gatepost.tls.nexthop import NextHop
from gatepost.tls.resolver import Resolver, SelfTest

CONDUCT = Conduct("survey.example", check_ehlo=False, sts=False)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(module, "spare_collector", lambda: None)
    return Settings(tmp_path / "gatepost.yaml", state=f"sqlite:///{tmp_path}/gatepost.db")


def judge_resolver(monkeypatch: pytest.MonkeyPatch, verdict: SelfTest) -> None:
    async def self_test(*_: object) -> SelfTest:
        return verdict

    monkeypatch.setattr(Resolver, "self_test", self_test)


def test_without_a_name_server_nothing_is_written_down(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_resolver(
        monkeypatch,
        SelfTest(validates=False, reason="no answer", local=True, answered=False),
    )

    def names() -> Iterator[NextHop]:
        raise AssertionError("a name was read")
        yield NextHop("a.example")

    with pytest.raises(GatepostError, match="no name server answers: no answer"):
        run_survey(settings, CONDUCT, names(), "test")


@pytest.mark.parametrize("reason", ["", "192.0.2.1 does not validate"])
def test_a_resolver_that_does_not_validate_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    judge_resolver(monkeypatch, SelfTest(validates=not reason, reason=reason, local=True))
    progress, _ = run_survey(settings, CONDUCT, iter(()), "test")
    assert progress.dane_off == reason
