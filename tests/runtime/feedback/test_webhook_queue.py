"""What a webhook sends next, and what becomes of it, without a network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.feedback.events import EventKind
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import GIVE_UP_S, Reply
from gatepost.runtime.feedback.webhook_queue import Fate, WebhookQueue
from gatepost.store.open import open_events, open_webhooks
from gatepost.store.sqlite_events import SCAN_ROWS
from gatepost.store.webhooks import Burials, Span
from tests.runtime.consumer import SECRET
from tests.runtime.told import Clock, at, event, some


class Queue:
    """The queue alone, without a network."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.events = open_events(url)
        self.hooks = open_webhooks(url)
        self.queue = WebhookQueue(self.events, self.hooks, clock, lambda: 0.5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    found = Queue(f"sqlite:///{tmp_path}/gatepost.db", clock)
    yield found
    found.queue.close()


PLAIN = Webhook("acme", "https://a.example/", SECRET)


def test_what_nobody_asked_for_is_passed_over_without_a_row_each_time(queue: Queue) -> None:
    bounces = replace(PLAIN, kinds=frozenset({EventKind.BOUNCED}))
    queue.queue.look(["acme"])
    queue.events.add(some(SCAN_ROWS // 2))
    assert queue.queue.look(["acme"]).due == ["acme"]
    assert queue.queue.next(bounces) is None
    assert queue.queue.look(["acme"]).due == []
    assert at(queue.hooks).position == 0
    queue.events.add(some(SCAN_ROWS, first=SCAN_ROWS))
    while (work := queue.queue.next(bounces)) is not None:
        assert work.events == ()
    assert at(queue.hooks).position >= SCAN_ROWS
    # A batch that stands behind much else is found again whole, by whoever looks for it afresh.
    bounced = [event(10**6 + number, kind=EventKind.BOUNCED) for number in range(3)]
    queue.events.add(bounced[:2])
    queue.events.add(some(SCAN_ROWS, first=5 * SCAN_ROWS))
    queue.hooks.move("acme", 0)
    while (work := queue.queue.next(bounces)) is None or not work.events:
        pass
    queue.events.add(bounced[2:])
    other = WebhookQueue(queue.events, queue.hooks, time.time)
    assert other.next(bounces) == work
    assert list(work.events) == bounced[:2]


def test_whoever_fails_is_due_when_its_time_has_come(queue: Queue, clock: Clock) -> None:
    queue.queue.look(["acme", "beta"])
    queue.events.add(some(1))
    work = queue.queue.next(PLAIN)
    assert work is not None
    assert queue.queue.settle(PLAIN, work, Reply("no")).wait_s == 5
    clock.now += 4.9
    assert queue.queue.look(["acme", "beta"]).due == ["beta"]
    queue.queue.recover(["acme"])
    assert queue.queue.look(["acme"]).due == ["acme"]
    queue.queue.settle(PLAIN, work, Reply("no"))
    clock.now += 10.1
    assert queue.queue.look(["acme"]).due == ["acme"]


def test_another_database(queue: Queue, tmp_path: Path) -> None:
    bounces = replace(PLAIN, kinds=frozenset({EventKind.BOUNCED}))
    queue.queue.look(["acme"])
    queue.events.add(some(9))
    assert queue.queue.next(bounces) is None
    for each in tmp_path.glob("gatepost.db*"):
        each.unlink()
    queue.queue.look(["acme"])
    queue.events.add([event(1, kind=EventKind.BOUNCED)])
    work = queue.queue.next(bounces)
    assert work is not None
    assert len(work.events) == 1


def test_dead_letters_whose_events_have_gone(queue: Queue, clock: Clock) -> None:
    queue.queue.look(["acme"])
    queue.events.add(some(1))
    work = queue.queue.next(PLAIN)
    assert work is not None
    failed = Reply("status 500", 500)
    assert queue.queue.settle(PLAIN, work, failed).fate is Fate.FAILED
    clock.now += GIVE_UP_S
    assert queue.queue.settle(PLAIN, work, failed).fate is Fate.GIVEN_UP
    assert queue.hooks.burials() == {"acme": Burials(1, 1, 0)}
    queue.events.prune(clock.now + 1)
    queue.hooks.requeue("acme")
    assert queue.queue.look(["acme"]).due == ["acme"]
    found = queue.queue.next(PLAIN)
    assert found is not None
    assert found.events == ()
    assert queue.queue.next(PLAIN) is None
    assert queue.hooks.dead() == []


def test_a_dead_letter_that_fails_again_is_dead_again(queue: Queue, clock: Clock) -> None:
    queue.queue.look(["acme"])
    queue.events.add(some(1))
    for _ in range(2):
        work = queue.queue.next(PLAIN)
        assert work is not None
        queue.queue.settle(PLAIN, work, Reply("no"))
        clock.now += GIVE_UP_S
        assert queue.queue.settle(PLAIN, work, Reply("no")).fate is Fate.GIVEN_UP
        [letter] = queue.hooks.requeue("acme")
        assert letter.span == Span(0, 1)
    assert letter.tries == 4
    assert at(queue.hooks).position == 1


def test_of_two_nodes_one_tells_a_webhook_and_the_other_takes_its_place(queue: Queue) -> None:
    queue.queue.look(["acme"])
    queue.events.add(some(3))
    first = WebhookQueue(queue.events, queue.hooks, time.time, node="mx1")
    second = WebhookQueue(queue.events, queue.hooks, time.time, node="mx2")
    work = first.next(PLAIN)
    assert work is not None
    assert second.next(PLAIN) is None
    # A start anew, after a kill, goes on with the batch that was begun.
    assert WebhookQueue(queue.events, queue.hooks, time.time, node="mx1").next(PLAIN) == work
    assert second.next(PLAIN) is None
    queue.hooks.release("mx1")
    assert second.next(PLAIN) == work
    assert first.next(PLAIN) is None
