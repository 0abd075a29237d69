"""The one log line of a failed request: kind, service, request, cause."""

from __future__ import annotations

import logging

import pytest

from gatepost.errors import RemoteProtocolError, StoreUnavailable
from gatepost.runtime.log import line_of
from policy_server.failures import REASON_CHARACTERS, LineBudget, log_exception, reason_of

REQUEST = {"map": "transport", "key": "a@acme.example"}


def bug() -> Exception:
    try:
        raise RuntimeError("this should\nnot be")
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "level", "line"),
    [
        (
            StoreUnavailable("db: locked"),
            "WARNING",
            'unavailable service=maps map=transport key=a@acme.example cause="db: locked"',
        ),
        (
            RemoteProtocolError("no netstring\nat all"),
            "WARNING",
            'protocol-error service=maps map=transport key=a@acme.example cause="no netstring',
        ),
        (bug(), "ERROR", "internal-error service=maps "),
    ],
)
def test_a_failure_is_one_line(
    caplog: pytest.LogCaptureFixture, error: Exception, level: str, line: str
) -> None:
    with caplog.at_level(logging.WARNING):
        log_exception("maps", error, REQUEST)
    (record,) = caplog.records
    assert record.levelname == level
    written = line_of(record)
    assert written.removeprefix("error: ").removeprefix("warning: ").startswith(line)
    assert "\n" not in written


def test_a_bug_tells_where_it_is_to_the_log_and_not_to_postfix(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        log_exception("maps", bug(), REQUEST)
    assert " at=policy_server/test_failures.py:" in caplog.text
    assert "this should" in caplog.text
    assert "a@acme.example" in caplog.text
    assert reason_of(bug()) == "internal error, see the log of Gatepost"


def test_what_a_client_sent_does_not_flood_postfixs_log() -> None:
    reason = reason_of(RemoteProtocolError("x\n" * 1000))
    assert len(reason) <= REASON_CHARACTERS
    assert "\n" not in reason


def test_a_flood_of_one_kind_writes_a_few_lines_and_tells_of_the_rest():
    now = [1000.0]
    budget = LineBudget(lambda: now[0], 2)
    assert [budget.take() for _ in range(5)] == [0, 0, None, None, None]
    now[0] += 59.9
    assert budget.take() is None
    now[0] += 0.1
    assert [budget.take() for _ in range(3)] == [4, 0, None]
