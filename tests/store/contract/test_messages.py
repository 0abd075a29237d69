"""What every store must do with the message book."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.store import postgres_messages
from gatepost.store import sqlite_messages as module
from gatepost.store.messages import MAX_RECIPIENTS, REUSED_S, Message, MessageStore
from gatepost.store.open import open_messages

NOW = 1_800_000_000.0
MESSAGE = Message(
    b"\x00\x01\x02\x03\xff\xfe\x0a\x00", NOW, "acme", "4XyZ", "sales@acme.example",
    "<1@acme.example>", "Spring Sale", "marketing", ("a@b.example", '"x y"@b.example'),
)  # fmt: skip


@pytest.fixture
def messages(url: str) -> Iterator[MessageStore]:
    with contextlib.closing(open_messages(url)) as opened:
        yield opened


def numbered(number: int, at: float = NOW) -> Message:
    return replace(MESSAGE, id=number.to_bytes(8, "big"), at=at)


def test_a_message_is_found_as_it_was_added(messages):
    messages.add([MESSAGE, replace(numbered(1), recipients=())])
    assert messages.find(MESSAGE.id) == MESSAGE
    assert messages.find(numbered(1).id).recipients == ()
    assert messages.find(b"\0" * 8) is None
    assert messages.find(b"") is None


def test_many_are_found_at_once_without_their_recipients(messages, monkeypatch):
    monkeypatch.setattr(module, "FIND_ROWS", 2)
    messages.add([MESSAGE, *(numbered(number) for number in range(1, 5))])
    ids = [MESSAGE.id, *(numbered(number).id for number in range(1, 4)), b"\0" * 8]
    found = messages.find_all(ids)
    assert set(found) == set(ids[:-1])
    assert found[MESSAGE.id] == replace(MESSAGE, recipients=())
    assert messages.find_all([]) == {}


def test_the_first_of_an_id_stays(messages):
    messages.add([MESSAGE])
    messages.add([replace(MESSAGE, tenant="other", at=NOW + 9), numbered(1)])
    assert messages.find(MESSAGE.id) == MESSAGE
    assert messages.find(numbered(1).id) is not None


def test_what_only_the_log_told_is_replaced(messages):
    messages.add([replace(MESSAGE, sender="", campaign="", recipients=("a@b.example",))])
    messages.add([replace(MESSAGE, sender="")])
    assert messages.find(MESSAGE.id).campaign == ""
    messages.add([MESSAGE])
    assert messages.find(MESSAGE.id) == MESSAGE


def test_recipients_are_bounded(messages):
    many = tuple(f"{number}@b.example" for number in range(MAX_RECIPIENTS + 5))
    messages.add([replace(MESSAGE, recipients=many)])
    assert messages.find(MESSAGE.id).recipients == many[:MAX_RECIPIENTS]


def test_hostile_texts_come_back_as_text(messages):
    messages.add([replace(MESSAGE, sender="\udcff@x", recipients=("a\nb@c", "\udcfe@x"))])
    found = messages.find(MESSAGE.id)
    assert found.sender == "\\udcff@x"
    assert found.recipients == ("a b@c", "\\udcfe@x")


def test_an_index_names_a_recipient():
    assert MESSAGE.recipient(1) == "a@b.example"
    assert MESSAGE.recipient(2) == '"x y"@b.example'
    assert MESSAGE.recipient(0) == MESSAGE.recipient(3) == MESSAGE.recipient(-1) == ""


def test_old_messages_go_in_steps(messages, monkeypatch):
    for each in (module, postgres_messages):
        monkeypatch.setattr(each, "PRUNE_ROWS", 3)
        monkeypatch.setattr(each, "_PRUNE", each._PRUNE.replace("20000", "3"))
    messages.add([numbered(number, NOW + number) for number in range(10)])
    assert messages.prune(NOW) == 0
    assert messages.prune(NOW + 8) == 8
    assert messages.find(numbered(7).id) is None
    assert messages.find(numbered(8).id) is not None
    assert messages.prune(NOW + 8) == 0


def test_a_store_that_is_gone_says_so(url):
    with pytest.raises(StoreUnavailable):
        open_messages(url + "/nowhere/x.db")


def test_a_queue_id_that_came_again_is_the_later_message(messages):
    messages.add([MESSAGE, replace(MESSAGE, id=b"other...")])
    later = replace(MESSAGE, at=MESSAGE.at + REUSED_S + 1, recipients=("later@b.example",))
    messages.add([later])
    assert messages.find(MESSAGE.id) == later
    # Nor does what the log tells of a late delivery take the place of the message.
    messages.add([replace(later, at=later.at + 9 * REUSED_S, sender="", recipients=())])
    assert messages.find(MESSAGE.id) == later
    # It stands among the newest, and so keeps no older one from being pruned.
    assert messages.prune(MESSAGE.at + 1) == 1
    assert messages.find(MESSAGE.id) == later


def test_a_clock_that_was_wrong_keeps_nothing_from_going(messages, monkeypatch):
    monkeypatch.setattr(module, "PRUNE_ROWS", 2)
    now = time.time()
    wrong = [replace(MESSAGE, id=b"wrong%03d" % n, at=now + 1e8) for n in range(5)]
    old = [replace(MESSAGE, id=b"old..%03d" % n, at=now - 100) for n in range(3)]
    young = replace(MESSAGE, id=b"young...", at=now - 1)
    messages.add([*wrong, *old, young])
    assert messages.prune(now - 50) == 3
    assert messages.find(young.id) == young
    assert messages.find(wrong[0].id) == wrong[0]
