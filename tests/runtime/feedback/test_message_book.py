"""The message book: off the path of mail, twice is once, and what the log makes up for."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.decisions.actions import Notice
from gatepost.decisions.message import decide_message
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, Token, day_of, seal_token
from gatepost.runtime import batches
from gatepost.runtime.feedback.message_book import (
    GATHER_S,
    MessageBook,
    message_of_delivery,
    open_book,
)
from gatepost.runtime.metrics import Metrics
from tests.decisions.test_accepted import FACTS, WORLD
from tests.world import KEYS, NOW

MESSAGE = Message(b"12345678", NOW, "acme", "4A", "s@acme.example", recipients=("u@b.example",))


def test_what_is_put_in_is_in_both_stores_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    metrics = Metrics("milter")
    book = MessageBook(metrics, lambda: open_book(url))
    other = Event("warning-1", EventKind.WARNING, NOW, "acme")
    for thing in (MESSAGE, other, MESSAGE):
        book.put(thing)
    assert book.stop()
    with contextlib.closing(open_book(url)) as stores:
        assert stores.messages.find(MESSAGE.id) == MESSAGE
        kinds = [each.event.kind for each in stores.events.after(0, 9)]
    assert kinds == [EventKind.ACCEPTED, EventKind.WARNING]
    assert metrics.counts()["book_stored"]["all"] == 3


def test_the_writer_is_not_woken_for_each_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering, go_on = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        assert seconds == GATHER_S
        gathering.set()
        go_on.wait(30)

    monkeypatch.setattr(batches.time, "sleep", sleep)
    book = MessageBook(Metrics("milter"), lambda: open_book(f"sqlite:///{tmp_path}/g.db"))
    book.put(MESSAGE)
    assert gathering.wait(30)
    for number in range(100):
        book.put(replace(MESSAGE, id=number.to_bytes(8, "big")))
    # Nobody has looked at them yet.
    assert book.waiting() >= 100
    go_on.set()
    assert book.stop()
    assert book.waiting() == 0


def test_an_accepted_message_is_put_in(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    book = MessageBook(Metrics("milter"), lambda: open_book(url))
    plan = decide_message(FACTS, WORLD, NOW)
    book.accepted(FACTS, plan, WORLD)
    assert book.stop()
    with contextlib.closing(open_book(url)) as stores:
        (stored,) = stores.events.after(0, 9)
    assert (stored.event.queue_id, stored.event.campaign) == ("4Xyz123", "Spring")


def test_so_are_its_warnings(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    book = MessageBook(Metrics("milter"), lambda: open_book(url))
    notice = Notice("signed-header", "Feedback-ID", "Feedback-ID was not added")
    plan = replace(decide_message(FACTS, WORLD, NOW), notices=(notice,))
    for _ in range(3):
        book.accepted(FACTS, plan, WORLD)
    assert book.stop()
    with contextlib.closing(open_book(url)) as stores:
        (stored,) = stores.events.after(0, 9, kinds=[EventKind.WARNING])
    assert stored.event.details["header"] == "Feedback-ID"


def sender(index: int = 1, purpose: Purpose = Purpose.BOUNCE, age_days: int = 0) -> str:
    (tenant,) = WORLD.tenants.by_id.values()
    token = Token(tenant.number, b"12345678", index, day_of(NOW) - age_days)
    return f"{seal_token(token, purpose, KEYS)}@bounces.example"


def test_the_log_gives_a_message_back():
    found = message_of_delivery(sender(), "u@b.example", "4A", NOW, WORLD)
    assert found == Message(b"12345678", NOW, "acme", "4A", recipients=("u@b.example",))
    upper = sender().upper()
    assert message_of_delivery(upper, "u@b.example", "4A", NOW, WORLD) == found


@pytest.mark.parametrize(
    "other",
    [
        sender(0), sender(2), sender(purpose=Purpose.COMPLAINT), sender(age_days=61), "",
        "u@b.example", sender().replace("bounces", "other"), "x@bounces.example", "nobody",
    ],
)  # fmt: skip
def test_the_log_tells_no_more_than_it_knows(other):
    assert message_of_delivery(other, "u@b.example", "4A", NOW, WORLD) is None
