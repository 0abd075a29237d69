"""Log lines: one event, one line, whatever mail contains."""

from __future__ import annotations

import io
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.runtime import log
from gatepost.runtime.log import clean, format_event, log_event, log_fatal, set_up


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put logging back as pytest had it."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, threading.excepthook)
    raising = logging.raiseExceptions
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.raiseExceptions = raising


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße", "Grüße"),
        ("a\nreject queue_id=1", "a\\x0areject queue_id=1"),
        ("\x1b[2J", "\\x1b[2J"),
        ("caf\udce9", "caf\\xe9"),
        ("a\u2028b\u202eb", "a\\u2028b\\u202eb"),
        ("\U000e0001", "\\U000e0001"),
        ("", ""),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_a_clean_line_is_one_line_that_can_be_written_anywhere(text: str) -> None:
    line = clean(text, 50)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    assert len(line) <= 50
    line.encode("utf-8")


def test_a_line_that_is_too_long_says_so() -> None:
    assert clean("x" * 3000) == "x" * 1997 + "..."


def test_values_are_quoted_where_a_reader_could_split_them() -> None:
    line = format_event("reject", a="bare", b="two words", c='q"\\', d="", e=None, f="k=v", g="<x>")
    assert line == r'reject a=bare b="two words" c="q\"\\" d="" f="k=v" g=<x>'
    assert format_event("e", yes=True, no=False, n=3, s=0.5) == "e yes=yes no=no n=3 s=0.500"


@given(st.text(max_size=30))
def test_a_value_can_be_read_back(value: str) -> None:
    line = format_event("e", v=value)
    found = re.fullmatch(r'e v=(?:"(.*)"|([^ "=\\]+))', line, re.DOTALL)
    assert found is not None
    read = re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found[2] is None else found[2]
    assert read == value


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_line_on_standard_error_has_time_and_ident() -> None:
    stream = io.StringIO()
    set_up("policy", stream=stream)
    log_event(logging.getLogger("gatepost.x"), logging.INFO, "reload", result="ok")
    log_event(logging.getLogger("gatepost.x"), logging.ERROR, "reload", result="refused")
    log_event(logging.getLogger("gatepost.x"), logging.DEBUG, "unseen")
    first, second = lines_of(stream)
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} gatepost/policy\[\d+\]: "
    assert re.fullmatch(stamp + "reload result=ok", first)
    assert re.fullmatch(stamp + "error: reload result=refused", second)


def test_under_systemd_a_line_has_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "on_journal", lambda _: True)
    stream = io.StringIO()
    set_up("policy", stream=stream)
    log_event(logging.getLogger(), logging.WARNING, "cut-off", connections=1)
    logging.getLogger().critical("gone")
    assert lines_of(stream) == [
        "<4>policy: warning: cut-off connections=1",
        "<2>policy: fatal: gone",
    ]


def test_the_journal_is_known_by_device_and_inode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "f").open("w") as file:
        stat = (tmp_path / "f").stat()
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not log.on_journal(file)
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
        assert log.on_journal(file)
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino + 1}")
        assert not log.on_journal(file)
    assert not log.on_journal(io.StringIO())


def test_syslog_gets_the_ident_and_the_facility_mail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(10)
        set_up("milter", "syslog")
        log_event(logging.getLogger(), logging.WARNING, "tempfail", cause="a\nb")
        # <22> would be mail.info, <20> is mail.warning.
        line = daemon.recv(4096).decode()
    assert re.fullmatch(r'<20>gatepost/milter\[\d+\]: warning: tempfail cause="a\\x0ab"', line)


def test_why_a_process_cannot_go_on_is_on_standard_error_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(10)
        set_up("milter", "syslog")
        log_fatal(logging.getLogger(), "cannot-start", reason="no room")
        assert daemon.recv(4096).endswith(b': fatal: cannot-start reason="no room"')
    assert capsys.readouterr().err == 'fatal: cannot-start reason="no room"\n'


def test_where_it_is_there_anyway_it_is_told_once() -> None:
    stream = io.StringIO()
    set_up("milter", stream=stream)
    log_fatal(logging.getLogger(), "cannot-start", reason="no room")
    assert len(lines_of(stream)) == 1


def test_without_a_syslog_socket_standard_error_is_used_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(tmp_path / "none"))
    stream = io.StringIO()
    set_up("milter", "syslog", stream=stream)
    [line] = lines_of(stream)
    assert "warning: no-syslog" in line
    assert "using=stderr" in line


def fail() -> None:
    raise ValueError("two\nlines")


def test_an_exception_is_told_on_the_same_line() -> None:
    stream = io.StringIO()
    recent = set_up("milter", stream=stream)
    try:
        fail()
    except ValueError:
        logging.getLogger().exception("tempfail queue_id=1")
    [line] = lines_of(stream)
    assert 'error: tempfail queue_id=1 cause="ValueError: two\\x0alines" at="' in line
    assert "test_log.py:" in line
    assert ':fail"' in line
    assert recent.latest()[0].text.startswith("tempfail queue_id=1 cause=")


def test_the_last_troubles_are_kept_newest_first() -> None:
    recent = set_up("milter", stream=io.StringIO())
    logging.getLogger().info("fine")
    for n in range(25):
        logging.getLogger().warning("trouble %d", n)
    logging.getLogger().error("last")
    kept = recent.latest()
    assert len(kept) == 20
    assert [(each.level, each.text) for each in kept[:2]] == [
        ("error", "last"),
        ("warning", "trouble 24"),
    ]


def test_a_record_that_cannot_be_formatted_is_logged_as_it_is() -> None:
    stream = io.StringIO()
    set_up("milter", stream=stream)
    logging.getLogger().warning("%d apples", "no")
    assert "warning: '%d apples' ('no',)" in lines_of(stream)[0]


def test_what_nobody_caught_is_logged_in_threads_too() -> None:
    stream = io.StringIO()
    set_up("milter", stream=stream)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert [line.count("fatal: uncaught cause=") for line in lines_of(stream)] == [1, 1]


def test_a_stream_that_is_closed_does_not_stop_the_work() -> None:
    stream = io.StringIO()
    set_up("milter", stream=stream)
    stream.close()
    logging.getLogger().warning("into the void")
