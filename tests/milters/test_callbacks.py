"""What libmilter never does, and Postfix does only when it dies: the callbacks without either."""

from __future__ import annotations

from collections import Counter
from typing import Any

import Milter
import milter as libmilter
import pytest

from milters import listen
from milters.adapter import GatepostMilter
from milters.context import Shared, Views
from tests.world import NOW, snapshot


class Context:
    """Stands for libmilter's."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone
        self.replies: list[tuple[str, ...]] = []

    def getsymval(self, name: str) -> str | None:
        return {"i": "4Xyz"}.get(name)

    def setreply(self, *reply: str) -> None:
        if self.gone:
            raise libmilter.error("cannot set reply")
        self.replies.append(reply)

    def setpriv(self, _: object) -> None:
        pass


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted: Counter[str] = Counter()

    def count(verdict: str) -> None:
        counted[verdict] += 1

    world = snapshot()
    shared: Any = Shared(Views(lambda: world), None, None, count, lambda: NOW)
    monkeypatch.setattr(GatepostMilter, "shared", shared, raising=False)
    return counted


def connection(context: Context) -> GatepostMilter:
    made = GatepostMilter()
    made._setctx(context)
    return made


def test_an_end_without_a_message_is_a_temporary_failure(
    counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    context = Context()
    assert connection(context).eom() == Milter.TEMPFAIL
    assert context.replies == [("451", "4.7.1", "temporary failure, try again later")]
    assert counts == {"error": 1}
    assert [record.getMessage() for record in caplog.records] == [
        'tempfail queue_id=4Xyz tenant=- cause="end of message without a message"'
    ]


def test_a_reply_that_nobody_hears_is_told_of(
    counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert connection(Context(gone=True)).eom() == Milter.TEMPFAIL
    assert counts == {"error": 1}
    assert caplog.records[-1].getMessage() == ('no-reply queue_id=4Xyz cause="cannot set reply"')


def test_libmilter_that_cannot_listen_is_an_error_of_ours(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise libmilter.error("cannot opensocket")

    monkeypatch.setattr(listen.libmilter, "opensocket", refuse)
    with pytest.raises(listen.StartError, match="libmilter cannot listen"):
        listen.open_socket(tmp_path / "m", None)
