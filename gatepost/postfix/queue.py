"""Postfix's queue: what waits in it, and putting messages on hold, back, ahead or away.

Purpose: what an operator does to a tenant's queued mail, and counting what waits, need the queue
itself and not a record of it.
Source: postqueue(1) "JSON object format", postsuper(1), postconf(5) multi_instance_directories.
Format: postqueue(1) prints one JSON object a line, in the order of the directories; showq(8) names
the null sender ``MAILER-DAEMON``, which no other sender can be, as Postfix gives all of them a
domain.
Limits: one message at a time is in memory, however long the queue is. 60 s without a word from
postqueue(1). postsuper(1) gets 1,000 ids at a time, and says within 300 s what became of them.
Errors: `PostfixUnavailable`. A message that has left the queue meanwhile is no error: it is not
among those that are returned.
Security: addresses and reasons are what clients and servers sent; they are data and go into no
command. postsuper(1) works for root only. A short queue id names another message soon after its own
has left; see `is_long`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands, start

SILENCE_S = 60.0
BATCH = 1000
RESTART_S = 30.0
UNSEEN_S = 3.0
# postqueue -i costs some 3 ms of CPU time for each message.
REQUEUE_PER_S = 100.0

_READ = 1 << 16
_MAX_SAID = 1000
_NULL = "MAILER-DAEMON"
# Six at the least, so that no word that means something to postsuper(1), such as ALL, passes.
_ID = re.compile(r"[0-9A-Za-z]{6,40}\Z")
_DONE = re.compile(
    r"^postsuper: ([0-9A-Za-z]+): (?:placed on hold|released from hold|removed)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient that a message waits for.

    Attributes:
        address: Envelope recipient.
        delay_reason: Why the last attempt failed; empty if there was none.
    """

    address: str
    delay_reason: str


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One message in the queue.

    Attributes:
        queue_name: ``maildrop``, ``incoming``, ``active``, ``deferred`` or ``hold``.
        queue_id: Postfix's queue id.
        arrival: Unix time in seconds.
        size: Octets.
        sender: Envelope sender; empty for the null sender.
        recipients: Those that it still waits for.
        instance: The configuration directory of the Postfix instance that has it.
    """

    queue_name: str
    queue_id: str
    arrival: int
    size: int
    sender: str
    recipients: tuple[QueuedRecipient, ...]
    instance: Path


def is_long(queue_id: str) -> bool:
    """Tell whether a queue id is never used again (enable_long_queue_ids)."""
    # A short one is hexadecimal; a long one has a z between its time and its file.
    return "z" in queue_id


def instances(config_dir: Path) -> list[Path]:
    """Return the configuration directories of an instance and of those that it manages.

    Raises:
        PostfixUnavailable: If postconf(1) fails.
    """
    name = "multi_instance_directories"
    found = PostfixCommands(config_dir).postconf("-hx", name).stdout
    others = (Path(each) for each in found.replace(",", " ").split())
    return list(dict.fromkeys((config_dir, *others)))


def read_queue(config_dir: Path) -> Iterator[QueuedMessage]:
    """Return what is in the queues of an instance and of those that it manages, one by one.

    Args:
        config_dir: The configuration directory of the instance.

    Raises:
        PostfixUnavailable: If a queue cannot be read to its end; what was returned until then is
            true.
    """
    for instance in instances(config_dir):
        yield from read_one_queue(instance)


def read_one_queue(config_dir: Path) -> Iterator[QueuedMessage]:
    """Return what is in the queue of one instance; errors as of `read_queue`."""
    command = ["postqueue", "-c", str(config_dir), "-j"]
    with tempfile.TemporaryFile() as messages:
        with _running(start(command, messages)) as process:
            for line in _lines(process):
                yield _message(line, config_dir)
            status = process.wait()
        if status:
            raise PostfixUnavailable(f"{' '.join(command)}: {_said(messages, status)}")


def hold(config_dir: Path, ids: Iterable[str]) -> set[str]:
    """Put messages of one instance on hold.

    Args:
        config_dir: The configuration directory of that instance.
        ids: Queue ids.

    Returns:
        Those that are on hold now and were not before.

    Raises:
        PostfixUnavailable: If postsuper(1) fails, such as for not being root.
    """
    return _postsuper(config_dir, "-h", ids)


def release(config_dir: Path, ids: Iterable[str]) -> set[str]:
    """Let messages that are on hold go, to be tried when their time comes; as `hold`."""
    return _postsuper(config_dir, "-H", ids)


def delete(config_dir: Path, ids: Iterable[str]) -> set[str]:
    """Take messages out of the queue, without a bounce; as `hold`."""
    return _postsuper(config_dir, "-d", ids)


def manager_since(config_dir: Path) -> float | None:
    """Return the Unix time since when qmgr(8) of an instance runs, or None if that is not known.

    Raises:
        PostfixUnavailable: If postconf(1) fails.
    """
    starts = []
    for pid in _managers(config_dir):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2]
            ticks = int(fields.split()[19])
            age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
            starts.append(time.time() - age)
    return min(starts, default=None)


def restart_manager(config_dir: Path) -> None:
    """Have qmgr(8) of an instance begin anew, so that it asks anew who delivers what is active.

    And so that it forgets what it had in memory of messages that were held: it takes such a message
    for done when its turn comes, and removes it if it has been let go and is active again by then.

    Raises:
        PostfixUnavailable: If Postfix refuses to reload, or qmgr(8) goes on for `RESTART_S`.
    """
    postfix = PostfixCommands(config_dir)
    if not postfix.running():
        return
    before = _managers(config_dir)
    postfix.reload()
    if not before:
        # It cannot be seen from here.
        time.sleep(UNSEEN_S)
        return
    deadline = time.monotonic() + RESTART_S
    while any(Path(f"/proc/{pid}").exists() for pid in before):
        if time.monotonic() > deadline:
            raise PostfixUnavailable(f"qmgr did not begin anew within {RESTART_S:g} seconds")
        time.sleep(0.02)


def requeue(
    config_dir: Path,
    ids: Iterable[str],
    per_second: float = REQUEUE_PER_S,
    stopped: Callable[[float], bool] | None = None,
) -> int:
    """Have deferred messages of one instance tried now, not all of them in the same moment.

    A server that has been waited for gets them as fast as they came, not as one herd.

    Args:
        config_dir: The configuration directory of that instance.
        ids: Queue ids.
        per_second: At most so many a second.
        stopped: Waits so many seconds, and tells whether to go no further.

    Returns:
        How many it was asked for; those that are not deferred any more are no error.

    Raises:
        PostfixUnavailable: If postqueue(1) fails.
    """
    postfix = PostfixCommands(config_dir)
    asked = 0
    begun = time.monotonic()
    for each in _valid(ids):
        early = begun + asked / per_second - time.monotonic()
        if early > 0:
            if stopped is None:
                time.sleep(early)
            elif stopped(early):
                break
        postfix.flush_one(each)
        asked += 1
    return asked


def _managers(config_dir: Path) -> list[int]:
    """Return the process ids of qmgr(8) of an instance, as far as they can be seen."""
    queue = PostfixCommands(config_dir).postconf("-hx", "queue_directory").stdout.strip()
    found = []
    with contextlib.suppress(OSError, ValueError):
        master = int(Path(queue, "pid", "master.pid").read_text("ascii"))
        children = Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text("utf-8", "replace").strip() == "qmgr":
                    found.append(int(child))
    return found


def _postsuper(config_dir: Path, option: str, ids: Iterable[str]) -> set[str]:
    if os.geteuid() != 0:
        raise PostfixUnavailable("postsuper works for root only; run this as root")
    postfix = PostfixCommands(config_dir)
    done: set[str] = set()
    rest = _valid(ids)
    while batch := list(islice(rest, BATCH)):
        done.update(match[1] for match in _DONE.finditer(postfix.postsuper(option, batch)))
    return done


def _valid(ids: Iterable[str]) -> Iterator[str]:
    return (each for each in ids if _ID.match(each))


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process ended when the block is left, however it is."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Return what a process prints, line by line, as long as it goes on."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    rest = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        if not poll.poll(SILENCE_S * 1000):
            raise PostfixUnavailable(f"postqueue -j: silent for {SILENCE_S:g} seconds")
        block = os.read(descriptor, _READ)
        if not block:
            break
        if b"\n" not in block:
            # A message with very many recipients is one long line.
            rest += block
            continue
        first, *whole, last = block.split(b"\n")
        yield bytes(rest + first)
        yield from whole
        rest = bytearray(last)
    if rest:
        yield bytes(rest)


def _message(line: bytes, instance: Path) -> QueuedMessage:
    try:
        found: dict[str, Any] = json.loads(line.decode("utf-8", "surrogateescape"), strict=False)
        sender = found["sender"]
        return QueuedMessage(
            found["queue_name"],
            found["queue_id"],
            int(found["arrival_time"]),
            int(found["message_size"]),
            "" if sender == _NULL else sender,
            tuple(
                QueuedRecipient(each["address"], each.get("delay_reason", ""))
                for each in found["recipients"]
            ),
            instance,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PostfixUnavailable(f"postqueue -j: not understood: {line[:200]!a}") from error


def _said(messages: IO[bytes], status: int) -> str:
    messages.seek(0)
    said = messages.read(_MAX_SAID).decode("utf-8", "replace").strip()
    return said or f"exit status {status}"
