"""What follows from a report: events and suppression, each once, whoever is killed when."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.feedback import event_ids
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.report import (
    Classified,
    FoundToken,
    Kind,
    Report,
    ReportedRecipient,
    Severity,
)
from gatepost.feedback.rules import FeedbackRules
from gatepost.feedback.sent import Message
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.feedback.token import Purpose, Token, day_of
from gatepost.feedback.trust import Authentication, Judgement, Result
from gatepost.runtime.feedback import effects as module
from gatepost.runtime.feedback.effects import Effects, FeedbackStores, open_feedback_stores
from gatepost.tenants.model import tenant_number
from tests.world import NOW, snapshot, tenant

ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
MESSAGE = Message(
    ID, NOW - 60, "acme", "4Xyz", "news@acme.example", "<1@acme.example>", "Spring", "marketing",
    ("u@b.example", "v@c.example"),
)  # fmt: skip
YAHOO = Authentication(("arf.mail.yahoo.com",))
NOBODY = Authentication()
HARD = Classified("invalid-recipient", Severity.HARD, "no-such-user", "it says so")
SOFT = Classified("mailbox-full", Severity.SOFT, "full", "it says so")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[FeedbackStores]:
    with contextlib.closing(open_feedback_stores(f"sqlite:///{tmp_path}/g.db")) as opened:
        opened.messages.add([MESSAGE])
        yield opened


@pytest.fixture
def effects(stores: FeedbackStores) -> Effects:
    configuration = replace(
        snapshot(tenant("acme")), feedback=FeedbackRules(frozenset({"arf.own.example"}))
    )
    return Effects(lambda: stores, lambda: configuration)


def token(purpose: Purpose, index: int = 1, owner: str = "acme") -> FoundToken:
    made = Token(tenant_number(owner), ID, index, day_of(NOW))
    return FoundToken(made, purpose, "CFBL-Feedback-ID")


def complaint(index: int = 1) -> Report:
    return Report(
        Kind.COMPLAINT, "arf", "arf.mail.yahoo.com", "abuse",
        token=token(Purpose.COMPLAINT, index), incidents=500,
    )  # fmt: skip


def bounce(classified: Classified | None, index: int = 1) -> Report:
    reported = ReportedRecipient("u@b.example", "5.1.1", "failed", "550 no such user", classified)
    return Report(
        Kind.BOUNCE, "dsn", "b.example", recipients=(reported,), token=token(Purpose.BOUNCE, index)
    )


UNSUBSCRIBE = Report(Kind.UNSUBSCRIBE, "list-unsubscribe", token=token(Purpose.UNSUBSCRIBE))


def apply(effects: Effects, report: Report, proven: Authentication, key: str = "m1.0") -> Judgement:
    judgement = effects.apply(report, proven, key, NOW, last=True)
    assert judgement is not None
    return judgement


def events(stores: FeedbackStores) -> list[Event]:
    return [each.event for each in stores.events.after(0, 100)]


def suppressed(stores: FeedbackStores, address: str = "u@b.example") -> Suppressed | None:
    return stores.suppression.find("acme", address, NOW, snapshot().suppression)


def test_a_complaint_names_tenant_campaign_and_recipient(effects, stores):
    assert apply(effects, complaint(), YAHOO).result is Result.BELIEVED
    (event,) = events(stores)
    assert event == Event(
        event_ids.complaint_id(ID.hex(), "u@b.example"), EventKind.COMPLAINED, NOW, "acme",
        ID.hex(), "4Xyz", "news@acme.example", "u@b.example", "Spring", "marketing", "b.example",
        "arf.mail.yahoo.com", {"format": "arf", "type": "abuse"},
    )  # fmt: skip
    found = suppressed(stores)
    assert found is not None
    assert (found.reason, found.expires, found.source) == (Reason.COMPLAINT, None, event.id)
    assert suppressed(stores, "v@c.example") is None
    (row,) = stores.received.latest(9)
    assert (row.id, row.result, row.tenant, row.events) == ("m1.0", "believed", "acme", (event.id,))


def test_who_was_killed_does_it_again_and_doubles_nothing(effects, stores):
    for _ in range(3):
        assert apply(effects, complaint(), YAHOO).result is Result.BELIEVED
    assert len(events(stores)) == 1
    assert [each.count for each in stores.events.counts(0, NOW + 1)] == [1]
    assert len(stores.received.latest(9)) == 1


@pytest.mark.parametrize("place", ["events.add", "suppression.add", "received.add"])
@pytest.mark.parametrize("before", [True, False])
def test_killed_at_each_place(effects, stores, monkeypatch, place, before):
    name, method = place.split(".")
    kind = type(getattr(stores, name))
    real: Callable[..., object] = getattr(kind, method)

    def killed(*arguments: object) -> None:
        if not before:
            real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kind, method, killed)
        with pytest.raises(KeyboardInterrupt):
            apply(effects, complaint(), YAHOO)
    assert apply(effects, complaint(), YAHOO).result is Result.BELIEVED
    assert len(events(stores)) == 1
    assert suppressed(stores) is not None
    assert len(stores.received.latest(9)) == 1


def test_a_replayed_complaint_does_not_suppress_again(effects, stores):
    apply(effects, complaint(), YAHOO)
    stores.suppression.remove("acme", "u@b.example", snapshot().suppression)
    judgement = apply(effects, complaint(), YAHOO, "m2.0")
    assert judgement.result is Result.REPEATED
    assert suppressed(stores) is None
    assert len(events(stores)) == 1
    assert stores.received.latest(1)[0].result == "repeated"


def test_the_other_recipient_may_complain_as_well(effects, stores):
    apply(effects, complaint(), YAHOO)
    assert apply(effects, complaint(2), YAHOO, "m2.0").result is Result.BELIEVED
    assert [each.recipient for each in events(stores)] == ["u@b.example", "v@c.example"]


@pytest.mark.parametrize(
    ("report", "proven", "result"),
    [
        (complaint(), NOBODY, Result.UNAUTHENTICATED),
        (complaint(), Authentication(("evil.example",)), Result.UNAUTHENTICATED),
        (replace(complaint(), token=None), YAHOO, Result.NO_TOKEN),
        (replace(complaint(), token=token(Purpose.BOUNCE)), YAHOO, Result.NO_TOKEN),
        (replace(complaint(), token=token(Purpose.COMPLAINT, 3)), YAHOO, Result.NOT_SENT),
        (
            replace(complaint(), token=token(Purpose.COMPLAINT, owner="other")),
            YAHOO,
            Result.NOT_SENT,
        ),
        (replace(complaint(), kind=Kind.NOT_SPAM), YAHOO, Result.COUNTED),
        (replace(complaint(), kind=Kind.AUTH_FAILURE), YAHOO, Result.COUNTED),
        (replace(bounce(HARD), token=None), NOBODY, Result.NO_TOKEN),
        (bounce(HARD, 0), NOBODY, Result.UNAUTHENTICATED),
        (replace(UNSUBSCRIBE, token=token(Purpose.COMPLAINT)), YAHOO, Result.NO_TOKEN),
    ],
)  # fmt: skip
def test_what_is_not_believed_is_shown_and_changes_nothing(effects, stores, report, proven, result):
    assert apply(effects, report, proven).result is result
    assert events(stores) == []
    assert suppressed(stores) is None
    (row,) = stores.received.latest(9)
    assert (row.result, row.events) == (result.value, ())
    assert row.reason


def test_the_operators_own_reporters_are_believed(effects):
    own = Authentication(("arf.own.example",))
    assert apply(effects, complaint(), own).result is Result.BELIEVED


def test_a_hard_bounce_expires(effects, stores):
    apply(effects, bounce(HARD), NOBODY)
    (event,) = events(stores)
    assert event.kind is EventKind.BOUNCED
    assert event.id == event_ids.failure_id(ID.hex(), "u@b.example")
    assert event.details == {
        "format": "dsn", "status": "5.1.1", "class": "invalid-recipient", "severity": "hard",
        "rule": "no-such-user", "reply": "550 no such user",
    }  # fmt: skip
    found = suppressed(stores)
    assert found is not None
    assert found.reason is Reason.HARD_BOUNCE
    assert found.expires == NOW + snapshot().suppression.hard_bounce_s


def test_a_bounce_that_the_log_told_of_first_suppresses_and_counts_once(effects, stores):
    key = event_ids.failure_id(ID.hex(), "u@b.example")
    stores.events.add([Event(key, EventKind.BOUNCED, NOW - 1, "acme")])
    assert apply(effects, bounce(HARD), NOBODY).result is Result.BELIEVED
    assert len(events(stores)) == 1
    assert suppressed(stores) is not None


def test_soft_bounces_add_up_and_one_counts_once(effects, stores):
    for number in range(5):
        message = replace(MESSAGE, id=bytes([number]) * 8)
        stores.messages.add([message])
        found = Token(tenant_number("acme"), message.id, 1, day_of(NOW))
        report = replace(bounce(SOFT), token=FoundToken(found, Purpose.BOUNCE, "x"))
        assert suppressed(stores) is None
        for _ in range(2):
            apply(effects, report, NOBODY, f"m{number}.0")
    found = suppressed(stores)
    assert found is not None
    assert found.reason is Reason.SOFT_BOUNCES


@pytest.mark.parametrize(
    "classified", [None, Classified("spam-block", Severity.NONE, "spam", "not the address")]
)
def test_a_block_says_nothing_of_the_address(effects, stores, classified):
    apply(effects, bounce(classified), NOBODY)
    assert len(events(stores)) == 1
    assert suppressed(stores) is None


def test_a_delay_is_no_bounce(effects, stores):
    delayed = ReportedRecipient("u@b.example", "4.4.1", "delayed", "timed out", SOFT)
    report = replace(bounce(None), kind=Kind.AUTO_REPLY, recipients=(delayed,))
    assert apply(effects, report, NOBODY).result is Result.COUNTED
    (event,) = events(stores)
    assert event.kind is EventKind.DEFERRED
    assert suppressed(stores) is None


def test_an_unsubscription_by_mail_holds_again_after_it_was_lifted(effects, stores):
    for number in range(2):
        assert apply(effects, UNSUBSCRIBE, NOBODY, f"m{number}.0").result is Result.BELIEVED
        found = suppressed(stores)
        assert found is not None
        assert found.reason is Reason.UNSUBSCRIBE
        stores.suppression.remove("acme", "u@b.example", snapshot().suppression)
    assert [each.kind for each in events(stores)] == [EventKind.UNSUBSCRIBED]


def test_one_click(effects, stores):
    assert effects.unsubscribe(token(Purpose.UNSUBSCRIBE, 2).token, NOW)
    assert effects.unsubscribe(token(Purpose.UNSUBSCRIBE, 2).token, NOW)
    (event,) = events(stores)
    assert (event.kind, event.recipient) == (EventKind.UNSUBSCRIBED, "v@c.example")
    assert suppressed(stores, "v@c.example") is not None
    assert not effects.unsubscribe(token(Purpose.UNSUBSCRIBE, 0).token, NOW)
    assert not effects.unsubscribe(token(Purpose.UNSUBSCRIBE, 3).token, NOW)
    assert not effects.unsubscribe(token(Purpose.UNSUBSCRIBE, 1, "other").token, NOW)
    assert len(events(stores)) == 1


def test_a_message_that_is_not_in_the_book_yet_is_waited_for(effects, stores):
    early = Token(tenant_number("acme"), b"87654321", 1, day_of(NOW))
    report = replace(complaint(), token=FoundToken(early, Purpose.COMPLAINT, "x"))
    assert effects.apply(report, YAHOO, "m1.0", NOW, last=False) is None
    assert stores.received.latest(9) == []
    stores.messages.add([replace(MESSAGE, id=b"87654321")])
    found = effects.apply(report, YAHOO, "m1.0", NOW, last=False)
    assert found is not None
    assert found.result is Result.BELIEVED


def test_a_reporter_that_says_too_much_is_held(effects, stores, monkeypatch):
    monkeypatch.setattr(module, "MAX_COMPLAINTS_AN_HOUR", 1)
    apply(effects, complaint(), YAHOO)
    assert apply(effects, complaint(2), YAHOO, "m2.0").result is Result.OVER_LIMIT
    assert len(events(stores)) == 1
    assert suppressed(stores, "v@c.example") is None
    # The next try, after the operator has looked at it, does not find itself in the way.
    monkeypatch.undo()
    assert apply(effects, complaint(2), YAHOO, "m2.0").result is Result.BELIEVED


def test_a_complaint_counts_at_the_provider_that_the_delivery_counted_at(effects, stores):
    key = event_ids.delivered_id(ID.hex(), "u@b.example")
    stores.events.add([Event(key, EventKind.DELIVERED, NOW - 1, "acme", provider="yahoodns.net")])
    apply(effects, complaint(), YAHOO)
    assert events(stores)[-1].provider == "yahoodns.net"


@pytest.mark.parametrize(
    ("sender", "days", "known"),
    [
        ("s@acme.example", 0, True),
        ("s@acme.example", 1, True),
        ("s@acme.example", 2, False),
        ("s@acme.example", -2, False),
        # Only the log told of it, when it was delivered.
        ("", 5, True),
        ("", 31, False),
    ],
)
def test_a_queue_id_that_came_again_is_not_taken_for_the_message(
    effects, stores, sender, days, known
):
    made = Token(tenant_number("acme"), b"again...", 1, day_of(NOW))
    at = NOW + days * 86_400
    again = replace(MESSAGE, id=made.message, sender=sender, at=at)
    stores.messages.add([again])
    report = replace(complaint(), token=replace(token(Purpose.COMPLAINT), token=made))
    expected = Result.BELIEVED if known else Result.NOT_SENT
    assert apply(effects, report, YAHOO).result is expected
    assert effects.unsubscribe(made, NOW) is known
