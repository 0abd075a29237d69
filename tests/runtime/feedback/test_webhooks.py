"""Webhooks tell every event at least once, in order, whatever consumers and processes do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import EventKind
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import GIVE_UP_S, MAX_EVENTS
from gatepost.runtime.feedback.webhook_queue import WebhookQueue
from gatepost.runtime.feedback.webhooks import Webhooks
from gatepost.runtime.metrics import Metrics
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_webhooks
from gatepost.store.webhooks import WebhookStore
from tests.runtime.consumer import SECRET, Behaviour, Consumer, answers, closes, hangs
from tests.runtime.told import TIMEOUT_S, Clock, at, event, hook, ids, some, until, world


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def events(url: str) -> Iterator[EventStore]:
    with contextlib.closing(open_events(url)) as opened:
        yield opened


@pytest.fixture
def hooks(url: str) -> Iterator[WebhookStore]:
    with contextlib.closing(open_webhooks(url)) as opened:
        yield opened


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    found = Consumer()
    yield found
    found.stop()


class Running:
    """Webhooks in this process."""

    def __init__(self, url: str, clock: Clock, *webhooks: Webhook) -> None:
        self.metrics = Metrics("back")
        self.webhooks = Webhooks(
            world(*webhooks),
            lambda: WebhookQueue(open_events(url), open_webhooks(url), clock, lambda: 0.5),
            self.metrics,
            look_s=0.01,
        )

    def count(self, labels: str) -> float:
        return self.metrics.counts().get("webhook_batches", {}).get(labels, 0)


Start = Callable[..., Running]


@pytest.fixture
def start(url: str, clock: Clock) -> Iterator[Start]:
    running: list[Running] = []

    def begin(*webhooks: Webhook) -> Running:
        # As it would be if they had been there before: from the first event on.
        with contextlib.closing(open_webhooks(url)) as hooks:
            hooks.enter([each.name for each in webhooks], 0)
        running.append(Running(url, clock, *webhooks))
        return running[-1]

    yield begin
    for each in running:
        each.webhooks.stop()
        assert not each.webhooks._thread.is_alive()


def test_events_arrive_in_order_and_in_batches(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start
) -> None:
    all_of_them = some(2 * MAX_EVENTS + 3)
    events.add(all_of_them)
    running = start(hook(consumer))
    first, second, third = consumer.take(3)
    assert [len(each.events) for each in (first, second, third)] == [MAX_EVENTS, MAX_EVENTS, 3]
    assert consumer.ids() == ids(all_of_them)
    assert len({each.id for each in consumer.all}) == 3
    body = first.verified()
    assert body["type"] == "batch"
    assert body["timestamp"] == max(each["timestamp"] for each in first.events)
    until(lambda: at(hooks).position == events.end())
    events.add([event(1000)])
    assert consumer.take()[0].event_ids == ["acme-1000"]
    until(lambda: running.count("acme ok") == 4)
    assert running.webhooks.attention() == []


def test_a_new_webhook_begins_at_the_end(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, url: str, clock: Clock
) -> None:
    events.add(some(3))
    running = Running(url, clock, hook(consumer))
    try:
        until(lambda: hooks.state("acme"))
        events.add([event(9)])
        assert consumer.take()[0].event_ids == ["acme-9"]
    finally:
        running.webhooks.stop()


def test_each_gets_what_it_asked_for(consumer: Consumer, events: EventStore, start: Start) -> None:
    events.add(
        [
            event(1),
            event(2, "beta"),
            event(3, "acme", EventKind.BOUNCED),
            event(4, "", EventKind.WARNING),
        ]
    )
    start(
        hook(consumer, "all"),
        hook(consumer, "beta", tenant="beta"),
        hook(consumer, "bounces", kinds=frozenset({EventKind.BOUNCED})),
    )
    got = {each.path: each.event_ids for each in consumer.take(3)}
    assert got == {
        "/all": ["acme-1", "beta-2", "acme-3", "-4"],
        "/beta": ["beta-2"],
        "/bounces": ["acme-3"],
    }


def test_a_failed_batch_comes_again_as_it_was(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start, clock: Clock
) -> None:
    consumer.next = [answers(500, "no"), closes, answers(302, Location="/x"), answers(429)]
    events.add(some(3))
    running = start(hook(consumer))
    waits = []
    for number in range(4):
        consumer.take()
        until(lambda: at(hooks).tries == number + 1)  # noqa: B023
        waits.append(round(at(hooks).next_at - clock.now))
        # What comes meanwhile waits behind it.
        events.add([event(100 + number)])
        clock.now = at(hooks).next_at
    assert waits == [5, 10, 20, 40]
    consumer.take(2)
    until(lambda: at(hooks).position == events.end())
    requests = consumer.all
    assert len({each.id for each in requests[:5]}) == 1
    assert len({each.body for each in requests[:5]}) == 1
    assert requests[4].event_ids == ids(some(3))
    assert requests[5].event_ids == [f"acme-{100 + n}" for n in range(4)]
    assert (at(hooks).tries, at(hooks).error) == (0, "status 429")
    until(lambda: running.count("acme failed") == 4)


def test_a_consumer_may_ask_for_time(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start, clock: Clock
) -> None:
    consumer.next = [answers(429, Retry_After="600"), answers(503, Retry_After="9999999")]
    events.add(some(1))
    start(hook(consumer))
    consumer.take()
    until(lambda: at(hooks).tries == 1)
    assert at(hooks).next_at - clock.now == 600
    clock.now += 600
    consumer.take()
    until(lambda: at(hooks).tries == 2)
    assert 3600 <= at(hooks).next_at - clock.now <= 4320


def test_one_that_hangs_delays_no_other(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start
) -> None:
    slow = Consumer()
    slow.behaviour = hangs
    try:
        events.add(some(1))
        running = start(hook(slow, "slow"), hook(consumer, "quick"))
        slow.take()
        consumer.take()
        for number in range(10, 13):
            events.add([event(number)])
            assert consumer.take()[0].event_ids == [f"acme-{number}"]
        assert len(slow.all) == 1
        assert at(hooks, "slow").position == 0
        lag = running.metrics.registry.get_sample_value(
            "gatepost_webhook_lag_seconds", {"webhook": "slow"}
        )
        assert lag is not None
        assert lag > 0
        # It does not hold up the end either.
        running.webhooks.stop()
        assert not running.webhooks._thread.is_alive()
    finally:
        slow.stop()


def test_after_three_days_a_batch_is_given_up_and_the_next_one_goes_out(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start, clock: Clock
) -> None:
    consumer.next = [answers(500, "poison")] * 2
    events.add(some(2))
    running = start(hook(consumer))
    consumer.take()
    until(lambda: at(hooks).tries == 1)
    events.add(some(1, first=7))
    clock.now += GIVE_UP_S
    _, after = consumer.take(2)
    assert after.event_ids == ["acme-7"]
    [letter] = hooks.dead("acme")
    assert (letter.events, letter.tries, letter.error) == (2, 2, "status 500: poison")
    until(running.webhooks.attention)
    assert "2 events were given up" in running.webhooks.attention()[0]
    # What is sent again has the same id, and the stream stays where it is.
    until(lambda: at(hooks).position == events.end())
    hooks.requeue("acme")
    again = consumer.take()[0]
    assert (again.id, again.body) == (consumer.all[0].id, consumer.all[0].body)
    until(lambda: not hooks.dead())
    assert at(hooks).position == events.end()
    until(lambda: running.webhooks.attention() == [])


def test_whoever_is_gone_is_left_alone_until_the_next_reload(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start, clock: Clock
) -> None:
    consumer.next = [answers(410)]
    events.add(some(1))
    other = hook(consumer, "other", tenant="beta")
    running = start(hook(consumer), other)
    consumer.take()
    until(lambda: at(hooks).gone)
    clock.now += 2 * GIVE_UP_S
    # Whoever is told of these has looked for what is due twice since then.
    for number in range(2):
        events.add([event(number, "beta")])
        assert consumer.take()[0].path == "/other"
    until(running.webhooks.attention)
    assert "410" in running.webhooks.attention()[0]
    assert [each.path for each in consumer.all] == ["/acme", "/other", "/other"]
    running.webhooks.reloaded(world(hook(consumer), other))
    assert consumer.take()[0].event_ids == ["acme-0"]
    until(lambda: at(hooks).position == events.end())


def test_reload_adds_and_removes(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start
) -> None:
    running = start(hook(consumer, "a"))
    events.add(some(1))
    assert consumer.take()[0].path == "/a"
    running.webhooks.reloaded(world(hook(consumer, "b")))
    until(lambda: "b" in hooks.states())
    events.add(some(1, first=5))
    got = consumer.take()[0]
    assert (got.path, got.event_ids) == ("/b", ["acme-5"])
    # Who comes back goes on where it was.
    running.webhooks.reloaded(world(hook(consumer, "a"), hook(consumer, "b")))
    got = consumer.take()[0]
    assert (got.path, got.event_ids) == ("/a", ["acme-5"])


def held(release: threading.Event) -> Behaviour:
    """Return what answers when it is told to."""

    async def behaviour(request: web.Request) -> web.StreamResponse:
        await asyncio.get_running_loop().run_in_executor(None, release.wait, TIMEOUT_S)
        return await answers(200)(request)

    return behaviour


def test_one_that_is_taken_out_sends_no_more_than_the_batch_in_hand(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start
) -> None:
    release = threading.Event()
    consumer.next = [held(release)]
    events.add(some(3 * MAX_EVENTS))
    running = start(hook(consumer))
    consumer.take()
    running.webhooks.reloaded(world())
    until(lambda: not running.webhooks._hooks)
    release.set()
    until(lambda: not running.webhooks._tasks)
    assert at(hooks).position == MAX_EVENTS
    assert len(consumer.all) == 1


def test_a_webhook_that_is_moved_back_tells_again(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, start: Start
) -> None:
    release = threading.Event()
    events.add(some(3))
    consumer.next = [held(release)]
    start(hook(consumer))
    consumer.take()
    # Even in the middle of a request, which then does not move it on.
    events.add(some(1, first=7))
    hooks.move("acme", 1)
    release.set()
    assert consumer.take()[0].event_ids == ["acme-1", "acme-2", "acme-7"]


def test_without_the_store_nothing_is_sent_and_nothing_lost(
    consumer: Consumer, events: EventStore, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    events.add(some(1))
    with contextlib.closing(open_webhooks(url)) as hooks:
        hooks.enter(["acme"], 0)
    failures = iter([True, True, False])

    def open_queue() -> WebhookQueue:
        if next(failures, False):
            raise StoreUnavailable("gatepost.db: locked")
        return WebhookQueue(open_events(url), open_webhooks(url), time.time)

    metrics = Metrics("back")
    webhooks = Webhooks(world(hook(consumer)), open_queue, metrics, look_s=0.01)
    try:
        assert consumer.take()[0].event_ids == ["acme-0"]
        assert metrics.counts()["errors"]["store"] == 2
        assert caplog.text.count("store-unavailable") == 1
    finally:
        webhooks.stop()


def test_log_lines(
    consumer: Consumer,
    events: EventStore,
    hooks: WebhookStore,
    start: Start,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    consumer.next = [answers(500, 'a "b"\nc')]
    events.add(some(1))
    start(hook(consumer))
    consumer.take()
    until(lambda: at(hooks).tries == 1)
    clock.now += 10
    consumer.take()
    until(lambda: "webhook-back" in caplog.text)
    line = next(each for each in caplog.messages if each.startswith("webhook-failed"))
    assert line == (
        f"webhook-failed webhook=acme batch={consumer.all[0].id} events=1 status=500 tries=1 "
        'next_s=5.000 reason="status 500: a \\"b\\" c"'
    )


CHILD = """
import sys, time
from gatepost.feedback.rules import Webhook
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.feedback.webhook_queue import WebhookQueue
from gatepost.runtime.feedback.webhooks import Webhooks
from gatepost.store.open import open_events, open_webhooks
from tests.runtime.told import world

