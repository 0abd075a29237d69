"""What libmilter never does, and Postfix does only when it dies: the callbacks without either."""

from __future__ import annotations

from collections import Counter
from typing import Any

import Milter
import milter as libmilter
import pytest

from gatepost.decisions.actions import Admission, DeleteRecipient
from gatepost.tenants.model import PlatformLogin
from milters import listen
from milters.adapter import GatepostMilter
from milters.context import Shared, Views
from milters.edits import RIGHTS
from tests.world import NOW, snapshot, tenant


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


def test_a_recipient_that_was_deleted_is_not_in_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back can be about those alone to whom the message went."""

    class Editable(Context):
        def getsymval(self, name: str) -> str | None:
            return {"i": "4Xyz", "j": "mail.example", "{auth_authen}": "mailer"}.get(name)

        def __getattr__(self, _: str) -> Any:
            return lambda *_: None

    booked: list[tuple[str, ...]] = []
    world = snapshot(
        tenant("acme", senders=("acme.example",)),
        logins=[PlatformLogin("mailer", frozenset({"acme"}))],
    )
    gone = Admission(edits=(DeleteRecipient("bad@b.example"),))
    shared: Any = Shared(
        Views(lambda: world),
        None,
        lambda *_: gone,
        lambda _: None,
        lambda: NOW,
        accepted=lambda facts, *_: booked.append(facts.recipients),
    )
    monkeypatch.setattr(GatepostMilter, "shared", shared, raising=False)
    milter = connection(Editable())
    milter._actions = RIGHTS
    milter.envfrom_bytes(b"<news@acme.example>")
    for recipient in (b"<bad@b.example>", b"<good@b.example>"):
        milter.envrcpt_bytes(recipient)
    milter.header_bytes("X-Tenant-ID", b"acme")
    assert milter.eom() == Milter.CONTINUE
    assert booked == [("good@b.example",)]
