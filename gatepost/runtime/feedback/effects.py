"""Carry out what follows from what came back: events and suppression, each once.

Purpose: the intake and the one-click endpoint end here, so that both believe, count and suppress by
the same rules.
Format: in this order: events, then suppression, then the row in the book of what was received.
Every event has an id that follows from what happened, and a suppression entry is merged with the
one that is there; so whoever was killed in between does it all again, and nothing is doubled.
Limits: 10,000 complaints an hour of one reporter about one tenant act; what is beyond is held, for
the operator to look at. A message that is not in the book yet is asked for again by the caller: the
recorder writes within a second.
Errors: `StoreUnavailable`, whereupon the caller tries again.
Security: nothing is ever mailed. What is not believed gives a row and a count, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gatepost.feedback import event_ids
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.report import Classified, Kind, Report, ReportedRecipient, Severity
from gatepost.feedback.reporters import Reporter, Reporters, shipped_reporters
from gatepost.feedback.rules import FeedbackRules
from gatepost.feedback.sent import Message
from gatepost.feedback.suppression import Reason, Suppressed, expiry_of
from gatepost.feedback.token import Token, day_of
from gatepost.feedback.trust import About, Authentication, Judgement, Result, judge
from gatepost.maillog.provider import provider_of
from gatepost.snapshot import Snapshot
from gatepost.store.events import EventStore
from gatepost.store.messages import MessageStore
from gatepost.store.open import open_events, open_messages, open_received, open_suppression
from gatepost.store.received import Received, ReceivedStore
from gatepost.store.suppression import SuppressionStore
from gatepost.tenants.model import tenant_number

MAX_COMPLAINTS_AN_HOUR = 10_000
HOUR_S = 3600.0
MAX_REPLY = 500
# Of a message of which only the log tells, the book has the day of its delivery.
MAX_QUEUE_DAYS = 30

# A bounce to which its reader gave no class.
_UNKNOWN = Classified("unclassified", Severity.NONE, "", "")
_EVENT_IDS = {
    Kind.COMPLAINT: event_ids.complaint_id,
    Kind.UNSUBSCRIBE: event_ids.unsubscribe_id,
    Kind.BOUNCE: event_ids.failure_id,
}
_EVENT_KINDS = {
    Kind.COMPLAINT: EventKind.COMPLAINED,
    Kind.UNSUBSCRIBE: EventKind.UNSUBSCRIBED,
    Kind.BOUNCE: EventKind.BOUNCED,
}
_REASONS = {Kind.COMPLAINT: Reason.COMPLAINT, Kind.UNSUBSCRIBE: Reason.UNSUBSCRIBE}


@dataclass(frozen=True, slots=True)
class FeedbackStores:
    """Where effects are kept; each has a connection for each thread that uses it."""

    messages: MessageStore
    events: EventStore
    suppression: SuppressionStore
    received: ReceivedStore

    def close(self) -> None:
        """Close the connections of the calling thread."""
        for each in (self.messages, self.events, self.suppression, self.received):
            each.close()


def open_feedback_stores(url: str, local: str = "") -> FeedbackStores:
    """Return the stores at a URL; ``local`` as of `open_suppression`.

    Raises:
        StoreUnavailable: If they cannot be opened or made.
    """
    return FeedbackStores(
        open_messages(url),
        open_events(url),
        open_suppression(url, local=local),
        open_received(url),
    )


class Effects:
    """Applies reports; any thread may call."""

    def __init__(
        self, open_stores: Callable[[], FeedbackStores], current: Callable[[], Snapshot]
    ) -> None:
        """Describe it; the stores are opened when the first report comes.

        Args:
            open_stores: Opens the stores.
            current: Gives the snapshot in force.
        """
        self._open_stores = open_stores
        self._current = current
        self._opened: FeedbackStores | None = None

    def unsubscribe(self, token: Token, now: float) -> bool:
        """Unsubscribe the recipient that an unsubscribe token names.

        Args:
            token: What `open_token` returned for the purpose ``unsubscribe``.
            now: Unix time in seconds.

        Returns:
            Whether it names a recipient that we sent to; then the address is suppressed, and an
            event stored, if they were not already.

        Raises:
            StoreUnavailable: If the stores are; nothing may have been done, and it is to be tried
                again.
        """
        message = self._message(token)
        if message is None:
            return False
        index = token.recipient or (1 if len(message.recipients) == 1 else 0)
        address = message.recipient(index)
        if not address:
            return False
        event = self._event(Kind.UNSUBSCRIBE, message, About(address), now)
        self._stores().events.add([replace(event, details={"format": "one-click"})])
        self._suppress(message.tenant, address, Reason.UNSUBSCRIBE, event.id, now)
        return True

    def close(self) -> None:
        """Close the connections of the calling thread."""
        if self._opened is not None:
            self._opened.close()

    def apply(
        self, report: Report, proven: Authentication, intake_id: str, at: float, *, last: bool
    ) -> Judgement | None:
        """Do what follows from a report, and put it into the book of what was received.

        Args:
            report: The report.
            proven: Where it came from.
            intake_id: Names this mail and recipient; the same when it is tried again.
            at: Unix time at which it came; the same when it is tried again.
            last: Whether a message that is not in the book will not be waited for.

        Returns:
            What became of it, or None if it is to be tried again later.

        Raises:
            StoreUnavailable: As of `unsubscribe`.
        """
        stores = self._stores()
        snapshot = self._current()
        message = None if report.token is None else self._message(report.token.token)
        reporters = reporters_of(snapshot.feedback)
        judgement = judge(report, proven, message, reporters, snapshot.platform.token_header)
        judgement = replace(judgement, tenant="" if message is None else message.tenant)
        if judgement.result is Result.NOT_SENT and message is None and not last:
            return None
        events: Sequence[Event] = ()
        if message is not None:
            judgement, events = self._decide(report, message, judgement, intake_id, at)
        if judgement.result is Result.OVER_LIMIT:
            return judgement
        stores.events.add(events)
        if message is not None and judgement.result is Result.BELIEVED:
            for about, event in zip(judgement.about, events, strict=True):
                self._follow(report.kind, message, about, event)
        stores.received.add(_row(report, judgement, intake_id, at, events))
        return judgement

    def _decide(
        self, report: Report, message: Message, judgement: Judgement, intake_id: str, at: float
    ) -> tuple[Judgement, Sequence[Event]]:
        """Return the judgement, now that others of its kind are known, and its events."""
        if judgement.result is Result.COUNTED:
            return judgement, self._delays(report, message, at)
        if judgement.result is not Result.BELIEVED:
            return judgement, ()
        received = self._stores().received
        events = [self._of(report, message, each, judgement, at) for each in judgement.about]
        # An unsubscription is a wish, and may be repeated after the address was put back.
        if report.kind is not Kind.UNSUBSCRIBE and all(
            received.acted_on(message.id.hex(), each.id, intake_id) for each in events
        ):
            return _changed(judgement, Result.REPEATED, "this has been acted on before"), ()
        if report.kind is Kind.COMPLAINT:
            hour = received.count(judgement.reporter, message.tenant, at - HOUR_S)
            if hour >= MAX_COMPLAINTS_AN_HOUR:
                reason = f"more than {MAX_COMPLAINTS_AN_HOUR} complaints an hour about one tenant"
                return _changed(judgement, Result.OVER_LIMIT, reason), ()
        return judgement, events

    def _follow(self, kind: Kind, message: Message, about: About, event: Event) -> None:
        """Suppress what an event suppresses."""
        if not about.address:
            return
        if (reason := _REASONS.get(kind)) is not None:
            self._suppress(message.tenant, about.address, reason, event.id, event.at)
            return
        severity = _classified(about.reported).severity
        if severity is Severity.HARD:
            self._suppress(message.tenant, about.address, Reason.HARD_BOUNCE, event.id, event.at)
        elif severity is Severity.SOFT:
            rules = self._current().suppression
            self._stores().suppression.soft_bounce(
                message.tenant, about.address, event.at, event.id, rules
            )

    def _suppress(self, tenant: str, address: str, reason: Reason, source: str, at: float) -> None:
        rules = self._current().suppression
        expires = expiry_of(reason, at, rules)
        entry = Suppressed(tenant, address, reason, at, expires, source)
        self._stores().suppression.add([entry], rules)

    def _of(
        self, report: Report, message: Message, about: About, judgement: Judgement, at: float
    ) -> Event:
        event = self._event(report.kind, message, about, at, judgement.reporter)
        details: dict[str, str] = {"format": report.format}
        if report.kind is Kind.BOUNCE and about.reported is not None:
            details |= bounce_details(about.reported)
        elif report.feedback_type:
            details["type"] = report.feedback_type
        return replace(event, details=details)

    def _delays(self, report: Report, message: Message, at: float) -> list[Event]:
        """Return the events of a notice of delay."""
        found = []
        for each in report.recipients if report.format == "dsn" else ():
            address = message.same_recipient(each.address)
            if each.action == "delayed" and address:
                event = self._event(Kind.BOUNCE, message, About(address), at)
                key = event_ids.deferred_id(event.message, address, at)
                found.append(
                    replace(event, id=key, kind=EventKind.DEFERRED, details=bounce_details(each))
                )
        return found

    def _event(
        self, kind: Kind, message: Message, about: About, at: float, reporter: str = ""
    ) -> Event:
        key = message.id.hex()
        return Event(
            _EVENT_IDS[kind](key, about.address),
            _EVENT_KINDS[kind],
            at,
            message.tenant,
            key,
            message.queue_id,
            message.sender,
            about.address,
            message.campaign,
            message.mail_type,
            self._provider(key, about.address),
            reporter,
        )

    def _provider(self, message: str, address: str) -> str:
        """Return who runs the recipient's mail, as the log of the delivery has it if it can."""
        if not address:
            return ""
        delivered = self._stores().events.find(event_ids.delivered_id(message, address))
        if delivered is not None and delivered.provider:
            return delivered.provider
        return provider_of(address.rpartition("@")[2].lower())

    def _message(self, token: Token) -> Message | None:
        message = self._stores().messages.find(token.message)
        # The id of a message is a hash of its queue id: another tenant's has another number, and
        # one that Postfix has used again, another day.
        if message is None or tenant_number(message.tenant) != token.tenant:
            return None
        latest = 1 if message.sender else MAX_QUEUE_DAYS
        return message if -1 <= day_of(message.at) - token.day <= latest else None

    def _stores(self) -> FeedbackStores:
        if self._opened is None:
            self._opened = self._open_stores()
        return self._opened


