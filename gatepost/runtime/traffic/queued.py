"""One tenant's mail in Postfix's queues on this node: found, counted and remembered for what comes.

Purpose: what is held, freed or deleted is exactly what was counted before.
Limits: the queue is read once, and what is chosen lies in a file that goes away by itself, so that
neither a queue of a million messages nor a tenant of as many takes memory. A summary names the
first `MAX_NAMES` campaigns and domains, and counts all others as one.
Errors: `PostfixUnavailable`, `StoreUnavailable`.
Security: the file has no name. A label that neither the message book nor, for root, the message's
own header tells is not guessed.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

from gatepost.decisions.queued import (
    Evidence,
    Fit,
    Named,
    Owner,
    Selection,
    fits,
    labelled,
    named_by_sender,
    owner_of,
)
from gatepost.domains import domain_of
from gatepost.errors import PostfixUnavailable
from gatepost.feedback.sent import Message
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.queue import QueuedMessage, is_long, read_queue
from gatepost.snapshot import Snapshot
from gatepost.store.events import OTHER
from gatepost.store.messages import MessageStore

MAX_NAMES = 1000
BATCH = 500
# By how much the two clocks may be off, and how long a client may take for one message.
CLOCK_S = 10.0
LONGEST_S = 3600.0
# What postsuper(1) may touch. In maildrop, nobody has looked at a message yet.
DELIVERABLE = frozenset({"incoming", "active", "deferred"})
HELD = frozenset({"hold"})

_FOLD = re.compile(r"\r?\n(?=[ \t])")
_FIELD = re.compile(r"^([!-9;-~]+)[ \t]*:(.*)$", re.DOTALL)

Progress = Callable[[int], None]
NameT = TypeVar("NameT", str, str | None)


@dataclass(slots=True)
class Summary:
    """What was found.

    Attributes:
        messages: How many are chosen.
        recipients: For how many recipients they wait.
        octets: Their size together.
        oldest: Unix time at which the oldest of them arrived, or 0.
        queues: How many by queue.
        campaigns: By campaign; what is not known is under None.
        domains: By recipient domain; a message to several counts for each.
        evidence: By what their tenant is known.
        short_ids: Of how many the queue id may be used again.
        others: How many of the tenant were left out: as they wait for other domains too, or as
            their campaign or mail type is not known.
        unnamed: How many the transport map cannot know as the tenant's, by their sender.
    """

    messages: int = 0
    recipients: int = 0
    octets: int = 0
    oldest: int = 0
    queues: Counter[str] = field(default_factory=Counter)
    campaigns: Counter[str | None] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    evidence: Counter[str] = field(default_factory=Counter)
    short_ids: int = 0
    others: Counter[Fit] = field(default_factory=Counter)
    unnamed: int = 0

    def count(self, message: QueuedMessage, owner: Owner, *, named: bool) -> None:
        """Count one that is chosen."""
        self.messages += 1
        self.recipients += len(message.recipients)
        self.octets += message.size
        self.oldest = min(self.oldest or message.arrival, message.arrival)
        self.queues[message.queue_name] += 1
        _count(self.campaigns, owner.campaign)
        for domain in {domain_of(each.address) or "" for each in message.recipients}:
            _count(self.domains, domain)
        self.evidence[owner.evidence.value] += 1
        self.short_ids += not is_long(message.queue_id)
        self.unnamed += not named


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a message is.

    Attributes:
        instance: Configuration directory of its Postfix instance.
        queue_id: Queue id.
        arrival: Unix time in seconds.
    """

    instance: str
    queue_id: str
    arrival: int


class Spots:
    """Places of messages, in the order of the queue, in a file; a context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(  # noqa: SIM115  # as long as this object lives
            "w+", encoding="utf-8", errors="surrogateescape"
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget them."""
        self.close()

    def close(self) -> None:
        """Forget them."""
        self._file.close()

    def add(self, message: QueuedMessage) -> None:
        """Remember where a message is."""
        # No queue id and no number holds a blank; a directory may.
        self._file.write(f"{message.queue_id} {message.arrival} {message.instance}\n")

    def batches(self, size: int) -> Iterator[tuple[Path, list[Spot]]]:
        """Return all of them, some of one instance at a time."""
        self._file.seek(0)
        while lines := list(islice(self._file, size)):
            by_instance = defaultdict(list)
            for line in lines:
                queue_id, arrival, instance = line.rstrip("\n").split(" ", 2)
                by_instance[instance].append(Spot(instance, queue_id, int(arrival)))
            for instance, spots in by_instance.items():
                yield Path(instance), spots


class Chosen(Spots):
    """Messages that were chosen, with what they are together."""

    def __init__(self) -> None:
        super().__init__()
        self.summary = Summary()
        self.instances: set[Path] = set()

    def choose(self, message: QueuedMessage, owner: Owner, *, named: bool) -> None:
        """Choose a message."""
        self.instances.add(message.instance)
        self.summary.count(message, owner, named=named)
        self.add(message)


