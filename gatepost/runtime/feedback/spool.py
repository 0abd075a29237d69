"""Mail that came back, on disk from before Postfix is told 250 until it was dealt with.

Purpose: once Postfix has handed a mail over, nobody else has it. It must outlive the death of this
process and of the host, and be read once, in the order in which it came.
Source: RFC 5321 §4.2.5 and §6.1 (who says 250 must not lose it), RFC 2033 §4.2.
Format: in the directory ``feedback.intake_dir``:

==================  ===============================================================================
``tmp/``            being written; what a killed process left there was never promised
``new/``            waits to be read
``quarantine/``     could not be read, beside ``<id>.why``, a JSON object with ``reason`` and
                    ``text``
==================  ===============================================================================

A file has one line of JSON, the envelope (``sender``, ``recipients``, ``at``), then the mail as it
came. Its name, which is its id, begins with the time of its arrival, so that names sort by age.
Limits: 26 MiB of a mail, as no mailbox provider sends larger ones; of a larger one the first MiB is
kept, in quarantine. The quarantine holds 10,000 mails of 512 MiB together; beyond, the largest of
it go, and of many small ones the oldest: whoever sends what cannot be read must not fill the disk,
nor push out all else that lies there. No mail is taken while less than 64 MiB, or a hundredth of
the file system, would be left: what else is on it, such as the database, must be able to go on.
Errors: `OSError` where it says so; nothing has been promised then.
Security: the directory belongs to Gatepost alone; files have mode 0600.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from gatepost.errors import MalformedMessage

MAX_OCTETS = 26 * 1024 * 1024
HEAD_OCTETS = 1024 * 1024
MIN_FREE_OCTETS = 64 * 1024 * 1024
MIN_FREE_SHARE = 0.01
MAX_ENVELOPE_OCTETS = 1024 * 1024
MAX_HELD = 10_000
MAX_HELD_OCTETS = 512 * 1024 * 1024
# So much is left of the quarantine when it was too full, so that not each mail looks through it.
_SHARE_LEFT = 0.9

_DIRECTORIES = ("tmp", "new", "quarantine")
_WHY = ".why"
_ID = re.compile(r"[0-9]{19}-[0-9]+-[0-9]+")
_NUMBERS = itertools.count()


class Held(StrEnum):
    """Why a mail lies in quarantine."""

    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    CRASHED = "reader-crashed"
    TIME = "time-limit"
    OVER_LIMIT = "over-limit"


class NoRoom(OSError):
    """There is too little room on the disk to take a mail."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The envelope of a mail that came back.

    Attributes:
        sender: Envelope sender, empty for the null sender.
        recipients: Envelope recipients, at our domains.
        at: Unix time at which it came.
    """

    sender: str
    recipients: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Spooled:
    """A mail on disk.

    Attributes:
        id: Its name.
        path: Where it is.
        envelope: Its envelope.
        offset: Where the mail begins in the file.
        octets: How long it is.
    """

    id: str
    path: Path
    envelope: Envelope
    offset: int
    octets: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A mail in quarantine.

    Attributes:
        mail: The mail.
        reason: Why it is there, a value of `Held`.
        text: What exactly.
    """

    mail: Spooled
    reason: str
    text: str


