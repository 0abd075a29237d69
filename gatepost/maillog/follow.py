"""Read a mail log that grows, is rotated, copied, truncated and compressed: each line once.

Purpose: the only module of this package that does I/O. It gives lines in chunks, each with the
position up to which the log is read once the chunk is stored.
Source: logrotate(8): rename and create, copytruncate, compress, delaycompress; journalctl(1) -f,
-o json, --after-cursor; systemd.journal-fields(7).
Format: a file is known by a digest of its first 4 KiB, whatever it is called: ``mail.log`` is still
the same file as ``mail.log.1``, as its copy, and as ``mail.log.2.gz`` (gzip, xz or bzip2).
Limits: a chunk of 1 MiB, some 7,000 lines: what one transaction takes, and what is read again after
a kill; a line of 1 MiB.
Errors: `LogUnavailable` where the log cannot be read, with what to do.
Security: nothing is followed but the path that was configured and files beside it whose name begins
with its name.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import select
import subprocess
import zlib
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gatepost.errors import LogUnavailable
from gatepost.maillog.evidence import LogPosition
from gatepost.maillog.lines import PROGRAMS, Entry, Loss, tells

HEAD_OCTETS = 4096
CHUNK_OCTETS = 1 << 20
JOURNAL = "journal"
JOURNALCTL = ("journalctl",)

_MAX_SIBLINGS = 1000
# What rotation may have packed a file with, by how it begins, and what unpacks it.
_PACKED: tuple[tuple[bytes, Callable[[io.FileIO], io.BufferedIOBase]], ...] = (
    (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"BZh", bz2.BZ2File),
)
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_START_OCTETS = 6
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_PROGRAMS = PROGRAMS | {"smtpd", "lmtp"}
_FACILITY_MAIL = "SYSLOG_FACILITY=2"
# What journald itself says when it has dropped lines of a service (sd-messages(3)).
_DROPPED = "a596d6fe7bfa4994828e72309e95d61e"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines, and where the log is read to with them.

    Attributes:
        lines: Lines of a file, without their ends.
        entries: Lines of the journal.
        position: Up to where it is read.
        previous: Up to where it was read before, or None.
        gap: Whether lines before these are lost.
    """

    lines: Sequence[bytes]
    position: LogPosition
    previous: LogPosition | None
    gap: bool = False
    entries: Sequence[Entry | Loss] = field(default=())


class LogFile:
    """One file from a position on, compressed or not.

    Attributes:
        path: Where it is.
        position: Up to where it is read, or None.
        raw: The open file, as it is on the disk.
        compressed: Whether that is compressed.
    """

    def __init__(self, path: Path, name: str, position: LogPosition | None = None) -> None:
        """Open it.

        Args:
            path: The file.
            name: What its position remembers as the log's name.
            position: Up to where it is read, or None for nothing.

        Raises:
            LogUnavailable: If it cannot be opened.
        """
        self.path = path
        self.position = position
        self._name = name
        self._offset = position.offset if position else 0
        self._rest = b""
        try:
            self.raw = path.open("rb", buffering=0)
        except OSError as error:
            raise unavailable(path, error) from error
        try:
            self._file = _unpacked(self.raw)
            self.compressed = self._file is not self.raw
            self._file.seek(self._offset)
        except _BROKEN as error:
            self.raw.close()
            raise unavailable(path, error) from error

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self.raw.close()

    def read(self, *, last: bool = False) -> Chunk | None:
        """Return the next lines, or None where there are none.

        Args:
            last: Whether nothing more will be written, so that a line without an end is whole.

        Raises:
            LogUnavailable: If it cannot be read.
        """
        whole = end = b""
        while not whole and not end:
            try:
                data = self._file.read(CHUNK_OCTETS)
            except _BROKEN as error:
                raise unavailable(self.path, error) from error
            whole, end, rest = (self._rest + data).rpartition(b"\n")
            if (last and rest and not data) or len(rest) > CHUNK_OCTETS:
                whole, end, rest = whole + end + rest, b"", b""
            self._rest = rest
            if not data and not whole:
                return None
        self._offset += len(whole) + len(end)
        previous, self.position = self.position, self._here()
        return Chunk(whole.split(b"\n"), self.position, previous)

    def replaced(self) -> bool:
        """Tell whether what was read is no longer what the file holds: it was truncated."""
        if self.compressed:
            return False
        if os.fstat(self.raw.fileno()).st_size < self._offset + len(self._rest):
            return True
        position = self.position
        return position is not None and position.source != _digest(
            os.pread(self.raw.fileno(), position.head_octets, 0)
        )

    def _here(self) -> LogPosition:
        octets = min(HEAD_OCTETS, self._offset)
        if self.position is not None and self.position.head_octets >= octets:
            source, octets = self.position.source, self.position.head_octets
        elif self.compressed:
            source = _digest(_head_of(self.path)[:octets])
        else:
            source = _digest(os.pread(self.raw.fileno(), octets, 0))
        return LogPosition(source, octets, self._offset, self._name)


