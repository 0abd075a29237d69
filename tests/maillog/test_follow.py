"""Following a log: each line once, whatever becomes of the file."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import LogUnavailable
from gatepost.maillog.evidence import LogPosition
from gatepost.maillog.follow import (
    CHUNK_OCTETS,
    HEAD_OCTETS,
    Chunk,
    FileFollower,
    JournalFollower,
    LogFile,
    find_position,
    first_line,
    parse_journal,
    siblings,
)
from gatepost.maillog.lines import Entry, Loss
from lab.process import wait_until

FAKE = (sys.executable, str(Path(__file__).parent / "fake_journalctl.py"))


class Reader:
    """Reads, remembers positions as the store does, and can be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.positions: list[LogPosition] = []
        self.lines: list[bytes] = []
        self.gaps = 0
        self._follower: FileFollower | None = None

    def read(self) -> list[bytes]:
        """Return what is new."""
        if self._follower is None:
            self._follower = FileFollower(self.path, self.positions)
        found: list[bytes] = []
        while (chunk := self._follower.read()) is not None:
            found += chunk.lines
            self.store(chunk)
        self.lines += found
        return found

    def read_one_and_be_killed(self) -> None:
        """Read a chunk that never gets stored."""
        assert self._follower is not None
        self._follower.read()
        self.restart()

    def restart(self) -> None:
        if self._follower is not None:
            self._follower.close()
        self._follower = None

    def store(self, chunk: Chunk) -> None:
        if chunk.previous is None:
            assert all(each.source != chunk.position.source for each in self.positions)
        else:
            assert chunk.previous in self.positions
            self.positions.remove(chunk.previous)
        self.positions.insert(0, chunk.position)
        self.gaps += chunk.gap


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


@pytest.fixture
def reader(log: Path) -> Iterator[Reader]:
    reader = Reader(log)
    yield reader
    reader.restart()


def write(path: Path, *lines: str, mode: str = "a") -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def age(path: Path, seconds: int) -> None:
    """Make a file older; files of one test are otherwise of one moment."""
    past = path.stat().st_mtime - seconds
    os.utime(path, (past, past))


LONG = ["x" * 100 + str(number) for number in range(100)]


def test_lines_are_read_as_they_come(log, reader):
    write(log, "a", "b")
    assert reader.read() == [b"a", b"b"]
    assert reader.read() == []
    write(log, "c")
    assert reader.read() == [b"c"]


def test_a_line_is_read_when_it_is_whole(log, reader):
    log.write_bytes(b"a\nhal")
    assert reader.read() == [b"a"]
    with log.open("ab") as file:
        file.write(b"f\n")
    assert reader.read() == [b"half"]


def test_a_restart_goes_on(log, reader):
    write(log, "a", "b")
    reader.read()
    reader.restart()
    write(log, "c")
    assert reader.read() == [b"c"]


def test_what_was_not_stored_is_read_again(log, reader):
    write(log, "a")
    reader.read()
    write(log, "b")
    reader.read_one_and_be_killed()
    assert reader.read() == [b"b"]


def test_a_file_that_is_renamed(log, reader):
    write(log, "a")
    reader.read()
    log.rename(log.with_name("mail.log.1"))
    # The logger goes on with the old file until it is told, and the new one is empty until then.
    log.touch()
    write(log.with_name("mail.log.1"), "b")
    assert reader.read() == [b"b"]
    write(log.with_name("mail.log.1"), "c")
    write(log, "d")
    assert reader.read() == [b"c", b"d"]
    write(log, "e")
    assert reader.read() == [b"e"]
    assert not reader.gaps


def test_the_last_line_of_a_renamed_file_needs_no_end(log, reader):
    log.write_bytes(b"a\nb")
    reader.read()
    log.rename(log.with_name("mail.log.1"))
    write(log, "c")
    assert reader.read() == [b"b", b"c"]


def test_a_file_that_is_copied_and_truncated(log, reader):
    write(log, "a")
    reader.read()
    write(log, "b")
    shutil.copy(log, log.with_name("mail.log.1"))
    log.write_bytes(b"")
    assert reader.read() == [b"b"]
    write(log, "c")
    assert reader.read() == [b"c"]
    assert not reader.gaps


def test_a_file_that_is_truncated_and_has_grown_again(log, reader):
    write(log, *LONG)
    reader.read()
    write(log, "b")
    shutil.copy(log, log.with_name("mail.log.1"))
    write(log, *(f"new {line}" for line in LONG + LONG), mode="w")
    assert reader.read() == [b"b", *(f"new {line}".encode() for line in LONG + LONG)]


def test_a_file_that_is_truncated_without_a_copy_is_a_gap(log, reader):
    write(log, "a")
    reader.read()
    write(log, "c", mode="w")
    write(log, "d")
    assert reader.read() == [b"c", b"d"]
    assert reader.gaps == 1


