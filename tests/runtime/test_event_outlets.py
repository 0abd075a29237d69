"""The back role tells events, writes them to a file and deletes old ones, as it is configured."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import FeedbackRules, Webhook
from gatepost.runtime.event_outlets import EventOutlets, tidy_events
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.role import Role
from gatepost.settings import Settings
from gatepost.store.open import open_as
from gatepost.store.sqlite_events import SqliteEvents
from gatepost.store.sqlite_webhooks import SqliteWebhooks
from gatepost.store.webhooks import Failed, Span
from tests.runtime.consumer import SECRET, Consumer
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
            contextlib.closing(open_as(SqliteEvents, url)) as events,
            contextlib.closing(open_as(SqliteWebhooks, url)) as hooks,
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


def test_what_is_old_goes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    with (
        contextlib.closing(open_as(SqliteEvents, url)) as events,
        contextlib.closing(open_as(SqliteWebhooks, url)) as hooks,
    ):
        events.add([event(1, 10), event(2, 20)])
        hooks.enter(["acme"], 0)
        hooks.give_up("acme", Span(0, 1), 1, Failed(10, 0, "x"))
        hooks.give_up("acme", Span(1, 2), 1, Failed(20, 0, "x"))
        assert tidy_events(events, hooks, 20) == (1, 1)
        assert [each.span.begin for each in hooks.dead()] == [1]
