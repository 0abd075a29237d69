"""What is kept of webhooks: how far each has got, what it is failing at, and its dead letters.

Purpose: a webhook goes on after a restart where it was, with the same batch under the same id, and
gives up a batch after the same time however often it was restarted. Of several nodes one at a time
sends for a webhook; another one takes its place when it has not been heard of for a while.
Format: a batch is a span of the stream of events, from behind `begin` up to and with `end`. Only
the span is kept, not the events: those stay in the stream.
Limits: a dead letter is kept for as long as its events.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: what is kept of a failure is text of a stranger's server, cut to `MAX_ERROR`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

MAX_ERROR = 300


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the stream of events: what is behind `begin`, up to and with `end`."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class WebhookState:
    """How a webhook is getting on.

    Attributes:
        name: Its name in the configuration.
        position: Up to which everything was told, or given up.
        batch_end: Where the batch ends that was begun, or 0.
        tries: How often it failed since the last success; 0 if it did not.
        first_at: Unix time of the first of these failures, or 0.
        next_at: Unix time before which it is not tried again, or 0.
        success_at: Unix time of the last success, or 0.
        error_at: Unix time of the last failure, or 0.
        error: What went wrong then.
        gone: Whether the consumer wants no more (410), until the configuration is read again.
    """

    name: str
    position: int
    batch_end: int = 0
    tries: int = 0
    first_at: float = 0.0
    next_at: float = 0.0
    success_at: float = 0.0
    error_at: float = 0.0
    error: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that was given up.

    Attributes:
        id: Number of it.
        webhook: Whose it is.
        span: Which events it held, as far as the webhook tells them.
        events: How many these were.
        at: Unix time of the giving up.
        tries: How often it was tried.
        error: What went wrong the last time.
        requeued: Whether it waits to be tried again.
    """

    id: int
    webhook: str
    span: Span
    events: int
    at: float
    tries: int
    error: str
    requeued: bool = False


@dataclass(frozen=True, slots=True)
class Burials:
    """How many dead letters there are.

    Attributes:
        letters: Batches.
        events: Events in them.
        requeued: Batches that wait to be tried again.
    """

    letters: int = 0
    events: int = 0
    requeued: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure to be noted.

    Attributes:
        at: Unix time of it.
        next_at: Unix time of the next try.
        error: What went wrong.
        gone: Whether the consumer wants no more.
    """

    at: float
    next_at: float
    error: str
    gone: bool = False


class WebhookStore(Protocol):
    """Keeps the state of webhooks."""

    def states(self) -> dict[str, WebhookState]:
        """Return the states of all webhooks that were ever entered, by name."""

    def state(self, name: str) -> WebhookState | None:
        """Return the state of one webhook."""

    def enter(self, names: Collection[str], position: int) -> None:
        """Let those of the webhooks that are new begin at a position."""

    def claim(self, name: str, holder: str, seconds: float) -> bool:
        """Be the one that sends for a webhook, for a time; or go on being it for so much longer.

        Args:
            name: The webhook; one that was never entered is nobody's.
            holder: Who it is, in a word that nobody else has.
            seconds: How long, by the clock of the store.

        Returns:
            False, and nothing is changed, if somebody else is.
        """

    def release(self, holder: str) -> None:
        """Be it no more, of any webhook."""

    def begin(self, name: str, position: int, end: int) -> bool:
        """Note which batch is about to be sent.

        Args:
            name: The webhook.
            position: Where it is believed to be.
            end: The end of the batch.

        Returns:
            False, and nothing is changed, if it is not there: somebody has moved it.
        """

    def told(self, name: str, span: Span, now: float) -> bool:
        """Move a webhook behind a batch that was taken; arguments and result as of `begin`."""

    def pass_over(self, name: str, span: Span) -> bool:
        """Move a webhook behind events that it does not tell; as `begin`."""

    def failed(self, name: str, failure: Failed) -> None:
        """Note a failure."""

    def give_up(self, name: str, span: Span, events: int, failure: Failed) -> bool:
        """Make a batch a dead letter and move the webhook behind it; as `begin`."""

    def recover(self, names: Collection[str]) -> None:
        """Let webhooks be tried at once; those that are gone as if they had not failed."""

    def move(self, name: str, position: int) -> None:
        """Move a webhook to a position, whatever it is at, and let it be tried at once."""

    def burials(self) -> dict[str, Burials]:
        """Return how many dead letters there are, by webhook; those that have none are left out."""

    def dead(self, name: str | None = None) -> list[DeadLetter]:
        """Return the dead letters, of one webhook or of all, the oldest first."""

    def requeue(self, name: str) -> list[DeadLetter]:
        """Have the dead letters of a webhook tried again, at once; return them."""

    def next_requeued(self, name: str) -> DeadLetter | None:
        """Return the first dead letter of a webhook that is to be tried again."""

    def bury(self, letter: DeadLetter, failure: Failed) -> None:
        """Put a dead letter back that was tried again in vain."""

    def raise_dead(self, letter: DeadLetter, now: float) -> None:
        """Remove a dead letter that was taken after all."""

    def forget(self, letter: DeadLetter) -> None:
        """Remove a dead letter of which nothing is left."""

    def prune(self, before: float) -> int:
        """Delete dead letters of before a Unix time; return how many."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
