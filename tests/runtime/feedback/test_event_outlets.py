"""The back role tells events, writes them to a file and deletes old ones, as it is configured."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import FeedbackRules, Webhook
from gatepost.runtime.feedback.event_file import READER
from gatepost.runtime.feedback.event_outlets import EventOutlets, tidy_events
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.role import Role
from gatepost.settings import Settings
from gatepost.store.open import open_events, open_readers, open_webhooks
from gatepost.store.webhooks import Failed, Span
from tests.runtime.consumer import SECRET, Consumer, answers, hangs
from tests.runtime.place import Site
from tests.runtime.told import at, until
from tests.world import snapshot, tenant

WORLD = snapshot(tenant("acme"))
DAY = 86_400.0


def event(number: int, at: float) -> Event:
    return Event(f"e{number}", EventKind.DELIVERED, at, "acme")


def test_all_of_it_follows_the_configuration(tmp_path: Path) -> None:
    consumer = Consumer()
    hook = Webhook("acme", consumer.url(), SECRET, allow_private=True)
    url = f"sqlite:///{tmp_path}/gatepost.db"
    file = tmp_path / "events.jsonl"
    role = SimpleNamespace(
        settings=Settings(tmp_path / "gatepost.yaml", state=url, events_file=file),
        current=lambda: replace(WORLD, feedback=FeedbackRules(keep_events_s=int(DAY))),
        metrics=Metrics("back"),
        on_reload=[],
    )
    outlets = EventOutlets(cast("Role", role))
    try:
        with (
            contextlib.closing(open_events(url)) as events,
            contextlib.closing(open_webhooks(url)) as hooks,
        ):
            [reloaded] = role.on_reload
            hooks.enter(["acme"], 0)
            reloaded(replace(WORLD, webhooks=(hook,)))
            events.add([event(1, time.time())])
            assert consumer.take()[0].event_ids == ["e1"]
            until_file = time.monotonic() + 20
            while not (file.exists() and file.read_text()) and time.monotonic() < until_file:
                time.sleep(0.01)
                # The file begins at the end; so it may have begun after the first event.
                events.add([event(int(1e6 * time.monotonic()), time.time())])
            assert file.read_text().endswith("\n")
            assert outlets.details() == {"webhooks_attention": [], "events_file_trouble": ""}
            events.add([event(7, time.time() - 2 * DAY)])
            outlets._tidy()
            assert "e7" not in {each.event.id for each in events.after(0, 10**6)}
    finally:
        outlets.stop()
        consumer.stop()


def test_the_real_process_killed_while_a_consumer_has_a_batch(site: Site) -> None:
    consumer = Consumer()
    consumer.next = [answers(200), hangs]
    file = site.directory / "events.jsonl"
    secret = site.directory / "hook.secret"
    secret.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    secret.chmod(0o600)
    hook = {"url": consumer.url(), "secret_file": "hook.secret", "allow_private": "yes"}
    site.configure(webhooks={"acme": hook}, feedback={"events_file": str(file)})
    url = f"sqlite:///{site.database}"
    try:
        back = site.start("back")
        with (
            contextlib.closing(open_events(url)) as events,
            contextlib.closing(open_webhooks(url)) as hooks,
            contextlib.closing(open_readers(url)) as readers,
        ):
            until(lambda: hooks.state("acme") and file.exists())
            until(lambda: readers.position(READER, -1) == 0)
            events.add([event(1, 1.8e9)])
            consumer.take()
            until(lambda: at(hooks).position == 1)
            events.add([event(2, 1.8e9), event(3, 1.8e9)])
            consumer.take()
            back.signal(signal.SIGKILL)
            back.wait()
            events.add([event(4, 1.8e9)])
            back = site.start("back")
            again, last = consumer.take(2)
            assert (again.id, again.body) == (consumer.all[1].id, consumer.all[1].body)
            assert last.event_ids == ["e4"]
            until(lambda: readers.position(READER, 0) == 4)
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            assert [(each["position"], each["id"]) for each in lines] == [
                (number, f"e{number}") for number in (1, 2, 3, 4)
            ]
            assert site.status("back")["webhooks_attention"] == []
            assert back.stop() == 0
    finally:
        consumer.stop()


def test_what_is_old_goes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    with (
        contextlib.closing(open_events(url)) as events,
        contextlib.closing(open_webhooks(url)) as hooks,
    ):
        events.add([event(1, 10), event(2, 20)])
        hooks.enter(["acme"], 0)
        hooks.give_up("acme", Span(0, 1), 1, Failed(10, 0, "x"))
        hooks.give_up("acme", Span(1, 2), 1, Failed(20, 0, "x"))
        assert tidy_events(events, hooks, 20) == (1, 1)
        assert [each.span.begin for each in hooks.dead()] == [1]
