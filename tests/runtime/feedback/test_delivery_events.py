"""Deliveries of the log as events: labels out of the book, suppression, and nothing twice."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import PostfixUnavailable, StoreUnavailable
from gatepost.feedback import event_ids
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.sent import Message
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.feedback.token import Purpose, Token, day_of, message_id_of, seal_token
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.modes import Mode, Modes
from gatepost.postfix.log_facts import LogFacts
from gatepost.runtime import observer as observer_module
from gatepost.runtime.feedback import delivery_events as module
from gatepost.runtime.feedback.delivery_events import DeliveryEvents, open_outcome_stores
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.observer import Observer
from gatepost.settings.model import Settings
from gatepost.store.open import open_deliveries
from gatepost.store.sqlite_suppression import SqliteSuppression
from lab.process import wait_until
from tests.runtime import observed
from tests.world import KEYS, NOW, snapshot, tenant

HOST = "mail.example"
RULES = SuppressionRules()
MODES = Modes(feedback=Mode.ENFORCE)
ACME = tenant("acme", MODES, senders=("acme.example",))
WORLD = snapshot(ACME, tenant("quiet", Modes(suppression=Mode.OFF), senders=("quiet.example",)))


def delivery(number=1, status="sent", at=NOW, reply="250 ok", dsn="2.0.0", **changes):
    found = Delivery(
        at,
        at - 1,
        f"4Q{number}",
        "news@acme.example",
        f"u{number}@example.org",
        "",
        "mx.example.org",
        "192.0.2.1",
        status,
        dsn,
        TlsClass.ENCRYPTED if status == "sent" else TlsClass.UNKNOWN,
        reply=reply,
    )
    return replace(found, **changes)


def dead(number=1, **changes):
    fields = {"dsn": "5.1.1", "reply": "host mx said: 550 5.1.1 User unknown", **changes}
    return delivery(number, "bounced", **fields)


def full(number=1, **changes):
    fields = {"dsn": "5.2.2", "reply": "host mx said: 552 5.2.2 Mailbox full", **changes}
    return delivery(number, "bounced", **fields)


def waits(number=1, **changes):
    return delivery(number, "deferred", dsn="4.2.0", reply="450 4.2.0 Greylisted", **changes)


@pytest.fixture
def stores(tmp_path: Path):
    with contextlib.closing(open_outcome_stores(f"sqlite:///{tmp_path}/gatepost.db")) as opened:
        yield opened


@pytest.fixture
def take(stores):
    events = DeliveryEvents(stores, threading.Event(), clock=lambda: NOW + 3600)

    def take(*found, world=WORLD):
        events.take(found, HOST, world)

    return take


def kinds(stores):
    return [each.event.kind.value.partition(".")[2] for each in stores.events.after(0, 10_000)]


def suppressed(stores, number=1, name="acme"):
    found = stores.suppression.find(name, f"u{number}@example.org", NOW + 60, RULES)
    return found and found.reason


def test_a_delivery_has_the_labels_of_its_message(stores, take):
    key = message_id_of(HOST, "4Q1")
    stores.messages.add(
        [Message(key, NOW, "acme", "4Q1", "News@acme.example", "<1>", "spring", "newsletter")]
    )
    take(delivery(1), delivery(2))
    first, second = (each.event for each in stores.events.after(0, 10))
    assert (first.campaign, first.mail_type, first.sender) == (
        "spring",
        "newsletter",
        "News@acme.example",
    )
    assert first.id == event_ids.delivered_id(key.hex(), "u1@example.org")
    assert (second.campaign, second.sender) == ("", "news@acme.example")


def test_a_chunk_that_is_read_again_changes_nothing(stores, take):
    chunk = [delivery(1), dead(2), waits(3), full(4)]
    take(*chunk)
    DeliveryEvents(stores, threading.Event(), clock=lambda: NOW + 3600).take(chunk, HOST, WORLD)
    assert kinds(stores) == ["delivered", "bounced", "deferred", "bounced"]
    assert [each.count for each in stores.events.counts(0, 4e9)] == [1, 1, 1, 1]


def test_mail_of_nobody_and_to_this_host_makes_no_event(stores, take):
    take(
        delivery(sender="x@elsewhere.example"),
        delivery(sender=""),
        delivery(sender=None),
        delivery(address="127.0.0.1"),
        delivery(address="::1"),
    )
    assert kinds(stores) == []


def test_a_delay_is_told_once_an_hour_and_costs_nothing_in_between(stores, take, monkeypatch):
    take(waits(1))
    adds = []
    add = type(stores.events).add
    monkeypatch.setattr(
        type(stores.events), "add", lambda self, events: adds.append(events) or add(self, events)
    )
    take(waits(1, at=NOW + 60), waits(1, at=NOW + 120))
    assert adds == []
    take(waits(1, at=NOW + 3600), waits(1, at=NOW + 3601))
    assert kinds(stores) == ["deferred", "deferred"]


def test_delays_are_forgotten_beyond_a_number(stores, take, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    take(*(waits(number) for number in range(5)))
    # They are in the store all the same, and count once.
    take(*(waits(number) for number in range(5)))
    assert kinds(stores) == ["deferred"] * 5


def test_a_dead_address_is_suppressed_until_it_works_again(stores, take):
    take(dead(1))
    entry = stores.suppression.find("acme", "u1@example.org", NOW, RULES)
    assert (entry.reason, entry.at) == (Reason.HARD_BOUNCE, NOW)
    assert entry.source == event_ids.failure_id(message_id_of(HOST, "4Q1").hex(), "u1@example.org")
    take(delivery(1, at=NOW + 10, queue_id="4QB"))
    assert suppressed(stores) is None


def test_a_delivery_does_not_lift_what_that_very_message_came_back_with(stores, take):
    # A notice of the next server may be here before the log of the delivery to it is read.
    own = event_ids.failure_id(message_id_of(HOST, "4Q1").hex(), "u1@example.org")
    entry = Suppressed("acme", "u1@example.org", Reason.HARD_BOUNCE, NOW - 2, source=own)
    stores.suppression.add([entry], RULES)
    take(delivery(1))
    assert suppressed(stores) is Reason.HARD_BOUNCE
    take(delivery(1, queue_id="4QB"))
    assert suppressed(stores) is None


def test_within_one_chunk_what_came_last_counts(stores, take):
    take(dead(1), delivery(1, at=NOW + 10, queue_id="4QB"), delivery(2), dead(2, at=NOW + 10))
    assert suppressed(stores, 1) is None
    assert suppressed(stores, 2) is Reason.HARD_BOUNCE


def test_a_complaint_is_not_lifted_by_a_delivery(stores, take):
    stores.suppression.add(
        [Suppressed("acme", "u1@example.org", Reason.COMPLAINT, NOW - 10)], RULES
    )
    take(delivery(1))
    assert suppressed(stores) is Reason.COMPLAINT


def test_soft_bounces_suppress_after_several(stores, take):
    for number in range(RULES.soft_bounces):
        assert suppressed(stores) is None
        again = full(1, at=NOW + number, queue_id=f"4Q{number}x")
        # Read twice, counted once.
        take(again)
        take(again)
    assert suppressed(stores) is Reason.SOFT_BOUNCES


def test_a_block_and_a_delay_say_nothing_of_the_address(stores, take):
    take(
        dead(1, reply="host mx said: 550 5.7.1 Message rejected as spam", dsn="5.7.1"),
        waits(2),
    )
    assert suppressed(stores, 1) is None
    assert suppressed(stores, 2) is None


def test_where_suppression_is_off_nothing_is_suppressed(stores, take):
    take(dead(1, sender="x@quiet.example"))
    assert kinds(stores) == ["bounced"]
    assert suppressed(stores, name="quiet") is None


def test_a_tenant_that_is_no_longer_configured_keeps_its_events(stores, take):
    key = message_id_of(HOST, "4Q1")
    stores.messages.add([Message(key, NOW, "gone", "4Q1", "n@acme.example")])
    take(dead(1))
    (stored,) = stores.events.after(0, 10)
    assert stored.event.tenant == "gone"
    assert suppressed(stores, name="gone") is None


def test_young_mail_waits_for_the_book_once(stores, monkeypatch):
    stop = threading.Event()
    waited = []

    def written(seconds):
        waited.append(seconds)
        key = message_id_of(HOST, "4Q1")
        stores.messages.add([Message(key, NOW, "acme", "4Q1", "n@acme.example", "", "spring")])

    monkeypatch.setattr(stop, "wait", written)
    DeliveryEvents(stores, stop, clock=lambda: NOW + 1).take([delivery(1)], HOST, WORLD)
    (stored,) = stores.events.after(0, 10)
    assert stored.event.campaign == "spring"
    assert waited == [module.WAIT_S]
    # What is old will not come any more, and without feedback there is nothing to wait for.
    DeliveryEvents(stores, stop, clock=lambda: NOW + 60).take([delivery(2)], HOST, WORLD)
    quiet = delivery(3, sender="x@quiet.example")
    DeliveryEvents(stores, stop, clock=lambda: NOW).take([quiet], HOST, WORLD)
    assert len(waited) == 1


def test_a_message_that_the_book_lost_is_put_into_it(stores, take):
    token = Token(ACME.number, b"12345678", 1, day_of(NOW))
    sender = f"{seal_token(token, Purpose.BOUNCE, KEYS)}@bounces.example"
    take(delivery(1, sender=sender))
    found = stores.messages.find(b"12345678")
    assert (found.tenant, found.queue_id, found.recipients) == ("acme", "4Q1", ("u1@example.org",))


def test_without_a_store_the_chunk_is_taken_again(stores, take, monkeypatch):
    def failing(*_):
        raise StoreUnavailable("disk full")

    add = SqliteSuppression.add
    monkeypatch.setattr(SqliteSuppression, "add", failing)
    with pytest.raises(StoreUnavailable):
        take(dead(1), waits(2))
    monkeypatch.setattr(SqliteSuppression, "add", add)
    take(dead(1), waits(2))
    assert kinds(stores) == ["bounced", "deferred"]
    assert suppressed(stores) is Reason.HARD_BOUNCE


def test_without_the_name_of_the_host_the_log_waits(tmp_path, stores, monkeypatch):
    log = tmp_path / "mail.log"
    observed.append(log, observed.message(1))
    url = f"sqlite:///{tmp_path}/gatepost.db"
    monkeypatch.setattr(observer_module, "RETRY_FIRST_S", 0.01)
    missing = threading.Event()
    missing.set()

    def facts(_directory):
        if missing.is_set():
            raise PostfixUnavailable("no postconf")
        return LogFacts(tls_logged=True, host=HOST)

    monkeypatch.setattr(observer_module, "log_facts", facts)
    observer = Observer(
        Settings(Path("gatepost.yaml"), maillog=str(log), state=url),
        Metrics("back"),
        observed.WORLD,
        0.0,
        lambda: open_deliveries(url),
        lambda: open_outcome_stores(url),
    )
    try:
        wait_until(lambda: observer.details()["maillog_trouble"], 5, "the trouble")
        assert observer.details()["maillog_trouble"] == "postconf cannot tell myhostname"
        assert kinds(stores) == []
        missing.clear()
        wait_until(lambda: kinds(stores) == ["delivered"], 10, "the event")
    finally:
        observer.stop()
