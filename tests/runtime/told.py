"""What tests of webhooks share: events, a clock that they move on, a configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Webhook
from gatepost.snapshot import Snapshot
from gatepost.store.webhooks import WebhookState, WebhookStore
from tests.runtime.consumer import SECRET, Consumer
from tests.world import snapshot, tenant

WORLD = snapshot(tenant("acme"), tenant("beta"))
TIMEOUT_S = 30


class Clock:
    """Unix time that a test moves on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def event(number: int, tenant_id: str = "acme", kind: EventKind = EventKind.DELIVERED) -> Event:
    return Event(f"{tenant_id}-{number}", kind, time.time(), tenant_id)


def some(count: int, tenant_id: str = "acme", first: int = 0) -> list[Event]:
    return [event(number, tenant_id) for number in range(first, first + count)]


def ids(found: list[Event]) -> list[str]:
    return [each.id for each in found]


def hook(consumer: Consumer, name: str = "acme", **fields: object) -> Webhook:
    plain = Webhook(name, consumer.url(f"/{name}"), SECRET, allow_private=True)
    return replace(plain, **fields)  # type: ignore[arg-type]


def world(*webhooks: Webhook) -> Snapshot:
    return replace(WORLD, webhooks=webhooks)


def until(condition: Callable[[], object]) -> None:
    """Wait until something holds that has no event to wait for."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "this never came to hold"
        time.sleep(0.005)


def at(hooks: WebhookStore, name: str = "acme") -> WebhookState:
    found = hooks.state(name)
    assert found is not None
    return found
