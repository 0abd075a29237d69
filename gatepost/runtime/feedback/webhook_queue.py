"""What a webhook has to send next, and what becomes of it, as transactions of the store.

Purpose: the part of webhooks that talks to the store, all of it on one thread.
Format: dead letters that are to be tried again come first, the oldest first; then the stream of
events, in order.
Limits: of several nodes one sends for a webhook; if it dies, another one goes on after `LEASE_S`
with the batch that was begun, under its id. One call reads `events.SCAN_ROWS` rows at the most, so
that a webhook that passes over many events does not keep the others waiting.
Errors: every method raises `StoreUnavailable` and nothing else.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import GIVE_UP_S, MAX_EVENTS, Reply, wait_after
from gatepost.store.events import SCAN_ROWS, EventStore
from gatepost.store.webhooks import (
    Burials,
    DeadLetter,
    Failed,
    Span,
    WebhookState,
    WebhookStore,
)

# A batch is sent within `webhook_http.TOTAL_S`, and only then is the lease renewed.
LEASE_S = 30.0


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be sent.

    Attributes:
        span: Where it stands in the stream.
        events: The events; none if there is nothing to send there and the next call goes on.
        letter: The dead letter that it is, or None.
    """

    span: Span
    events: tuple[Event, ...] = ()
    letter: DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How all webhooks are getting on.

    Attributes:
        due: Names of those that have something to do now.
        states: By name.
        burials: By name, where there are any.
    """

    due: list[str]
    states: dict[str, WebhookState]
    burials: dict[str, Burials]


class Fate(Enum):
    """What became of a batch."""

    TAKEN = "ok"
    FAILED = "failed"
    GIVEN_UP = "given-up"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a batch.

    Attributes:
        fate: In one word.
        tries: How often it has failed, this time included.
        wait_s: Seconds until the next try.
    """

    fate: Fate
    tries: int = 0
    wait_s: float = 0.0


class WebhookQueue:
    """The work of all webhooks; to be used on one thread."""

    def __init__(
        self,
        events: EventStore,
        hooks: WebhookStore,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
        node: str = "",
    ) -> None:
        """Make it.

        Args:
            events: The stream.
            hooks: How far webhooks have got.
            clock: Unix time in seconds.
            chance: Returns random numbers from 0 to 1.
            node: Which node this is, or empty for the host's name: after a restart, it goes on at
                once.
        """
        self._events = events
        self._hooks = hooks
        self._clock = clock
        self._chance = chance
        self._node = node or socket.gethostname()
        # Of each webhook, where it is and up to where nothing is for it.
        self._passed: dict[str, Span] = {}

    def look(self, names: Collection[str]) -> Look:
        """Return which webhooks have something to do, and how all of them are getting on.

        Args:
            names: Those of the configuration; a new one begins at the end of the stream.
        """
        end = self._events.end()
        states = self._hooks.states()
        if new := [name for name in names if name not in states]:
            self._hooks.enter(new, end)
            states = self._hooks.states()
        # The database may have been replaced by another one, where other events have these places.
        self._passed = {name: each for name, each in self._passed.items() if each.end <= end}
        burials = self._hooks.burials()
        now = self._clock()
        due = [
            name
            for name in names
            if not (state := states[name]).gone
            and state.next_at <= now
            and (burials.get(name, Burials()).requeued or self._begin(state) < end)
        ]
        return Look(due, states, burials)

    def next(self, hook: Webhook) -> Work | None:
        """Return what a webhook is to send now, or None if there is nothing, or another node's."""
        if not self._hooks.claim(hook.name, self._node, LEASE_S):
            return None
        letter = self._hooks.next_requeued(hook.name)
        if letter is not None:
            events = self._read(hook, letter.span)
            if not events:
                # They have been deleted.
                self._hooks.forget(letter)
            return Work(letter.span, events, letter)
        state = self._hooks.state(hook.name)
        if state is None:
            return None
        if state.batch_end:
            span = Span(state.position, state.batch_end)
            events = self._read(hook, span)
            if not events:
                self._hooks.pass_over(hook.name, span)
            return Work(span, events)
        return self._next_batch(hook, state)

    def _read(self, hook: Webhook, span: Span) -> tuple[Event, ...]:
        """Return what a batch that was begun consists of."""
        found: list[Event] = []
        position = span.begin
        while position < span.end:
            page = self._events.page(position, MAX_EVENTS, hook.tenant, hook.kinds, span.end)
            found += (each.event for each in page.events)
            position = page.position
        return tuple(found)

    def _next_batch(self, hook: Webhook, state: WebhookState) -> Work | None:
        begin = self._begin(state)
        page = self._events.page(begin, MAX_EVENTS, hook.tenant, hook.kinds)
        span = Span(state.position, page.position)
        if not page.events:
            return self._passed_over(hook.name, span, begin)
        if not self._hooks.begin(hook.name, span.begin, span.end):
            # Somebody has moved it.
            return Work(span)
        return Work(span, tuple(each.event for each in page.events))

    def _begin(self, state: WebhookState) -> int:
        passed = self._passed.get(state.name)
        # Somebody may have moved it in the meantime.
        return passed.end if passed and passed.begin == state.position else state.position

    def _passed_over(self, name: str, span: Span, begin: int) -> Work | None:
        self._passed[name] = span
        # A platform whose other tenants send much must not write a row a second for each webhook.
        if span.end - span.begin >= SCAN_ROWS:
            self._hooks.pass_over(name, span)
        return Work(span) if begin < span.end < self._events.end() else None

    def settle(self, hook: Webhook, work: Work, reply: Reply) -> Settled:
        """Note what became of a batch.

        Args:
            hook: The webhook.
            work: What was sent.
            reply: What the consumer made of it.
        """
        now = self._clock()
        state = self._hooks.state(hook.name) or WebhookState(hook.name, work.span.begin)
        if not reply.error:
            if work.letter is None:
                self._hooks.told(hook.name, work.span, now)
            else:
                self._hooks.raise_dead(work.letter, now)
            return Settled(Fate.TAKEN, state.tries)
        tries = state.tries + 1
        wait_s = wait_after(tries, reply.retry_after_s, self._chance())
        if reply.gone:
            self._hooks.failed(hook.name, Failed(now, now, reply.error, gone=True))
            return Settled(Fate.GONE, tries)
        if state.tries and now - state.first_at >= GIVE_UP_S:
            # The next one is tried at once: this one may have been what it choked on.
            failure = Failed(now, now, reply.error)
            if work.letter is None:
                self._hooks.give_up(hook.name, work.span, len(work.events), failure)
            else:
                self._hooks.bury(work.letter, failure)
            return Settled(Fate.GIVEN_UP, tries)
        self._hooks.failed(hook.name, Failed(now, now + wait_s, reply.error))
        return Settled(Fate.FAILED, tries, wait_s)

    def recover(self, names: Collection[str]) -> None:
        """Let webhooks be tried at once; those that are gone as if they had not failed."""
        self._hooks.recover(names)

    def close(self) -> None:
        """Let another node go on at once, and close both stores."""
        with contextlib.suppress(StoreUnavailable):
            self._hooks.release(self._node)
        self._events.close()
        self._hooks.close()