class QueueReader:
    """Reads the queues of this node.

    Args:
        config_dir: Configuration directory of the attached instance.
        snapshot: The configuration.
        book: The message book.
        now: Unix time in seconds.
    """

    def __init__(
        self, config_dir: Path, snapshot: Snapshot, book: MessageStore, now: float
    ) -> None:
        self._config_dir = config_dir
        self._snapshot = snapshot
        self._book = book
        self._now = now
        self._hosts: dict[Path, str] = {}

    def choose(
        self,
        selection: Selection,
        queues: Collection[str],
        *,
        partly: bool,
        progress: Progress | None = None,
    ) -> Chosen:
        """Return what is meant of a tenant's mail.

        Args:
            selection: What is meant.
            queues: Names of the queues to look into.
            partly: Whether a message that waits for other domains too is meant.
            progress: Is told how many messages were read.

        Raises:
            PostfixUnavailable: If a queue cannot be read.
            StoreUnavailable: If the message book cannot.
        """
        chosen = Chosen()
        wanted = (Fit.YES, Fit.PARTLY) if partly else (Fit.YES,)
        try:
            for message, named, owner in self._owned(selection.tenant.id, queues, progress):
                known = self._with_labels(message, owner, selection)
                fit = fits(known, [each.address for each in message.recipients], selection)
                if fit in wanted:
                    chosen.choose(message, known, named=bool(named.tenant))
                elif fit is not Fit.NO:
                    chosen.summary.others[fit] += 1
        except BaseException:
            chosen.close()
            raise
        return chosen

    def _owned(
        self, tenant: str, queues: Collection[str], progress: Progress | None
    ) -> Iterator[tuple[QueuedMessage, Named, Owner]]:
        messages = read_queue(self._config_dir)
        seen = 0
        while batch := list(islice(messages, BATCH)):
            found = [
                (each, self._named(each))
                for each in batch
                if each.queue_name in queues and each.queue_id
            ]
            found = [(each, named) for each, named in found if named.tenant in {"", tenant}]
            booked = self._book.find_all({named.message for _, named in found}) if found else {}
            for each, named in found:
                owner = owner_of(named, _of(each, named, booked.get(named.message)))
                if owner is not None and owner.tenant == tenant:
                    yield each, named, owner
            seen += len(batch)
            if progress is not None:
                progress(seen)

    def _named(self, message: QueuedMessage) -> Named:
        host = self._hosts.get(message.instance)
        if host is None:
            output = PostfixCommands(message.instance).postconf("-hx", "myhostname")
            host = self._hosts[message.instance] = output.stdout.strip()
        return named_by_sender(message.sender, message.queue_id, host, self._snapshot, self._now)

    def _with_labels(self, message: QueuedMessage, owner: Owner, selection: Selection) -> Owner:
        """Return an owner with the labels that are needed, from the message itself if need be."""
        unknown = owner.campaign is None or owner.mail_type is None
        if not selection.needs_labels or not unknown or os.geteuid() != 0:
            return owner
        octets = PostfixCommands(message.instance).queued_headers(message.queue_id)
        if not octets:
            return owner
        return labelled(owner, header_fields(octets), selection.tenant)


def _of(message: QueuedMessage, named: Named, booked: Message | None) -> Message | None:
    """Return what the book has under the id of a message, unless that is of an earlier message.

    A short queue id comes again, and the book is kept for longer. What a token names comes once.
    """
    if booked is None or is_long(message.queue_id) or named.evidence is Evidence.TOKEN:
        return booked
    # The book has the end of the message, and the queue its beginning.
    took = booked.at - message.arrival
    return booked if -CLOCK_S <= took <= LONGEST_S else None


def header_fields(octets: bytes) -> list[tuple[str, str]]:
    """Return names and values of a header, unfolded."""
    text = _FOLD.sub("", octets.decode("utf-8", "surrogateescape"))
    found = (_FIELD.match(line.rstrip("\r")) for line in text.split("\n"))
    return [(each[1], each[2].strip()) for each in found if each is not None]


def still_there(config_dir: Path, spots: Collection[Spot]) -> list[Spot]:
    """Return those messages that are in the queue, by their time, too, where an id may come again.

    Raises:
        PostfixUnavailable: If a queue cannot be read.
    """
    short = {(each.instance, each.queue_id) for each in spots if not is_long(each.queue_id)}
    if not short:
        return list(spots)
    there = {
        Spot(str(each.instance), each.queue_id, each.arrival)
        for each in read_queue(config_dir)
        if (str(each.instance), each.queue_id) in short
    }
    return [each for each in spots if is_long(each.queue_id) or each in there]


def require_root() -> None:
    """Refuse what only root may do.

    Raises:
        PostfixUnavailable: If we are not root.
    """
    if os.geteuid() != 0:
        raise PostfixUnavailable("postsuper works for root only; run this as root")


def _count(counter: Counter[NameT], name: NameT | str) -> None:
    if name not in counter and len(counter) >= MAX_NAMES:
        name = OTHER
    counter[name] += 1