@pytest.mark.parametrize(
    ("compress", "suffix"),
    [(None, ""), (gzip.compress, ".gz"), (lzma.compress, ".xz"), (bz2.compress, ".bz2")],
)
def test_rotations_while_nobody_read(log, reader, compress, suffix):
    write(log, *LONG)
    reader.read()
    reader.restart()
    write(log, "b")
    third, second = (
        log.with_name(f"mail.log.2{suffix}"),
        log.with_name("mail.log.1"),
    )
    if compress:
        third.write_bytes(compress(log.read_bytes()))
    else:
        shutil.copy(log, third)
    age(third, 20)
    write(second, "c", "d", mode="w")
    age(second, 10)
    write(log, "e", mode="w")
    assert reader.read() == [b"b", b"c", b"d", b"e"]
    assert not reader.gaps
    write(log, "f")
    reader.restart()
    assert reader.read() == [b"f"]


def test_a_rotated_file_that_the_logger_still_writes_to_at_a_start(log, reader):
    write(log, "a")
    reader.read()
    reader.restart()
    log.rename(log.with_name("mail.log.1"))
    log.touch()
    write(log.with_name("mail.log.1"), "b")
    assert reader.read() == [b"b"]
    write(log.with_name("mail.log.1"), "c")
    write(log, "d")
    assert reader.read() == [b"c", b"d"]


def test_a_file_that_is_gone_altogether_is_a_gap(log, reader):
    write(log, "a")
    reader.read()
    reader.restart()
    write(log, "z", mode="w")
    assert reader.read() == [b"z"]
    assert reader.gaps == 1


def _damaged(packed: bytes) -> bytes:
    return packed[:14] + bytes(50) + packed[64:]