class FileFollower:
    """Follows a log by its path, from file to file."""

    def __init__(self, path: Path, positions: Sequence[LogPosition]) -> None:
        """Find where the log was read to, and what was written since.

        Args:
            path: The log.
            positions: All positions that are known, the latest first.

        Raises:
            LogUnavailable: If there is no such file, or it cannot be read.
        """
        self._path = path
        self._known = list(positions)
        self._gap = False
        self._parts: deque[tuple[Path, LogPosition | None]] = deque(self._unread())
        self._file: LogFile | None = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> Chunk | None:
        """Return the next lines, or None if there are none yet.

        Raises:
            LogUnavailable: If the log cannot be read.
        """
        while True:
            try:
                file = self._current()
                if not self._parts and file.replaced():
                    self._start_over(file)
                    continue
                # Asked before the last read: what was written until then must be in it.
                done = self._is_done(file)
                chunk = file.read(last=done)
            except LogUnavailable:
                if not self._parts:
                    raise
                # A rotated file that is broken must not stop the log of today.
                self._gap = True
                self.close()
                continue
            if chunk is not None:
                return self._mark(chunk)
            if not done:
                return None
            self.close()
            if not self._parts:
                self._parts.append((self._path, None))

    def _current(self) -> LogFile:
        if self._file is None:
            path, position = self._parts.popleft()
            self._file = LogFile(path, str(self._path), position)
        return self._file

    def _mark(self, chunk: Chunk) -> Chunk:
        if not self._gap:
            return chunk
        self._gap = False
        return replace(chunk, gap=True)

    def _is_done(self, file: LogFile) -> bool:
        """Tell whether nothing more will be written to a file.

        After a rotation the logger goes on with the old file until it is told of the new one.
        """
        if self._parts:
            path = self._parts[0][0]
            return path != self._path or _length(path) > 0
        return self._rotated(file)

    def _rotated(self, file: LogFile) -> bool:
        """Tell whether the logger writes to another file of the same name now."""
        try:
            present = self._path.stat()
        except OSError:
            return False
        mine = os.fstat(file.raw.fileno())
        other = (present.st_dev, present.st_ino) != (mine.st_dev, mine.st_ino)
        return other and present.st_size > 0

    def _start_over(self, file: LogFile) -> None:
        """Read the rest of a truncated file in its copy, and then the file from its beginning."""
        position = file.position
        self.close()
        if position is not None:
            copy = self._copy_of(position)
            if copy is None:
                self._gap = True
            else:
                self._parts.append((copy, position))
        self._parts.append((self._path, None))

    def _copy_of(self, position: LogPosition) -> Path | None:
        found = [path for path in siblings(self._path) if _is_at(path, [position])]
        return max(found, key=_length, default=None)

    def _unread(self) -> Iterator[tuple[Path, LogPosition | None]]:
        """Yield the files to read, oldest first, with where each is read to; the log is last."""
        name = str(self._path)
        live = [each for each in self._known if each.cursor == name and each.head_octets]
        position = find_position(self._path, self._known)
        if live and (position is None or position.cursor != name):
            old = self._copy_of(live[0])
            if old is None:
                self._gap = True
            else:
                yield old, live[0]
                yield from self._newer_than(old, live)
        yield self._path, position

    def _newer_than(
        self, old: Path, live: Sequence[LogPosition]
    ) -> Iterator[tuple[Path, LogPosition | None]]:
        since = old.stat().st_mtime_ns
        newer = [path for path in siblings(self._path) if path.stat().st_mtime_ns > since]
        for path in sorted(newer, key=lambda each: each.stat().st_mtime_ns):
            if not _is_at(path, live):
                yield path, _is_at(path, self._known)


class JournalFollower:
    """Follows the journal through journalctl(1)."""

    def __init__(
        self,
        position: LogPosition | None,
        command: Sequence[str] = JOURNALCTL,
        programs: Container[str] = _PROGRAMS,
    ) -> None:
        """Start journalctl.

        Args:
            position: Up to where the journal is read; None begins with what comes next.
            command: How it is called.
            programs: Whose lines are wanted.

        Raises:
            LogUnavailable: If there is none.
        """
        self._position = position
        self._programs = programs
        start = ["--after-cursor", position.cursor] if position else ["--lines=0"]
        fields = "MESSAGE,MESSAGE_ID,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_HOSTNAME"
        arguments = ["--follow", "--output=json", "--no-pager", "--quiet", *start]
        matches = [_FACILITY_MAIL, "+", f"MESSAGE_ID={_DROPPED}"]
        try:
            self._process = subprocess.Popen(
                [*command, *arguments, f"--output-fields={fields}", *matches],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except OSError as error:
            raise LogUnavailable(
                f"{command[0]}: {error.strerror}; set maillog to a file"
            ) from error
        self._rest = b""

    def close(self) -> None:
        """End journalctl."""
        self._process.kill()
        self._process.communicate()

    def read(self) -> Chunk | None:
        """Return the next entries, or None if there are none yet.

        Raises:
            LogUnavailable: If journalctl has ended.
        """
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], 0)[0]:
            return None
        data = os.read(stdout.fileno(), CHUNK_OCTETS)
        if not data:
            _, errors = self._process.communicate()
            said = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise LogUnavailable(f"journalctl has ended: {said or self._process.returncode}")
        whole, end, self._rest = (self._rest + data).rpartition(b"\n")
        if not end:
            return None
        entries: list[Entry | Loss] = []
        cursor = ""
        for line in whole.split(b"\n"):
            entry, at = parse_journal(line, self._programs)
            cursor = at or cursor
            if entry is not None:
                entries.append(entry)
        if not cursor:
            return None
        previous, self._position = self._position, LogPosition(JOURNAL, 0, 0, cursor)
        return Chunk((), self._position, previous, entries=entries)