class Spool:
    """One directory; threads and processes may use it at once."""

    def __init__(self, directory: Path) -> None:
        """Make what is missing of it.

        Raises:
            OSError: If that cannot be done.
        """
        self.directory = directory
        # What the quarantine may hold more until it has to be looked through again.
        self._room = (0, 0)
        for name in _DIRECTORIES:
            (directory / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def new(self) -> Path:
        """Where mails wait."""
        return self.directory / "new"

    @property
    def quarantine(self) -> Path:
        """Where mails lie that could not be read."""
        return self.directory / "quarantine"

    def begin(self, sender: str, recipients: Sequence[str]) -> Writing:
        """Begin to write a mail.

        Raises:
            OSError: If there is no room, or it cannot be written.
        """
        status = os.statvfs(self.directory)
        free = status.f_bavail * status.f_frsize
        if free < max(MIN_FREE_OCTETS, MIN_FREE_SHARE * status.f_blocks * status.f_frsize):
            raise NoRoom(f"{self.directory}: only {free // 1024**2} MiB are left")
        return Writing(self, Envelope(sender, tuple(recipients), time.time()))

    def waiting(self) -> list[str]:
        """Return the ids of the mails that wait, the oldest first.

        Raises:
            OSError: If the directory cannot be read.
        """
        return sorted(name for name in os.listdir(self.new) if _ID.fullmatch(name))  # noqa: PTH208

    def find(self, mail_id: str) -> Spooled | None:
        """Return a mail that waits, or None if it is not there any more.

        Raises:
            MalformedMessage: If the file is none of ours, or was damaged.
            OSError: If it cannot be read.
        """
        return _look(self.new / mail_id)

    def done(self, mail_id: str) -> None:
        """Remove a mail that was dealt with.

        Raises:
            OSError: If it cannot be removed.
        """
        (self.new / mail_id).unlink(missing_ok=True)

    def hold(self, mail_id: str, reason: Held, text: str) -> list[str]:
        """Put a mail that waits into quarantine; return the ids of those that had to make room.

        Raises:
            OSError: If it cannot be moved.
        """
        # A disk that is full has no room for the reason, and the mail must not hold up all others.
        with contextlib.suppress(OSError):
            self._explain(mail_id, reason, text)
        with contextlib.suppress(FileNotFoundError):
            (self.new / mail_id).rename(self.quarantine / mail_id)
        return self.bound(mail_id)

    def bound(self, mail_id: str) -> list[str]:
        """Delete what is too much in quarantine, now that a mail was put there; return the ids.

        Raises:
            OSError: If the quarantine cannot be looked through.
        """
        octets = _size(self.quarantine / mail_id)
        mails_left, octets_left = self._room
        self._room = (mails_left - 1, octets_left - octets)
        if min(self._room) >= 0:
            return []
        names = (name for name in os.listdir(self.quarantine) if _ID.fullmatch(name))  # noqa: PTH208
        sizes = {name: _size(self.quarantine / name) for name in sorted(names)}
        gone = _too_much(sizes)
        for name in gone:
            self.drop(name)
        kept = sum(sizes.values()) - sum(sizes[name] for name in gone)
        self._room = (MAX_HELD - len(sizes) + len(gone), MAX_HELD_OCTETS - kept)
        return gone

    def held(self) -> list[Quarantined]:
        """Return what lies in quarantine, the oldest first.

        Raises:
            OSError: If the directory cannot be read.
        """
        names = sorted(os.listdir(self.quarantine))  # noqa: PTH208
        found = (self.find_held(name) for name in names if _ID.fullmatch(name))
        return [each for each in found if each is not None]

    def find_held(self, mail_id: str) -> Quarantined | None:
        """Return a mail in quarantine, or None if it is not there.

        Raises:
            OSError: If it cannot be read.
        """
        if not _ID.fullmatch(mail_id):
            return None
        try:
            mail = _look(self.quarantine / mail_id)
        except MalformedMessage:
            path = self.quarantine / mail_id
            mail = Spooled(mail_id, path, Envelope("", (), 0.0), 0, path.stat().st_size)
        if mail is None:
            return None
        why: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            why = json.loads((self.quarantine / f"{mail_id}{_WHY}").read_bytes())
        return Quarantined(mail, str(why.get("reason", "unknown")), str(why.get("text", "")))

    def retry(self, mail_id: str) -> bool:
        """Have a mail in quarantine read again; tell whether it was there.

        Raises:
            OSError: If it cannot be moved.
        """
        if not _ID.fullmatch(mail_id):
            return False
        try:
            (self.quarantine / mail_id).rename(self.new / mail_id)
        except FileNotFoundError:
            return False
        (self.quarantine / f"{mail_id}{_WHY}").unlink(missing_ok=True)
        return True

    def drop(self, mail_id: str) -> bool:
        """Delete a mail in quarantine; tell whether it was there.

        Raises:
            OSError: If it cannot be deleted.
        """
        if not _ID.fullmatch(mail_id):
            return False
        try:
            (self.quarantine / mail_id).unlink()
        except FileNotFoundError:
            return False
        (self.quarantine / f"{mail_id}{_WHY}").unlink(missing_ok=True)
        return True

    def expire(self, before: float) -> int:
        """Delete what lies in quarantine since before a Unix time; return how many mails.

        What was left in ``tmp`` goes too: by then nobody is writing it.

        Raises:
            OSError: If the directory cannot be read.
        """
        deleted = 0
        for name in ("quarantine", "tmp"):
            for path in (self.directory / name).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()
                        deleted += name == "quarantine" and path.suffix != _WHY
        return deleted

    def _explain(self, mail_id: str, reason: Held, text: str) -> None:
        temporary = self.directory / "tmp" / f"{mail_id}{_WHY}"
        temporary.write_text(json.dumps({"reason": reason.value, "text": text}), encoding="utf-8")
        temporary.rename(self.quarantine / temporary.name)


class Writing:
    """A mail that is being written; `commit` keeps it, `abort` does not.

    Attributes:
        id: What it will be called.
    """

    def __init__(self, spool: Spool, envelope: Envelope) -> None:
        self.id = f"{int(envelope.at * 1e9):019d}-{os.getpid()}-{next(_NUMBERS)}"
        self._spool = spool
        self._path = spool.directory / "tmp" / self.id
        self._octets = 0
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self._file: BinaryIO = os.fdopen(os.open(self._path, flags, 0o600), "wb")
        self._file.write(json.dumps(asdict(envelope)).encode("utf-8", "surrogateescape") + b"\n")
        self._begin = self._file.tell()

    def write(self, octets: bytes) -> None:
        """Take a piece of the mail.

        Raises:
            OSError: If it cannot be written.
        """
        before, self._octets = self._octets, self._octets + len(octets)
        if self._octets <= MAX_OCTETS:
            self._file.write(octets)
        elif before <= MAX_OCTETS:
            self._file.seek(self._begin + HEAD_OCTETS)
            self._file.truncate()

    def commit(self) -> None:
        """Keep it, so that not even a loss of power loses it.

        Raises:
            OSError: If that cannot be done; nothing is kept then.
        """
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        target = self._spool.new
        if self._octets > MAX_OCTETS:
            target = self._spool.quarantine
            text = f"{self._octets} octets; the first {HEAD_OCTETS} are kept"
            self._spool._explain(self.id, Held.TOO_LARGE, text)  # noqa: SLF001  # its own helper
        self._path.rename(target / self.id)
        _sync(target)
        if target != self._spool.new:
            # It is kept by now, whatever happens to others.
            with contextlib.suppress(OSError):
                self._spool.bound(self.id)

    def abort(self) -> None:
        """Forget it; never raises."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def _too_much(sizes: dict[str, int]) -> list[str]:
    """Return which mails in quarantine have to go.

    Args:
        sizes: Octets of each, the oldest first.
    """
    octets = sum(sizes.values())
    gone: list[str] = []
    if octets > MAX_HELD_OCTETS:
        # A sort keeps the order of equals, so of these the oldest go first.
        for name in sorted(sizes, key=lambda each: -sizes[each]):
            if octets <= MAX_HELD_OCTETS * _SHARE_LEFT:
                break
            gone.append(name)
            octets -= sizes[name]
    left = [name for name in sizes if name not in set(gone)] if gone else list(sizes)
    if len(left) > MAX_HELD:
        gone += left[: len(left) - int(MAX_HELD * _SHARE_LEFT)]
    return gone


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _look(path: Path) -> Spooled | None:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_ENVELOPE_OCTETS)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    try:
        said = json.loads(line.decode("utf-8", "surrogateescape"))
        envelope = Envelope(
            str(said["sender"]), tuple(map(str, said["recipients"])), float(said["at"])
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedMessage(f"{path.name}: no envelope: {error}", rule="spool file") from error
    return Spooled(path.name, path, envelope, len(line), size - len(line))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
