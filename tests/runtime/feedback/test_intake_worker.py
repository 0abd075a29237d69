"""The worker: nothing is lost and nothing doubled, whoever dies, and whatever the mail is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import EventKind
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, Token, day_of, seal_token
from gatepost.runtime.feedback import intake_worker as module
from gatepost.runtime.feedback.effects import Effects, FeedbackStores, open_feedback_stores
from gatepost.runtime.feedback.feedback_intake import prune
from gatepost.runtime.feedback.feedback_metrics import watch_intake
from gatepost.runtime.feedback.intake_worker import IntakeWorker, Reader, setup_of
from gatepost.runtime.feedback.reader_child import ReportReader
from gatepost.runtime.feedback.reader_process import ReaderGone, ReaderProcess
from gatepost.runtime.feedback.report_origin import Keys
from gatepost.runtime.feedback.spool import Held, Spool, Spooled
from gatepost.runtime.metrics import Metrics
from gatepost.tenants.model import tenant_number
from gatepost.tls.resolver import Resolver
from lab.process import wait_until
from lab.reporters import bounce, unsubscribe_mail, yahoo_report
from tests.world import KEYS, snapshot, tenant

ROOT = Path(__file__).resolve().parents[3]
WORLD = snapshot(tenant("acme"), feedback_domain="fbl.example")
ID = b"12345678"

KILLED = """
import os, signal, sys, time
from pathlib import Path
from tests.runtime.feedback.test_intake_worker import Inline, worker_at, Spool
from gatepost.store.sqlite_events import SqliteEvents
from gatepost.store.sqlite_suppression import SqliteSuppression
from gatepost.store.sqlite_received import SqliteReceived
place, when = sys.argv[2], sys.argv[3]
kind, method = {
    "events": (SqliteEvents, "add"), "suppression": (SqliteSuppression, "add"),
    "received": (SqliteReceived, "add"), "spool": (Spool, "done"),
}[place]
real = getattr(kind, method)
def die(*arguments):
    if when == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(kind, method, die)
worker_at(Path(sys.argv[1]), Inline())
time.sleep(60)
"""


def to(purpose: Purpose = Purpose.BOUNCE, message: bytes = ID) -> str:
    made = Token(tenant_number("acme"), message, 1, day_of(time.time()))
    return f"{seal_token(made, purpose, KEYS)}@bounces.example"


def message(key: bytes = ID) -> Message:
    return Message(key, time.time(), "acme", "4X", "s@acme.example", recipients=("u@b.example",))


def url(directory: Path) -> str:
    return f"sqlite:///{directory}/g.db"


def worker_at(directory: Path, reader: Reader | None = None, **changes: Any) -> IntakeWorker:
    metrics = changes.pop("metrics", None) or Metrics("back")
    return IntakeWorker(
        Spool(directory),
        reader or ReaderProcess(),
        Effects(lambda: open_feedback_stores(url(directory)), lambda: WORLD),
        lambda: setup_of(WORLD, ("127.0.0.1",), url(directory)),
        metrics,
        watch_intake(metrics, lambda: 0, lambda: 0),
    )


def put(spool: Spool, octets: bytes, *recipients: str, sender: str = "") -> str:
    mail = spool.begin(sender, recipients or (to(),))
    mail.write(octets)
    mail.commit()
    mail.abort()
    return mail.id


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[FeedbackStores]:
    with contextlib.closing(open_feedback_stores(url(tmp_path))) as opened:
        opened.messages.add([message()])
        yield opened


def kinds(stores: FeedbackStores) -> list[EventKind]:
    return [each.event.kind for each in stores.events.after(0, 99)]


def is_suppressed(stores: FeedbackStores) -> bool:
    rules = snapshot().suppression
    return stores.suppression.find("acme", "u@b.example", time.time(), rules) is not None


class Inline:
    """A reader that is no process of its own, which would take longer to start than all else."""

    def read(self, mail: Spooled, setup: dict[str, Any]) -> dict[str, Any]:
        envelope = mail.envelope
        octets = mail.path.read_bytes()[mail.offset :]
        with contextlib.closing(Keys(Resolver(setup["dns"]))) as keys:
            reader = ReportReader(setup, keys)
            return reader.read(octets, envelope.sender, list(envelope.recipients), envelope.at)

    def stop(self) -> None:
        pass


class Scripted:
    """A reader that does what it is told."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def read(self, mail: Spooled, _: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(mail.id)
        answer = self.answers.pop(0) if self.answers else {"reports": []}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        pass


