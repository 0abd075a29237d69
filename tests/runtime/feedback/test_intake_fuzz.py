"""Whatever is said to the intake: it goes on, and keeps what it promised."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.feedback.report import (
    Classified,
    FoundToken,
    Kind,
    Original,
    Report,
    ReportedRecipient,
    Severity,
)
from gatepost.feedback.token import Purpose, Token
from gatepost.runtime.feedback.feedback_metrics import watch_intake
from gatepost.runtime.feedback.intake import Intake
from gatepost.runtime.feedback.report_json import json_of, report_of
from gatepost.runtime.feedback.spool import Spool
from gatepost.runtime.metrics import Metrics
from tests.world import snapshot

WORLD = snapshot(bounce_domain="bounces.example")
LINES = st.one_of(
    st.sampled_from(
        [
            b"LHLO x", b"MAIL FROM:<>", b"MAIL FROM:<a@b.example> BODY=8BITMIME",
            b"RCPT TO:<t@bounces.example>", b"RCPT TO:<x@y.example>", b"DATA", b".", b"..", b"RSET",
            b"NOOP", b"", b"Subject: x",
        ]
    ),
    st.binary(max_size=40),
)  # fmt: skip


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        counts = watch_intake(Metrics("back"), lambda: 0, lambda: 0)
        made = Intake(
            directory / "i.sock", "root", Spool(directory), lambda: WORLD, counts, lambda: None
        )
        yield directory / "i.sock"
        made.stop()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"", b"LHLO x\r\n"]),
    st.lists(LINES, max_size=12),
    st.sampled_from([b"\r\n", b"\n", b"\r"]),
)
def test_anything_may_be_said(path: Path, hello: bytes, lines: list[bytes], end: bytes) -> None:
    said = hello + end.join(lines) + end
    spool = Spool(path.parent)
    before = len(spool.waiting())
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
    assert answer.startswith(b"220 ") or not answer
    stored = answer.count(b"250 2.0.0 Ok: stored")
    # A mail may be kept although its client left before it was told so, never the reverse.
    assert (len(spool.waiting()) > before) or not stored
    with smtplib.LMTP(str(path)) as good:
        assert good.sendmail("", ["t@bounces.example"], b"x\r\n") == {}


TEXT = st.text(max_size=20)
REPORTS = st.builds(
    Report,
    kind=st.sampled_from(Kind),
    format=TEXT,
    reporter=TEXT,
    recipients=st.lists(
        st.builds(
            ReportedRecipient,
            address=TEXT,
            status=TEXT,
            classified=st.none()
            | st.builds(
                Classified,
                bounce_class=TEXT,
                severity=st.sampled_from(Severity),
                rule=TEXT,
                why=TEXT,
            ),
        ),
        max_size=3,
    ).map(tuple),
    original=st.builds(Original, message_id=TEXT),
    token=st.none()
    | st.builds(
        FoundToken,
        token=st.builds(
            Token,
            tenant=st.integers(0, 2**48 - 1),
            message=st.binary(min_size=8, max_size=8),
            recipient=st.integers(0, 1000),
            day=st.integers(0, 0xFFFF),
        ),
        purpose=st.sampled_from(Purpose),
        where=TEXT,
    ),
    notes=st.lists(TEXT, max_size=3).map(tuple),
)


@given(REPORTS)
def test_a_report_goes_through_json_unchanged(report: Report) -> None:
    assert report_of(json_of(report)) == report
