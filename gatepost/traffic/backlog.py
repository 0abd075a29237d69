"""What is outstanding of each tenant, counted from what the log says of the queue.

Purpose: one entry for each message in Postfix's queue that may be delivered, so that counts are
exact as long as no line is lost; `Survey` puts right what is not.
Format: a message counts from the line with which smtpd(8) begins to take it, or from its first
attempt if it came otherwise, until it is removed, put on hold, refused at its end or requeued. Its
tenant is that of the client, as smtpd(8) logs it, or else of its sender, as the queue manager does.
A message whose client went away counts until the same smtpd(8) process takes another, or if its
header had been sent, until the next survey.
Limits: `MAX_MESSAGES`, some 80 MB; of further ones the oldest are forgotten, and the backlogs of
their tenants are taken for smaller than they are. Recipients that other agents than ours deliver
count until the message is done with.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from gatepost.maillog.queue_lines import Came, QueueLine, Tried, Written
from gatepost.maillog.queue_lines import Final as FinalOutcome
from gatepost.traffic.outstanding import Told
from gatepost.traffic.state import Backlog

MAX_MESSAGES: Final = 300_000
# A tenant that has sent within this time is told even if nothing is outstanding.
TELL_S: Final = 20.0
OLDEST_EVERY_S: Final = 30.0
MAX_PROCESSES: Final = 20_000
# So long a message may be on its way into the queue.
RECEIVE_S: Final = 120.0


class _Tenant:
    """Counts of one tenant."""

    __slots__ = ("arrived", "messages", "moved_at", "oldest", "others", "recipients")

    def __init__(self) -> None:
        self.messages = 0
        self.recipients = 0
        self.arrived = 0
        self.others = 0
        self.oldest = 0.0
        self.moved_at = 0.0


class _Message:
    """One message.

    Attributes:
        tenant: Whose it is, or None.
        recipients: For how many it is outstanding; 1 while it is not `sized`.
        at: Unix time of its arrival.
        seen: Number of the last line about it.
        settled: Whether it is known whose it is, or that it is nobody's.
        sized: Whether its recipients are known.
        written: Whether cleanup(8) has got its header.
        inner: Whether it came from this host itself without a login, as mail does that was counted
            before: from a content filter, or into the instance of a lane.
    """

    __slots__ = ("at", "inner", "recipients", "seen", "settled", "sized", "tenant", "written")

    def __init__(self, at: float, seen: int) -> None:
        self.tenant: _Tenant | None = None
        self.recipients = 1
        self.at = at
        self.seen = seen
        self.settled = self.sized = self.inner = self.written = False


@dataclass(frozen=True, slots=True)
class Queued:
    """One message as Postfix's own list has it.

    Attributes:
        queue_id: Queue id.
        sender: Envelope sender.
        recipients: How many it still waits for.
        arrived_at: Unix time in seconds.
    """

    queue_id: str
    sender: str
    recipients: int
    arrived_at: float


@dataclass(slots=True)
class Survey:
    """A look at the whole queue, which takes a while in which the log goes on.

    Attributes:
        began: Number of the last line before it.
        gone: Messages that are no longer outstanding since.
    """

    began: int
    gone: set[str] = field(default_factory=set)


class QueueBook:
    """All messages that are outstanding."""

    def __init__(
        self,
        of_sender: Callable[[str], str],
        of_client: Callable[[str, str], str],
        *,
        max_messages: int = MAX_MESSAGES,
    ) -> None:
        """Begin with an empty queue.

        Args:
            of_sender: Returns the tenant id of an envelope sender at delivery, or empty.
            of_client: Returns that of a login and an address, or empty.
            max_messages: How many to remember.
        """
        self._of_sender = of_sender
        self._of_client = of_client
        self._max = max_messages
        self._messages: dict[str, _Message] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._survey: Survey | None = None
        self._lines = 0
        self._oldest_at = float("-inf")
        self._untold = 0
        # The last message of each smtpd(8) process.
        self._taken_by: dict[str, str] = {}
        # What was not seen to come has come otherwise, as long as all that was there is known.
        self._complete = False

    def __len__(self) -> int:
        """Return how many messages are outstanding."""
        return len(self._messages)

    @property
    def untold(self) -> int:
        """How many of them nobody knows the tenant of, as they have not been tried yet."""
        return self._untold

    def take(self, line: QueueLine, now: float) -> None:
        """Take note of a line.

        Args:
            line: What it says.
            now: Unix time in seconds.
        """
        self._lines += 1
        queue_id = line.queue_id
        message = self._messages.get(queue_id)
        if type(line) is Came:
            if message is None:
                self._come(line, now)
        elif type(line) is Tried:
            self._try(line, message, now)
        elif message is None:
            if self._survey is not None and type(line) not in (FinalOutcome, Written):
                self._survey.gone.add(queue_id)
        elif type(line) is Written:
            message.written = True
        elif type(line) is FinalOutcome:
            message.seen = self._lines
            if message.recipients:
                message.recipients -= 1
                if message.tenant is not None:
                    message.tenant.recipients -= 1
        else:
            self._drop(queue_id, now)

    def begin_survey(self) -> None:
        """Say that Postfix's own list is read from now on."""
        self._survey = Survey(self._lines)

    def end_survey(self, found: Iterable[Queued] | None, now: float, *, whole: bool = True) -> int:
        """Put right what differs from Postfix's own list; return how many messages did.

        Args:
            found: What is in the queue and not on hold, or None if it could not be read.
            now: Unix time in seconds.
            whole: Whether that is all; else what is not in it may be in the queue all the same.
        """
        survey, self._survey = self._survey, None
        if survey is None or found is None:
            return 0
        wrong = 0
        listed = set()
        for each in found:
            listed.add(each.queue_id)
            if each.queue_id not in survey.gone:
                wrong += self._correct(each, survey, now)
        for queue_id, message in list(self._messages.items()) if whole else ():
            # What is being received is in no list.
            old = message.sized or abs(now - message.at) > RECEIVE_S
            if old and message.seen <= survey.began and queue_id not in listed:
                wrong += 1
                self._drop(queue_id, now)
        self._oldest_at = float("-inf")
        self._complete = whole and len(self._messages) < self._max
        return wrong

    def _correct(self, each: Queued, survey: Survey, now: float) -> bool:
        """Take over what the list says of one message; tell whether it was not known."""
        message = self._messages.get(each.queue_id)
        unknown = message is None
        if message is None:
            message = self._add(each.queue_id, now)
        if not message.settled:
            self._settle(message, self._tenant(self._of_sender(each.sender)))
            if message.tenant is not None and not message.inner and not unknown:
                message.tenant.arrived += 1
        if unknown or not message.sized or message.seen <= survey.began:
            # Else what the log has said since is newer.
            self._size(message, each.recipients)
        message.at = each.arrived_at
        return unknown

    def told(self, now: float, most: int) -> dict[str, Told]:
        """Return what the largest tenants have outstanding, with those that sent just now.

        The others are forgotten, if nothing of theirs is.

        Args:
            now: Unix time in seconds.
            most: How many at the most.
        """
        if not 0 <= now - self._oldest_at < OLDEST_EVERY_S:
            self._find_oldest(now)
        for id_, each in list(self._tenants.items()):
            if not each.messages and abs(now - each.moved_at) >= TELL_S:
                del self._tenants[id_]
        found = list(self._tenants.items())
        if len(found) > most:
            found.sort(key=lambda item: item[1].messages, reverse=True)
            del found[most:]
        return {
            id_: Told(
                Backlog(each.messages, each.recipients, each.oldest if each.messages else 0.0),
                each.arrived,
                each.others,
            )
            for id_, each in found
        }

    def _come(self, line: Came, now: float) -> None:
        if line.process:
            self._end_before(line, now)
        message = self._add(line.queue_id, now)
        message.inner = not line.login and _is_loopback(line.address)
        tenant = None if message.inner else self._tenant(self._of_client(line.login, line.address))
        if tenant is not None:
            self._settle(message, tenant)
            tenant.arrived += 1
            tenant.moved_at = now

    def _end_before(self, line: Came, now: float) -> None:
        """Forget what the same smtpd(8) process took before, if its client broke that off."""
        before = self._taken_by.get(line.process)
        if before is None and len(self._taken_by) >= MAX_PROCESSES:
            self._taken_by.clear()
        self._taken_by[line.process] = line.queue_id
        message = None if before is None else self._messages.get(before)
        if before is not None and message is not None and not (message.written or message.sized):
            self._drop(before, now)

    def _try(self, line: Tried, message: _Message | None, now: float) -> None:
        came = message is not None
        if message is None:
            message = self._add(line.queue_id, now)
        message.seen = self._lines
        if not message.settled:
            tenant = self._tenant(self._of_sender(line.sender))
            self._settle(message, tenant)
            if tenant is not None and came:
                # Its client is one that only its certificate, its listener or the message tells.
                tenant.arrived += not message.inner
            elif tenant is not None:
                tenant.others += self._complete
        if not message.sized:
            self._size(message, line.recipients)
        if message.tenant is not None:
            message.tenant.moved_at = now

    def _size(self, message: _Message, recipients: int) -> None:
        if message.tenant is not None:
            message.tenant.recipients += recipients - message.recipients
        message.recipients = recipients
        message.sized = True

    def _tenant(self, tenant_id: str) -> _Tenant | None:
        if not tenant_id:
            return None
        found = self._tenants.get(tenant_id)
        if found is None:
            found = self._tenants[tenant_id] = _Tenant()
        return found

    def _add(self, queue_id: str, now: float) -> _Message:
        message = self._messages[queue_id] = _Message(now, self._lines)
        self._untold += 1
        if len(self._messages) > self._max:
            self._complete = False
            self._drop(next(iter(self._messages)), now)
        return message

    def _settle(self, message: _Message, tenant: _Tenant | None) -> None:
        message.settled = True
        message.tenant = tenant
        self._untold -= 1
        if tenant is not None:
            tenant.messages += 1
            tenant.recipients += message.recipients
            if tenant.messages == 1:
                tenant.oldest = message.at

    def _drop(self, queue_id: str, now: float) -> None:
        message = self._messages.pop(queue_id)
        if self._survey is not None:
            self._survey.gone.add(queue_id)
        self._untold -= not message.settled
        tenant = message.tenant
        if tenant is not None:
            tenant.messages -= 1
            tenant.recipients -= message.recipients
            tenant.moved_at = now

    def _find_oldest(self, now: float) -> None:
        self._oldest_at = now
        for each in self._tenants.values():
            each.oldest = 0.0
        for message in self._messages.values():
            tenant = message.tenant
            if tenant is not None and not 0.0 < tenant.oldest <= message.at:
                tenant.oldest = message.at


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