def reporters_of(rules: FeedbackRules) -> Reporters:
    """Return whose complaints are believed: those that ship with Gatepost, and the operator's."""
    shipped = shipped_reporters()
    if not rules.reporters:
        return shipped
    own = {domain: Reporter(domain) for domain in rules.reporters}
    return Reporters({**shipped.by_domain, **own})


def bounce_details(reported: ReportedRecipient) -> dict[str, str]:
    """Return the details of an event that tell why mail came back."""
    classified = _classified(reported)
    found = {
        "status": reported.status,
        "class": classified.bounce_class,
        "severity": classified.severity.value,
        "rule": classified.rule,
        "reply": reported.diagnostic[:MAX_REPLY],
    }
    return {name: value for name, value in found.items() if value}


def _classified(reported: ReportedRecipient | None) -> Classified:
    return (reported and reported.classified) or _UNKNOWN


def _changed(judgement: Judgement, result: Result, reason: str) -> Judgement:
    return replace(judgement, result=result, reason=reason, about=())


def _row(
    report: Report,
    judgement: Judgement,
    intake_id: str,
    at: float,
    events: Sequence[Event],
) -> Received:
    token = report.token
    return Received(
        intake_id,
        at,
        report.kind.value,
        report.format,
        judgement.reporter,
        judgement.result.value,
        judgement.reason,
        judgement.tenant,
        "" if token is None else token.token.message.hex(),
        tuple(each.id for each in events),
    )
