"""What may be asked of the store of tenants' status.

Purpose: one row for each tenant that is anything but normal, one for each pause of a part of its
mail, and in the same transaction the event of each change: what holds and what is told of it never
part.
Limits: as many rows as tenants that have ever been warned, slowed down or paused, and as pauses of
parts that are in force.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: the history of a status is the stream of events; this store has the present alone.
"""

from __future__ import annotations

from typing import Protocol

from gatepost.feedback.events import Event
from gatepost.feedback.rules import Step
from gatepost.feedback.status import Change, Part, Pause, Status


class TenantStatusStore(Protocol):
    """Keeps the status of tenants."""

    def version(self) -> int:
        """Return a number that is another one after every change."""

    def all(self) -> dict[str, Status]:
        """Return the status of every tenant that has one, by tenant id."""

    def find(self, tenant: str) -> Status:
        """Return the status of a tenant; `NORMAL` if it has none."""

    def set_step(self, change: Change, expected: Status, step: Step, why: str) -> bool:
        """Put a tenant on a step of the ladder, and store the event of the change.

        Args:
            change: What is told; its time is since when the step holds.
            expected: The status that the step was computed from.
            step: The step.
            why: The rate that led to it.

        Returns:
            False, and nothing has changed, if step or window are no longer those of `expected`: a
            resume came in between.
        """

    def pause(self, tenant: str, pause: Pause) -> Status:
        """Pause a tenant as the operator, in place of any pause of the same part.

        Returns:
            What was.
        """

    def resume(
        self, tenant: str, at: float, by: str, reason: str, part: Part | None = None
    ) -> Status:
        """Take back all pauses and the step, and begin to count anew; or one pause alone.

        Args:
            tenant: Tenant id.
            at: Unix time in seconds.
            by: Who does it.
            reason: Why, for the record.
            part: The part whose pause ends; step and all other pauses stay then. Where it has none,
                nothing happens.

        Returns:
            What was.
        """

    def expire(self, now: float) -> list[str]:
        """End the operator's pauses whose time is over; return the tenants."""

    def history(self, tenant: str, limit: int) -> list[Event]:
        """Return the latest changes of a tenant, newest first, as events of its own.

        They go with other events after ``feedback.keep_events``.

        Args:
            tenant: Tenant id.
            limit: At most so many.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