Run = Callable[..., tuple[IntakeWorker, Metrics]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[IntakeWorker] = []

    def start(reader: Reader | None = None) -> tuple[IntakeWorker, Metrics]:
        metrics = Metrics("back")
        started.append(worker_at(tmp_path, reader, metrics=metrics))
        return started[-1], metrics

    yield start
    for each in started:
        each.stop()


def wait_empty(spool: Spool) -> None:
    wait_until(lambda: not spool.waiting(), 30, "the spool to be empty")


def test_mails_are_read_acted_on_and_gone(run, spool, stores):
    put(spool, bounce(to(), "u@b.example"))
    wish = to(Purpose.UNSUBSCRIBE)
    put(spool, unsubscribe_mail(wish, "u@b.example"), wish, sender="u@b.example")
    put(spool, b"Subject: spam\r\n\r\nbuy\r\n", "x@bounces.example", "y@bounces.example")
    _, metrics = run()
    wait_empty(spool)
    assert kinds(stores) == [EventKind.BOUNCED, EventKind.UNSUBSCRIBED]
    assert is_suppressed(stores)
    rows = [(each.kind, each.result) for each in stores.received.latest(9)]
    assert rows == [("unknown", "counted")] * 2 + [
        ("unsubscribe", "believed"), ("bounce", "believed"),
    ]  # fmt: skip
    assert metrics.counts()["feedback_reports"]["unknown counted"] == 2


@pytest.mark.parametrize(
    ("place", "when"),
    [("events", "after"), ("suppression", "before"), ("received", "before"), ("spool", "before")],
)
def test_killed_anywhere_it_is_done_once(run, spool, stores, tmp_path, place, when):
    put(spool, bounce(to(), "u@b.example"))
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), place, when]
    killed = subprocess.run(arguments, cwd=ROOT, timeout=60, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(spool.waiting()) == 1
    run(Inline())
    wait_empty(spool)
    assert kinds(stores) == [EventKind.BOUNCED]
    assert [each.count for each in stores.events.counts(0, time.time() + 9)] == [1]
    assert is_suppressed(stores)
    assert [each.result for each in stores.received.latest(9)] == ["believed"]


@pytest.mark.usefixtures("stores")
def test_the_log_tells_of_each_report_whose_it_is(run, spool, caplog):
    caplog.set_level("INFO")
    put(spool, bounce(to(), "u@b.example"))
    put(spool, bounce("x@bounces.example", "u@b.example"), "x@bounces.example")
    run()
    wait_empty(spool)
    told = [each for each in caplog.messages if each.startswith("feedback ")]
    assert len(told) == 2
    assert f"result=believed reporter=mx.example.org tenant=acme message={ID.hex()}" in told[0]
    assert "result=no-token reporter=mx.example.org tenant=- reason=" in told[1]


def test_what_cannot_be_read_is_held_and_the_next_is_not(run, spool, stores):
    bad = put(spool, b"x")
    put(spool, b"y")
    run(Scripted({"error": "99 levels"}))
    wait_empty(spool)
    (held,) = spool.held()
    assert (held.mail.id, held.reason, held.text) == (bad, "unreadable", "99 levels")
    assert stores.received.latest(9) == []


def test_a_mail_that_kills_its_reader_twice_is_held(run, spool):
    gone = ReaderGone(Held.CRASHED, "status -9")
    put(spool, b"x")
    reader = Scripted(gone)
    worker, metrics = run(reader)
    wait_empty(spool)
    assert spool.held() == []
    reader.answers = [gone, gone]
    bad = put(spool, b"x")
    worker.arrived()
    wait_empty(spool)
    assert [(each.mail.id, each.reason) for each in spool.held()] == [(bad, "reader-crashed")]
    assert metrics.counts()["intake_reader_ends"]["reader-crashed"] == 3


def test_a_mail_that_a_bug_meets_holds_up_no_other(run, spool, monkeypatch):
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)
    bad = put(spool, b"x")
    put(spool, b"y")
    odd = {"reports": [{"report": {}, "proven": {}}]}
    run(Scripted(odd, {"reports": []}, odd))
    wait_empty(spool)
    assert [(each.mail.id, each.reason) for each in spool.held()] == [(bad, "reader-crashed")]


def test_a_mail_that_takes_too_long_is_held_at_once(run, spool):
    put(spool, b"x")
    run(Scripted(ReaderGone(Held.TIME, "30 s")))
    wait_empty(spool)
    assert [each.reason for each in spool.held()] == ["time-limit"]


def test_a_damaged_file_is_held(run, spool):
    mail_id = put(spool, b"x")
    (spool.new / mail_id).write_bytes(b"no envelope")
    run(Scripted())
    wait_empty(spool)
    assert [each.reason for each in spool.held()] == ["unreadable"]


@pytest.mark.parametrize("answer", [{"later": "no answer"}, StoreUnavailable("db: locked")])
def test_trouble_is_waited_out(run, spool, monkeypatch, answer):
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)
    put(spool, b"x")
    reader = Scripted(answer, answer)
    run(reader)
    wait_empty(spool)
    assert len(reader.asked) == 3
    assert spool.held() == []