def parse_journal(
    line: bytes, programs: Container[str] = _PROGRAMS
) -> tuple[Entry | Loss | None, str]:
    """Return what a line of ``journalctl -o json`` by one of these says, and its cursor or ""."""
    try:
        fields: dict[str, Any] = json.loads(line)
        cursor = str(fields["__CURSOR"])
        at = int(fields["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, ""
    if fields.get("MESSAGE_ID") == _DROPPED:
        return Loss(at), cursor
    ident, _, program = str(fields.get("SYSLOG_IDENTIFIER", "")).rpartition("/")
    pid = str(fields.get("SYSLOG_PID") or fields.get("_PID") or "")
    if program not in programs or not (pid.isascii() and pid.isdigit()):
        return None, cursor
    text = _text(fields.get("MESSAGE"))
    if programs is _PROGRAMS and not tells(program, text):
        return None, cursor
    host = str(fields.get("_HOSTNAME", ""))
    return Entry(at, host, ident, program, int(pid[:10]), text), cursor


def _text(message: Any) -> str:
    if isinstance(message, list):
        # journalctl(1): what is no UTF-8 is a list of octets.
        try:
            return bytes(message).decode("utf-8", "surrogateescape")
        except (ValueError, TypeError):
            return ""
    return message if isinstance(message, str) else ""


def find_position(path: Path, positions: Sequence[LogPosition]) -> LogPosition | None:
    """Return the position of a file among some, or None if nothing of it was read.

    Raises:
        LogUnavailable: If the file cannot be read.
    """
    head = _head_of(path)
    lengths = {each.head_octets for each in positions if 0 < each.head_octets <= len(head)}
    # The longest beginning tells the most.
    for octets in sorted(lengths, reverse=True):
        source = _digest(head[:octets])
        for each in positions:
            if each.head_octets == octets and each.source == source:
                return each
    return None


def end_of(path: Path) -> list[LogPosition]:
    """Return the position of what is written to a file from now on; none if it is empty.

    Raises:
        LogUnavailable: If the file cannot be read.
    """
    head, length = _head_of(path), _length(path)
    return [LogPosition(_digest(head), len(head), length, str(path))] if head else []


def siblings(path: Path) -> list[Path]:
    """Return the files that a rotation of a log may have made of it, without the log itself."""
    found = [
        each
        for each in path.parent.glob(f"{_literal(path.name)}?*")
        if each.name[len(path.name)] in ".-" and each.is_file()
    ]
    return sorted(found)[:_MAX_SIBLINGS]


def first_line(path: Path) -> bytes:
    """Return the first line of a file, compressed or not.

    Raises:
        LogUnavailable: If the file cannot be read.
    """
    return _head_of(path).partition(b"\n")[0]


def unavailable(path: Path, error: BaseException) -> LogUnavailable:
    """Return the error for a file that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    remedy = ""
    if isinstance(error, PermissionError):
        remedy = "; Gatepost's account must be in the group that may read it, often adm"
    return LogUnavailable(f"{path}: {reason}{remedy}")


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as raw:
            return _unpacked(raw).read(HEAD_OCTETS)
    except _BROKEN as error:
        raise unavailable(path, error) from error


def _unpacked(raw: io.FileIO) -> io.RawIOBase | io.BufferedIOBase:
    """Return what gives the lines of an open file: itself, unless it is compressed."""
    start = os.pread(raw.fileno(), _START_OCTETS, 0)
    if start.startswith(_ZSTANDARD):
        raise OSError("packed with zstd, which is not read; unpack it first")
    opener = next((each for magic, each in _PACKED if start.startswith(magic)), None)
    return raw if opener is None else opener(raw)


def _is_at(path: Path, positions: Sequence[LogPosition]) -> LogPosition | None:
    """Return the position of a rotated file; what cannot be read shows when it is its turn."""
    try:
        return find_position(path, positions)
    except LogUnavailable:
        return None


def _length(path: Path) -> int:
    """Return the size of a file; a compressed one is complete and so longer than any copy."""
    try:
        with path.open("rb", buffering=0) as raw:
            compressed = _unpacked(raw) is not raw
        return 1 << 62 if compressed else path.stat().st_size
    except OSError:
        return -1


def _literal(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()[:32]
