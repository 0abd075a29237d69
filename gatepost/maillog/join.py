"""From lines to deliveries: join what the log tells in several places.

Purpose: before Postfix 3.11 the line of a delivery does not say how it was protected. smtp(8) logs
the TLS handshake in a line of its own, without a queue id, and a plaintext delivery has no such
line. From 3.11 on the delivery line says it, but for a reused connection. The sender stands in a
line of the queue manager.
Source: see `events`. smtp(8) serves one message at a time; it logs "established" for each TLS
connection, and "reused" each time that it takes one for another message
(smtp_tls_connection_reuse); without that, a TLS connection never serves a second message.
A message that goes on in a lane's own instance has another queue id there; smtpd(8) logs the first
one with it (XFORWARD), and lmtp(8) the new one when it has handed the message over. That is no
delivery: only what smtp(8) has sent is.
Limits: 100,000 messages, five times qmgr_message_active_limit, whose sender is remembered from the
start of an attempt until qmgr(8) has removed the message: 35 MiB; 20,000 processes, two hundred
times default_process_limit: 11 MiB. The oldest go first. 1,000 names of services. Time stamps of
whole seconds make 2 s of slack.
Errors: `Joiner.read` never raises for what is in a line.
Security: a TLS line counts only for the message and the attempt in hand, on the same host and
address, within the time that smtp(8) says it spent on that message, for one request of the queue
manager, and only if no connection has come to its end in between: after a failure in the middle of
an opportunistic session smtp(8) goes back to the same server in plaintext. What does not fit is
unknown, never encrypted. Plaintext is what has no TLS line although one would have been logged and
seen: the service logs TLS, and the log was read without a gap since before the attempt began.
Not handled: one file with the lines of several hosts, where their short queue ids are equal: the
sender is joined by queue id alone. With enable_long_queue_ids they are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gatepost.maillog.events import (
    Active,
    Attempt,
    Removed,
    Renamed,
    Tls,
    Trouble,
    Unreadable,
    parse_event,
)
from gatepost.maillog.lines import Entry, Repeat, parse_line, stamp_of
from gatepost.maillog.model import SENT, Delivery, TlsClass
from gatepost.maillog.stamps import Clock

MAX_MESSAGES = 100_000
MAX_PROCESSES = 20_000
MAX_SERVICES = 1_000
SLACK_S = 2.0

_SINCE = "since"
_LOGGED = "logged"
_MESSAGE = "m:"
_PROCESS = "p:"
_SERVICE = "t:"
_ORIGIN = "o:"
_ALWAYS = float("-inf")
_NEVER = float("inf")


@dataclass(slots=True)
class Tally:
    """What came of the lines."""

    lines: int = 0
    unreadable: int = 0
    losses: int = 0


@dataclass(slots=True)
class _Process:
    """An smtp(8) process: the TLS connection that it has, if any, and what it did last.

    Attributes:
        tls: Class of the connection, or None without one.
        at: Unix time of the TLS line.
        message: Queue id and attempt that the connection serves, or None before the first line
            about a message.
        request: What tells one request of the queue manager from another, or empty before the
            first delivery line.
        doubtful: Whether something was logged since that may have been the connection's end.
        counted: What the last session counted was: queue id, attempt, host, address.
    """

    tls: TlsClass | None = None
    host: str = ""
    address: str = ""
    version: str = ""
    at: float = 0.0
    message: tuple[str, int] | None = None
    request: str = ""
    doubtful: bool = False
    counted: tuple[str, int, str, str] | None = None

    def to_text(self) -> str:
        """Return it as JSON."""
        fields = (self.tls, self.host, self.address, self.version, self.at, self.message)
        return json.dumps([*fields, self.request, self.doubtful, self.counted])

    @classmethod
    def from_text(cls, text: str) -> _Process:
        """Return what `to_text` wrote."""
        tls, host, address, version, at, message, request, doubtful, counted = json.loads(text)
        return cls(
            TlsClass(tls) if tls else None,
            host,
            address,
            version,
            at,
            tuple(message) if message else None,
            request,
            doubtful,
            tuple(counted) if counted else None,
        )


class Joiner:
    """Takes lines one after the other and gives deliveries.

    Attributes:
        tally: What came of the lines so far.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        tls_logged: bool = False,
        state: Mapping[str, str] | None = None,
        max_messages: int = MAX_MESSAGES,
        max_processes: int = MAX_PROCESSES,
    ) -> None:
        """Begin, or go on.

        Args:
            clock: For time stamps.
            tls_logged: Whether Postfix is known to have logged TLS connections (smtp_tls_loglevel)
                in all of these lines. Without that, or `tls_is_logged`, each service is believed to
                from its first TLS line on.
            state: What `changes` returned so far, to go on where another joiner ended.
            max_messages: Messages to remember.
            max_processes: Processes to remember.
        """
        self.tally = Tally()
        self._clock = clock
        self._logged_since = _ALWAYS if tls_logged else _NEVER
        self._max_messages = max_messages
        self._max_processes = max_processes
        self._messages: dict[str, tuple[str, int]] = {}
        self._processes: dict[str, _Process] = {}
        self._origins: dict[str, str] = {}
        self._services: set[str] = set()
        self._since: float | None = None
        self._last: Delivery | None = None
        self._dirty: set[str] = set()
        self._saved: set[str] = set()
        if state:
            self._restore(state)

    def read(self, line: bytes) -> Delivery | None:
        """Take one line, without its end, and return the delivery that it tells of, if any."""
        self.tally.lines += 1
        if self._since is None:
            self._begin(line)
        last, self._last = self._last, None
        found = parse_line(line, self._clock)
        if found is None:
            return None
        if isinstance(found, Entry):
            return self.take(found)
        if isinstance(found, Repeat):
            return None if last is None else replace(last, count=found.times, opens=False)
        self.gap(found.at)
        return None

    def take(self, entry: Entry) -> Delivery | None:
        """Take one line that was taken apart already, as the journal has them."""
        if self._since is None:
            self._set_since(entry.at)
        event = parse_event(entry.program, entry.text)
        if event is None:
            return None
        if type(event) is Attempt:
            delivery = self._attempt(entry, event)
            self._last = delivery if entry.repeats == 1 else None
            return delivery
        if type(event) is Active:
            self._active(event)
        elif type(event) is Removed:
            self._removed(event.queue_id)
        elif type(event) is Renamed:
            self._renamed(event)
        elif type(event) is Tls:
            self._established(entry, event)
        elif type(event) is Trouble:
            self._trouble(entry, event)
        elif event is Unreadable.LINE:
            self.tally.unreadable += 1
            self._forget(entry)
        return None

    def gap(self, at: float | None = None) -> None:
        """Say that lines may be missing: up to a Unix time, or up to the next line."""
        self.tally.losses += 1
        if at is None:
            self._since = None
        else:
            self._set_since(at)
        for key, process in self._processes.items():
            if process.tls is not None:
                process.doubtful = True
                self._dirty.add(_PROCESS + key)

    def tls_is_logged(self, since: float | None) -> None:
        """Say since which Unix time Postfix is known to log TLS connections, or that it is not."""
        at = _NEVER if since is None else min(self._logged_since, since)
        if at != self._logged_since:
            self._logged_since = at
            self._dirty.add(_LOGGED)

    def changes(self) -> dict[str, str | None]:
        """Return what has to be remembered since the last call: key to text, None to forget it."""
        changed: dict[str, str | None] = {}
        for key in self._dirty:
            text = self._text_of(key)
            if text is not None:
                self._saved.add(key)
            elif key not in self._saved:
                # It came and went between two calls.
                continue
            else:
                self._saved.discard(key)
            changed[key] = text
        self._dirty.clear()
        return changed

    # What the lines say

    def _active(self, event: Active) -> None:
        queue_id = event.queue_id
        messages = self._messages
        before = messages.pop(queue_id, None)
        messages[queue_id] = (event.sender, before[1] + 1 if before else 1)
        self._dirty.add(_MESSAGE + queue_id)
        if len(messages) > self._max_messages:
            oldest = next(iter(messages))
            del messages[oldest]
            self._dirty.add(_MESSAGE + oldest)

    def _removed(self, queue_id: str) -> None:
        if self._messages.pop(queue_id, None) is not None:
            self._dirty.add(_MESSAGE + queue_id)
        if self._origins.pop(queue_id, None) is not None:
            self._dirty.add(_ORIGIN + queue_id)

    def _renamed(self, event: Renamed) -> None:
        """Remember by which id a message came first; XFORWARD tells that over several hops."""
        origins = self._origins
        if event.queue_id in origins:
            return
        origins[event.queue_id] = origins.get(event.origin, event.origin)
        self._dirty.add(_ORIGIN + event.queue_id)
        if len(origins) > self._max_messages:
            oldest = next(iter(origins))
            del origins[oldest]
            self._dirty.add(_ORIGIN + oldest)

    def _established(self, entry: Entry, event: Tls) -> None:
        key = f"{entry.host}/{entry.pid}"
        before = self._processes.pop(key, None)
        process = self._processes[key] = _Process(
            event.tls, event.host, event.address, event.version, entry.at
        )
        process.counted = before.counted if before else None
        self._dirty.add(_PROCESS + key)
        if entry.ident not in self._services and len(self._services) < MAX_SERVICES:
            self._services.add(entry.ident)
            self._dirty.add(_SERVICE + entry.ident)
        if len(self._processes) > self._max_processes:
            self._evict(entry.at)

    def _trouble(self, entry: Entry, event: Trouble) -> None:
        key = f"{entry.host}/{entry.pid}"
        process = self._processes.get(key)
        if process is None or process.tls is None:
            return
        message = (event.queue_id, self._attempt_of(event.queue_id))
        if event.ended or (process.message is not None and process.message != message):
            process.tls = None
        else:
            process.doubtful = True
            process.message = message
        self._dirty.add(_PROCESS + key)

    def _attempt(self, entry: Entry, event: Attempt) -> Delivery:
        key = f"{entry.host}/{entry.pid}"
        process = self._processes.get(key)
        if process is None:
            process = self._processes[key] = _Process()
            if len(self._processes) > self._max_processes:
                self._evict(entry.at)
        self._dirty.add(_PROCESS + key)
        queue_id = event.queue_id
        known = self._messages.get(queue_id)
        message = (queue_id, known[1] if known else 0)
        started_at = entry.at - event.took_s
        tls, version = self._protection(entry, event, process, message, started_at)
        opens = False
        if event.status == SENT or event.refused:
            session = (*message, event.host, event.address)
            opens = event.use == 1 and process.counted != session and entry.repeats == 1
            process.counted = session
        return Delivery(
            entry.at,
            started_at,
            queue_id,
            known[0] if known else None,
            event.recipient,
            _service_of(entry.ident),
            event.host,
            event.address,
            event.status,
            event.dsn,
            tls,
            version,
            opens,
            entry.repeats,
            event.reply,
            self._origins.get(queue_id, ""),
        )

    def _protection(
        self,
        entry: Entry,
        event: Attempt,
        process: _Process,
        message: tuple[str, int],
        started_at: float,
    ) -> tuple[TlsClass, str]:
        """Return the class of an attempt, and its protocol version."""
        joined = self._joined(event, process, message, started_at)
        if event.status != SENT:
            return (TlsClass.REFUSED if event.refused else TlsClass.UNKNOWN), ""
        if event.tls is not None:
            # Postfix 3.11 says it itself; the TLS line adds the version.
            encrypted = event.tls in (TlsClass.AUTHENTICATED, TlsClass.ENCRYPTED)
            return event.tls, process.version if joined and encrypted else ""
        if joined:
            if process.doubtful:
                return TlsClass.UNKNOWN, ""
            return process.tls or TlsClass.UNKNOWN, process.version
        logged = started_at >= self._logged_since or entry.ident in self._services
        seen = self._since is not None and started_at - SLACK_S >= self._since
        return (TlsClass.PLAINTEXT if logged and seen and event.host else TlsClass.UNKNOWN), ""

    def _joined(
        self, event: Attempt, process: _Process, message: tuple[str, int], started_at: float
    ) -> bool:
        """Tell whether a process's TLS connection is that of an attempt; forget a stale one."""
        if process.tls is None:
            return False
        if process.message is None:
            process.message = message
        if process.message != message or process.at < started_at - SLACK_S:
            process.tls = None
            return False
        if process.host != event.host or process.address != event.address:
            return False
        if not process.request:
            process.request = event.request
        elif process.request != event.request:
            # The queue manager has handed over more recipients of the same message.
            process.doubtful = True
        return True

    # What is remembered

    def _begin(self, line: bytes) -> None:
        at = stamp_of(line, self._clock)
        if at is not None:
            self._set_since(at)

    def _set_since(self, at: float) -> None:
        if self._since is None or at > self._since:
            self._since = at
            self._dirty.add(_SINCE)

    def _attempt_of(self, queue_id: str) -> int:
        known = self._messages.get(queue_id)
        return known[1] if known else 0

    def _forget(self, entry: Entry) -> None:
        """Forget the connection of a process of which a line could not be read."""
        key = f"{entry.host}/{entry.pid}"
        process = self._processes.get(key)
        if process is not None and process.tls is not None:
            process.doubtful = True
            self._dirty.add(_PROCESS + key)

    def _evict(self, at: float) -> None:
        oldest = next(iter(self._processes))
        process = self._processes.pop(oldest)
        self._dirty.add(_PROCESS + oldest)
        if process.tls is not None:
            # Its next delivery would look as if there had been no TLS.
            self._set_since(at)

    def _text_of(self, key: str) -> str | None:
        name = key[2:]
        if key.startswith(_MESSAGE):
            message = self._messages.get(name)
            return json.dumps(message) if message else None
        if key.startswith(_PROCESS):
            process = self._processes.get(name)
            return process.to_text() if process else None
        if key.startswith(_SERVICE):
            return "1" if name in self._services else None
        if key.startswith(_ORIGIN):
            return self._origins.get(name)
        if key == _LOGGED:
            return None if self._logged_since == _NEVER else repr(self._logged_since)
        return None if self._since is None else repr(self._since)

    def _restore(self, state: Mapping[str, str]) -> None:
        self._saved = set(state)
        for key, text in state.items():
            name = key[2:]
            if key.startswith(_MESSAGE):
                sender, attempt = json.loads(text)
                self._messages[name] = (sender, attempt)
            elif key.startswith(_PROCESS):
                self._processes[name] = _Process.from_text(text)
            elif key.startswith(_SERVICE):
                self._services.add(name)
            elif key.startswith(_ORIGIN):
                self._origins[name] = text
            elif key == _SINCE:
                self._since = float(text)
            elif key == _LOGGED:
                self._logged_since = min(self._logged_since, float(text))


def deliveries(lines: Iterable[bytes], joiner: Joiner) -> list[Delivery]:
    """Return the deliveries that some lines tell of."""
    return [found for line in lines if (found := joiner.read(line)) is not None]


def _service_of(ident: str) -> str:
    """Return the last part of a syslog_name, or nothing for Postfix's own."""
    head, slash, last = ident.rpartition("/")
    return last if slash and head else ""