def test_one_that_waits_does_not_hold_up_the_next(run, spool):
    first, second = put(spool, b"x"), put(spool, b"y")
    reader = Scripted({"later": "no answer"})
    run(reader)
    wait_until(lambda: spool.waiting() == [first], 30, "the second to be done")
    assert reader.asked[:2] == [first, second]


def test_after_a_day_without_dns_the_mail_is_held(run, spool, monkeypatch):
    monkeypatch.setattr(module, "ORIGIN_S", 0.0)
    put(spool, b"x")
    run(Scripted({"later": "no answer"}))
    wait_empty(spool)
    assert [each.text for each in spool.held()] == ["no answer"]


def test_a_message_that_the_recorder_has_not_written_yet_is_waited_for(run, spool, stores):
    early = b"87654321"
    put(spool, bounce(to(message=early), "u@b.example"), to(message=early))
    worker, _ = run(Inline())
    wait_until(lambda: bool(worker._later), 30, "the mail to wait")
    stores.messages.add([message(early)])
    wait_empty(spool)
    assert kinds(stores) == [EventKind.BOUNCED]


def test_a_message_that_never_comes_is_not_waited_for_for_ever(run, spool, stores, monkeypatch):
    monkeypatch.setattr(module, "BOOK_S", 0.0)
    put(spool, bounce(to(message=b"87654321"), "u@b.example"), to(message=b"87654321"))
    run(Inline())
    wait_empty(spool)
    assert [each.result for each in stores.received.latest(9)] == ["not-sent"]


def test_the_reader_is_replaced_and_bounded(tmp_path, spool):
    reader = ReaderProcess(mail_s=30, max_mails=2)
    setup = setup_of(WORLD, ("127.0.0.1",), url(tmp_path))
    mail = spool.find(put(spool, bounce(to(), "u@b.example")))
    assert mail is not None
    pids = []
    for _ in range(3):
        assert reader.read(mail, setup)["reports"]
        pids.append(reader.pid)
    assert pids[0] == pids[1] != pids[2]
    reader.read(mail, {**setup, "reporters": ["x.example"]})
    assert reader.pid != pids[2]
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGKILL)
    with pytest.raises(ReaderGone) as gone:
        reader.read(mail, {**setup, "reporters": ["x.example"]})
    assert gone.value.reason is Held.CRASHED
    # It is there again for the next one.
    assert reader.read(mail, setup)["reports"]
    reader.stop()


MIB = 1024 * 1024
LEVELS = b"".join(
    b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(1000)
)
SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=arf.mail.yahoo.com; s=lab; h=from; bh=x; b=x\r\n"


@pytest.mark.parametrize(
    "mail",
    [
        LEVELS + b"x" * (25 * MIB),
        b"Subject: " + b"=?utf-8?q?x?= " * 30_000 + b"\r\n\r\nx\r\n",
        b"To: " + b"a@b.example, " * 70_000 + b"\r\n\r\nx\r\n",
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n" * 100_000,
        # A line for each two octets, for whoever makes a list of lines.
        SIGNED
        + yahoo_report(b"From: x\r\n\r\n", "f@fbl.example", "u@b.example")
        + b"\r\n" * 3 * MIB,
    ],
    ids=["levels", "subject", "to", "parts", "lines"],
)
def test_what_is_made_to_cost_costs_little(tmp_path, spool, bombed, mail):
    found = spool.find(put(spool, mail))
    assert found is not None
    # The largest of now, not of the mails before; proc(5).
    Path(f"/proc/{bombed.pid}/clear_refs").write_text("5")
    before_s, before_kib = spent(bombed.pid)
    bombed.read(found, setup_of(WORLD, ("127.0.0.1",), url(tmp_path.parent)))
    after_s, after_kib = spent(bombed.pid)
    assert after_s - before_s <= 2
    assert after_kib - before_kib <= 200 * 1024


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReaderProcess]:
    """Return one process for all of them."""
    reader = ReaderProcess()
    directory = tmp_path_factory.getbasetemp()
    spool = Spool(tmp_path_factory.mktemp("bombed"))
    first = spool.find(put(spool, b"Subject: x\r\n\r\n"))
    assert first is not None
    reader.read(first, setup_of(WORLD, ("127.0.0.1",), url(directory)))
    yield reader
    reader.stop()


def spent(pid: int | None) -> tuple[float, int]:
    """Return the processor time and the largest memory of a process, in seconds and KiB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return seconds, int(peak.split()[1])


def test_what_was_kept_long_enough_goes(spool, stores):
    held = put(spool, b"x")
    spool.hold(held, Held.UNREADABLE, "x")
    prune(stores, spool, WORLD, time.time())
    assert stores.messages.find(ID) is not None
    assert [each.mail.id for each in spool.held()] == [held]
    week = replace(WORLD.feedback, keep_messages_s=1, keep_reports_s=1)
    prune(stores, spool, replace(WORLD, feedback=week), time.time() + 60)
    assert stores.messages.find(ID) is None
    assert spool.held() == []
