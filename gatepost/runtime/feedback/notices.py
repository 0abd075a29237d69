"""What a message gave cause to tell its tenant, as warning events and log lines, few of them.

Purpose: a tenant whose signature keeps our headers off its mail does so with each message; it and
the operator should hear of it, and not a million times.
Format of the log line: ``tenant-warning tenant=… reason=… header=… queue_id=… text="…"``.
Limits: of each tenant, reason and header one an hour in this process; by its id, the store keeps
one of a day. 10,000 different ones an hour; what is beyond is not told in that hour.
Errors: none.
"""

from __future__ import annotations

import logging

from gatepost.decisions.actions import Plan
from gatepost.decisions.facts import MessageFacts
from gatepost.feedback.event_ids import HOUR_S, warning_id
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.token import message_id_of
from gatepost.runtime.log import log_event

MAX_TOLD = 10_000

_log = logging.getLogger("gatepost.notices")


class Notices:
    """Remembers what was told this hour; any thread may call.

    Two threads may both tell the same at the same moment, and the store keeps one.
    """

    def __init__(self) -> None:
        self._hour = 0
        self._told: set[tuple[str, str, str]] = set()

    def events(self, facts: MessageFacts, plan: Plan, now: float) -> list[Event]:
        """Return the warnings that a message gives cause for and that were not told yet.

        Args:
            facts: The message.
            plan: What was done to it.
            now: Unix time in seconds.
        """
        if not plan.notices:
            return []
        if (hour := int(now // HOUR_S)) != self._hour:
            self._hour, self._told = hour, set()
        found = []
        for notice in plan.notices:
            key = (plan.tenant, notice.reason, notice.header)
            if key in self._told or len(self._told) >= MAX_TOLD:
                continue
            self._told.add(key)
            log_event(
                _log,
                logging.WARNING,
                "tenant-warning",
                tenant=plan.tenant,
                reason=notice.reason,
                header=notice.header,
                queue_id=facts.queue_id,
                text=notice.text,
            )
            found.append(
                Event(
                    warning_id(plan.tenant, f"{notice.reason} {notice.header}", now),
                    EventKind.WARNING,
                    now,
                    plan.tenant,
                    message_id_of(facts.host, facts.queue_id).hex(),
                    facts.queue_id,
                    facts.sender,
                    details={
                        "reason": notice.reason,
                        "header": notice.header,
                        "text": notice.text,
                    },
                )
            )
        return found