url, target, secret = sys.argv[1:]
hook = Webhook("acme", target, bytes.fromhex(secret), allow_private=True)
queue = lambda: WebhookQueue(
    open_events(url), open_webhooks(url), time.time
)
Webhooks(world(hook), queue, Metrics("back"), look_s=0.01)
time.sleep(600)
"""


def test_killed_in_the_middle_of_a_batch_nothing_is_lost_and_doubles_have_the_same_id(
    consumer: Consumer, events: EventStore, hooks: WebhookStore, url: str
) -> None:
    all_of_them = some(3 * MAX_EVENTS)
    events.add(all_of_them)
    hooks.enter(["acme"], 0)
    command = [sys.executable, "-c", CHILD, url, consumer.url("/acme"), SECRET.hex()]
    # The first one dies while it waits for an answer, the second one at any moment.
    consumer.next = [answers(200), hangs]
    deaths = [2, 2, 1]
    for count in deaths:
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "."})
        consumer.take(count)
        if count == 1:
            until(lambda: at(hooks).position == events.end())
        child.send_signal(signal.SIGKILL)
        child.wait()
        events.add([event(1000 + len(consumer.all))])
    doubled: dict[str, bytes] = {}
    seen: list[str] = []
    for request in consumer.all:
        assert doubled.setdefault(request.id, request.body) == request.body
        if not set(request.event_ids) & set(seen):
            seen += request.event_ids
        else:
            assert request.event_ids == seen[-len(request.event_ids) :]
    assert seen[: len(all_of_them)] == ids(all_of_them)
