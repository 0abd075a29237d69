"""The form of a batch, its signature, and when it is tried again."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import (
    JITTER,
    LONGEST_S,
    batch_of,
    example,
    headers_of,
    retry_after,
    wait_after,
)

NOW = 1_800_000_000.75
SECRET = bytes(range(32))
ONE = Event("e1", EventKind.DELIVERED, NOW, "acme", recipient="a@b.example")
TWO = Event("e2", EventKind.BOUNCED, NOW - 1, "beta", details={"status": "5.1.1"})


def test_the_body() -> None:
    assert json.loads(batch_of("a", [ONE, TWO]).body) == {
        "type": "batch",
        "timestamp": "2027-01-15T08:00:00.750Z",
        "data": {
            "events": [
                {
                    "id": "e1",
                    "type": "message.delivered",
                    "timestamp": "2027-01-15T08:00:00.750Z",
                    "data": {"tenant": "acme", "recipient": "a@b.example"},
                },
                {
                    "id": "e2",
                    "type": "message.bounced",
                    "timestamp": "2027-01-15T07:59:59.750Z",
                    "data": {"tenant": "beta", "details": {"status": "5.1.1"}},
                },
            ]
        },
    }


def test_the_same_events_for_the_same_webhook_have_the_same_id() -> None:
    batch = batch_of("a", [ONE, TWO])
    assert batch == batch_of("a", [ONE, TWO])
    others = [batch_of("b", [ONE, TWO]), batch_of("a", [TWO, ONE]), batch_of("a", [ONE])]
    assert len({batch.id, *(each.id for each in others)}) == 4
    assert batch.id.startswith("batch_")
    # Standard Webhooks joins id, time and body with full stops.
    assert "." not in batch.id


def test_the_signature_is_over_id_time_and_body(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of("a", [ONE])
    headers = headers_of(SECRET, batch, NOW)
    assert headers["webhook-timestamp"] == "1800000000"
    verifier = Verifier(SECRET)
    # The package looks at the clock; this test is about the signature alone.
    monkeypatch.setattr(
        Verifier, "_Webhook__verify_timestamp", lambda _, text: _moment(float(text))
    )
    verifier.verify(batch.body, headers)
    for name in ("webhook-id", "webhook-timestamp"):
        with pytest.raises(Exception, match="No matching signature"):
            verifier.verify(batch.body, {**headers, name: headers[name] + "1"})


def _moment(seconds: float) -> object:
    return dt.datetime.fromtimestamp(min(seconds, 2e9), dt.UTC)


def test_an_example_says_that_it_is_one() -> None:
    hook = Webhook("a", "https://a.example/", SECRET, tenant="acme")
    [event] = json.loads(example(hook, NOW).body)["data"]["events"]
    assert event["type"] == "tenant.warning"
    assert event["data"]["tenant"] == "acme"
    assert event["data"]["details"]["reason"] == "test"
    assert example(hook, NOW).id != example(hook, NOW + 1).id


def test_texts_of_strangers_do_not_break_the_body() -> None:
    odd = Event("e1", EventKind.BOUNCED, NOW, "acme", details={"reply": '\udc80\0"\n'})
    [event] = json.loads(batch_of("a", [odd]).body)["data"]["events"]
    assert event["data"]["details"]["reply"] == '\udc80\0"\n'


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 59.25),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        *(("soon", None), ("", None), ("-5", None), ("²", None), ("1" * 70, float("1" * 64))),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    found = retry_after(value, NOW)
    assert found is None or found >= 0


def test_waits_double_up_to_an_hour() -> None:
    waits = [wait_after(number, None, 0.5) for number in range(1, 13)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-2:] == [LONGEST_S, LONGEST_S]
    assert wait_after(10**6, None, 0.5) == LONGEST_S


@given(st.integers(1, 10**6), st.none() | st.floats(0, 1e300), st.floats(0, 1))
def test_waits_have_bounds(failures: int, asked: float | None, chance: float) -> None:
    wait = wait_after(failures, asked, chance)
    assert 5 * (1 - JITTER) <= wait <= LONGEST_S * (1 + JITTER)
    assert asked is None or asked > LONGEST_S or wait >= asked


def _example(language: str) -> str:
    document = Path(__file__).resolve().parents[2] / "docs" / "events.md"
    found = re.search(rf"```{language}\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_documented_check_in_python() -> None:
    batch = batch_of("a", [ONE, TWO])
    secret = f"whsec_{base64.b64encode(SECRET).decode()}"
    names: dict[str, Any] = {}
    exec(_example("python"), names)
    headers = headers_of(SECRET, batch, time.time())
    assert [each["id"] for each in names["events_of"](batch.body, headers, secret)] == ["e1", "e2"]
    with pytest.raises(WebhookVerificationError):
        names["events_of"](batch.body + b" ", headers, secret)


def test_the_documented_check_by_hand(tmp_path: Path) -> None:
    batch = batch_of("a", [ONE, TWO])
    headers = headers_of(SECRET, batch, NOW)
    (tmp_path / "body.json").write_bytes(batch.body)
    done = subprocess.run(
        ["sh", "-eu", "-c", _example("sh")],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "SECRET": f"whsec_{base64.b64encode(SECRET).decode()}",
            "WEBHOOK_ID": headers["webhook-id"],
            "WEBHOOK_TIMESTAMP": headers["webhook-timestamp"],
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"v1,{done.stdout.strip()}" == headers["webhook-signature"]
