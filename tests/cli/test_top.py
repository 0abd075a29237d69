"""gatepost top: what it shows, as a table, as JSON, and on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.status import Part, Pause, Queued, Scope
from gatepost.runtime.paths import traffic_path
from gatepost.runtime.traffic.reading import BACKLOG
from gatepost.runtime.traffic.sheet import since_boot
from gatepost.store.open import open_events, open_statuses


@pytest.fixture
def config(tmp_path: Path) -> Path:
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    (tmp_path / "run").mkdir()
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"""state: sqlite:///{tmp_path}/gatepost.db
service: {{run_dir: {tmp_path}/run}}
modes: {{default: enforce}}
lanes: {{bulk: {{concurrency: 5}}}}
tenants:
  acme: {{logins: [acme], senders: [acme.example], quota: [100/hour], lane: bulk}}
  shop: {{logins: [shop], senders: [shop.example]}}
"""
    )
    return path


def top(config: Path, *words: str, status: int = 0):
    words = ("top", *words, "--config", str(config))
    result = CliRunner().invoke(command_line(words), list(words))
    assert result.exit_code == status, result.output
    return result


def test_where_nothing_is_known_there_are_dashes_and_reasons(config: Path) -> None:
    found = json.loads(top(config, "--json").stdout)
    assert [each["tenant"] for each in found["tenants"]] == ["acme", "shop"]
    acme = found["tenants"][0]
    assert acme["delivered_per_minute"] is acme["backlog"] is acme["tls_share"] is None
    assert (acme["lane"], acme["lane_why"], acme["state"]) == ("bulk", "its own lane", "active")
    assert any("not known" in each for each in found["problems"])
    shown = top(config, "--once").stdout.splitlines()
    assert shown[0].split() == [
        *("tenant", "in/min", "deliv/min", "defer/min", "bounc/min"),
        *("backlog", "quota", "TLS", "lane", "state"),
    ]
    assert [line.split()[0] for line in shown[1:]] == ["all", "acme", "shop"]


def test_rates_backlog_and_states(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/gatepost.db"
    now = time.time()
    with contextlib.closing(open_events(url)) as events:
        events.add(
            [
                Event(f"d-{n}", EventKind.DELIVERED, now - n, "shop", queue_id=str(n))
                for n in range(30)
            ]
            + [Event("b-1", EventKind.BOUNCED, now - 3, "acme")]
            + [Event("old", EventKind.BOUNCED, now - 3000, "acme")]
        )
    with contextlib.closing(open_statuses(url)) as statuses:
        statuses.pause("acme", Pause(Scope.ALL, "x", now, queued=Queued.RETRY))
        part = Part("spring").scope
        statuses.pause("acme", Pause(part, "x", now, campaign="spring"))
    arrived = iter(range(100, 10_000, 50))

    def write() -> None:
        section = {
            "as_of": since_boot(),
            "reader": "r",
            "whole": True,
            "tenants": {"acme": [7, 9, now - 90, next(arrived), 0]},
        }
        sheet = {"at": since_boot(), "pid": 1, "sections": {BACKLOG: section}}
        traffic_path(tmp_path / "run").write_text(json.dumps(sheet))

    def sleep(seconds: float) -> None:
        real(seconds)
        write()

    real = time.sleep
    write()
    monkeypatch.setattr("gatepost.cli.top.MEASURE_S", 0.8)
    monkeypatch.setattr("gatepost.cli.top.time.sleep", sleep)
    found = json.loads(top(config, "--json", "--sort", "backlog").stdout)
    acme, shop = found["tenants"]
    assert acme["tenant"] == "acme"
    assert acme["in_per_minute"] > 0
    assert (acme["backlog"], acme["state"]) == (7, "paused (retry), 1 part paused")
    assert 85 < acme["oldest_s"] < 150
    assert (acme["bounced_per_minute"], acme["delivered_per_minute"]) == (1.0, 0.0)
    assert (shop["backlog"], shop["in_per_minute"], shop["state"]) == (0, 0.0, "active")
    assert 25 <= shop["delivered_per_minute"] <= 30
    assert found["all"]["backlog"] == 7


def on_terminal(config: Path, term: str, keys: bytes) -> bytes:
    """Run it on a terminal of its own until it has shown a table, press keys, and return all."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gatepost", "top", "--config", str(config)]
    env = {**os.environ, "TERM": term, "COLUMNS": "120", "LINES": "20"}
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        while b"shop" not in shown:
            assert select.select([ours], [], [], 30)[0], shown
            shown += os.read(ours, 65536)
        os.write(ours, keys)
        if keys.endswith(b"q"):
            with contextlib.suppress(OSError):
                while block := os.read(ours, 65536):
                    shown += block
            assert process.wait(30) == 0
        else:
            process.terminate()
    os.close(ours)
    return shown


def test_on_a_terminal_keys_sort_and_leave(config: Path) -> None:
    shown = on_terminal(config, "xterm", b"><rq")
    assert b"\x1b[?1049h" in shown
    assert shown.rstrip().endswith((b"\x1b[?25h", b"\x1b[?1049l"))
    assert b"sort by another column" in shown


def test_a_dumb_terminal_gets_plain_tables(config: Path) -> None:
    assert b"\x1b" not in on_terminal(config, "dumb", b"")