@pytest.mark.parametrize(
    "pack",
    [
        lambda octets: gzip.compress(octets)[:300],
        lambda octets: _damaged(gzip.compress(octets)),
        lambda octets: lzma.compress(octets)[:300],
        lambda octets: _damaged(lzma.compress(octets)),
        lambda octets: bz2.compress(octets)[:300],
        lambda octets: _damaged(bz2.compress(octets)),
        lambda octets: b"\x28\xb5\x2f\xfd" + octets,
    ],
    ids=["gzip-cut", "gzip", "xz-cut", "xz", "bzip2-cut", "bzip2", "zstd"],
)
def test_a_broken_rotated_file_does_not_stop_the_log_of_today(log, reader, pack):
    write(log, *LONG)
    reader.read()
    reader.restart()
    shutil.copy(log, log.with_name("mail.log.2"))
    age(log.with_name("mail.log.2"), 20)
    broken = log.with_name("mail.log.1.gz")
    # What cannot be compressed much, or little of it would be left to be damaged.
    broken.write_bytes(pack(random.Random(7).randbytes(CHUNK_OCTETS // 4).hex("\n").encode()))
    age(broken, 10)
    write(log, "e", mode="w")
    assert reader.read() == [b"e"]
    assert reader.gaps == 1


def test_a_sibling_that_may_not_be_read_is_passed_over(log, reader, monkeypatch):
    write(log, *LONG)
    reader.read()
    reader.restart()
    log.rename(log.with_name("mail.log.1"))
    secret = log.with_name("mail.log.secret")
    write(secret, "x")
    write(log, "e")
    opened = Path.open

    def refuse(path, *arguments, **options):
        if path == secret:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert reader.read() == [b"e"]


def test_a_file_without_a_line_end(log, reader):
    with log.open("wb") as file:
        file.write(b"y" * (CHUNK_OCTETS + 10))
    assert [len(line) for line in reader.read()] == [CHUNK_OCTETS + 10]


def test_octets_that_are_no_text(log, reader):
    log.write_bytes(b"\xff\x00\n\n\r\n")
    assert reader.read() == [b"\xff\x00", b"", b"\r"]


def test_a_log_that_is_missing_or_closed(log, tmp_path):
    with pytest.raises(LogUnavailable, match="No such file"):
        FileFollower(log, [])
    with pytest.raises(LogUnavailable, match=r"Is a directory"):
        FileFollower(tmp_path, [])


def test_a_file_is_known_whatever_it_is_called(log, reader, tmp_path):
    write(log, *LONG)
    reader.read()
    other = tmp_path / "elsewhere.gz"
    other.write_bytes(gzip.compress(log.read_bytes()))
    assert find_position(other, reader.positions) == reader.positions[0]
    assert first_line(other) == LONG[0].encode()
    write(log, "more")
    assert find_position(log, reader.positions) == reader.positions[0]
    write(log, "another", mode="w")
    assert find_position(log, reader.positions) is None


def test_a_small_file_is_known_when_it_has_grown(log, reader):
    write(log, "a")
    reader.read()
    assert reader.positions[0].head_octets == 2
    write(log, *LONG)
    assert find_position(log, reader.positions) == reader.positions[0]
    reader.read()
    assert [each.head_octets for each in reader.positions] == [HEAD_OCTETS]


def test_only_rotations_of_the_log_are_its_siblings(tmp_path):
    for name in (
        "mail.log",
        "mail.log.1",
        "mail.log-20261124.gz",
        "mail.logs",
        "mail.err",
        "xmail.log.1",
    ):
        (tmp_path / name).touch()
    (tmp_path / "mail.log.d").mkdir()
    assert [path.name for path in siblings(tmp_path / "mail.log")] == [
        "mail.log-20261124.gz",
        "mail.log.1",
    ]


def test_a_part_of_a_compressed_file(log):
    log.write_bytes(gzip.compress(b"a\nb\n"))
    file = LogFile(log, "x")
    with contextlib.closing(file):
        chunk = file.read(last=True)
        assert chunk is not None
        assert list(chunk.lines) == [b"a", b"b"]
        assert file.read(last=True) is None
    again = LogFile(log, "x", LogPosition("y", 2, 2, "x"))
    with contextlib.closing(again):
        chunk = again.read(last=True)
        assert chunk is not None
        assert list(chunk.lines) == [b"b"]


# The journal


def entry(number: int, message: object = "4AAAA: removed", **fields: object) -> str:
    return json.dumps(
        {
            "__CURSOR": f"s={number}",
            "__REALTIME_TIMESTAMP": str(1_800_000_000_000_000 + number),
            "_HOSTNAME": "mail",
            "SYSLOG_IDENTIFIER": "postfix/qmgr",
            "SYSLOG_PID": "12",
            "MESSAGE": message,
            **fields,
        }
    )


def take(follower: JournalFollower, count: int) -> list[Entry | Loss]:
    found: list[Entry | Loss] = []

    def enough() -> bool:
        while (chunk := follower.read()) is not None:
            found.extend(chunk.entries)
            positions.append(chunk.position)
        return len(found) >= count

    positions: list[LogPosition] = []
    wait_until(enough, 10, "entries of the journal")
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    write(path, entry(1), entry(2))
    return path


def test_the_journal_from_a_cursor_on(journal):
    follower = JournalFollower(LogPosition("journal", 0, 0, "s=1"), (*FAKE, str(journal)))
    with contextlib.closing(follower):
        (found,) = take(follower, 1)
        assert found == Entry(1_800_000_000.000002, "mail", "postfix", "qmgr", 12, "4AAAA: removed")
        write(journal, entry(3), entry(4, SYSLOG_IDENTIFIER="postfix/smtpd"), entry(5))
        assert len(take(follower, 2)) == 2
        assert follower._position == LogPosition("journal", 0, 0, "s=5")


def test_the_journal_of_other_programs(journal):
    command = (*FAKE, str(journal))
    start = LogPosition("journal", 0, 0, "s=1")
    with contextlib.closing(JournalFollower(start, command, {"smtpd"})) as follower:
        write(journal, entry(3), entry(4, SYSLOG_IDENTIFIER="postfix/smtpd"), entry(5))
        (found,) = take(follower, 1)
        assert found.program == "smtpd"


def test_a_journal_that_ends_is_told(journal):
    follower = JournalFollower(LogPosition("journal", 0, 0, "s=2"), (*FAKE, str(journal)))
    with contextlib.closing(follower):
        write(journal, "END")
        with pytest.raises(LogUnavailable, match="this is a fake journalctl"):
            wait_until(lambda: follower.read() is not None, 10, "the end")


def test_a_host_without_journalctl():
    with pytest.raises(LogUnavailable, match="set maillog to a file"):
        JournalFollower(None, ("/nonexistent/journalctl",))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            entry(1, list(b"a\xffb")),
            Entry(1_800_000_000.000001, "mail", "postfix", "qmgr", 12, "a\udcffb"),
        ),
        (entry(1, None), Entry(1_800_000_000.000001, "mail", "postfix", "qmgr", 12, "")),
        (entry(1, [999]), Entry(1_800_000_000.000001, "mail", "postfix", "qmgr", 12, "")),
        (entry(1, SYSLOG_PID="x"), None),
        (entry(1, SYSLOG_IDENTIFIER="dovecot"), None),
        (entry(1, MESSAGE_ID="a596d6fe7bfa4994828e72309e95d61e"), Loss(1_800_000_000.000001)),
        ("{}", None),
        ("[]", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_entries_of_the_journal(line, found):
    assert parse_journal(line.encode())[0] == found
