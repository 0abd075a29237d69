"""tls share: percentages that hide nothing, a chart, and the proof of enforcement."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.cli.tls import share as module
from gatepost.cli.tls.share import percentages
from gatepost.maillog.evidence import Batch, Counts, DeliveryStore, LogPosition, Record, Verdict
from gatepost.maillog.model import TlsClass
from gatepost.store.open import open_deliveries

Gatepost = Callable[..., Result]
NOW = time.time()


def record(tls: TlsClass, **changes: object) -> Record:
    base = Record(
        NOW - 60, "4AAAA", "acme", "u@a.example", "a.example", "mx.a.example", "192.0.2.1",
        "a.example", "gp-normal-private", tls,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


WEAKER = record(
    TlsClass.PLAINTEXT, verdict=Verdict.WEAKER, asked="encrypt (profile private)", got="plaintext"
)
RECORDS = [
    record(TlsClass.AUTHENTICATED, version="TLSv1.3"),
    record(TlsClass.ENCRYPTED, version="TLSv1.2", deliveries=996, sessions=3, verdict=Verdict.MET),
    record(TlsClass.PLAINTEXT, tenant="", domain="b.example", provider="b.example"),
    record(TlsClass.UNKNOWN, tenant="?", verdict=Verdict.UNPROVEN, asked="x", got="unknown"),
    record(TlsClass.REFUSED),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gatepost.yaml"
    path.write_text(f"state: sqlite:///{tmp_path}/gatepost.db\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DeliveryStore]:
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as opened:
        yield opened


@pytest.fixture
def gatepost(config: Path) -> Gatepost:
    def gatepost(*arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(
            command_line(), ["tls", "share", *arguments, "--config", str(config)]
        )
        assert result.exit_code == status, result.output
        return result

    return gatepost


def fill(store: DeliveryStore, *records: Record) -> None:
    assert store.add(Batch(records, LogPosition(f"log{len(records)}", 1, 1, "/x")))


def test_percentages_and_a_chart(store, gatepost):
    fill(store, *RECORDS)
    lines = gatepost("--by", "domain").stdout.splitlines()
    assert lines[0] == (
        "deliveries  999: 99.8 % protected (0.1 % authenticated, 99.7 % encrypted, "
        "0.1 % plaintext, 0.1 % unknown); 1 refused for want of TLS"
    )
    assert lines[1].startswith("sessions    6: 66.7 % protected (16.7 % authenticated, 50.0 %")
    assert lines[3].split()[:4] == ["a.example", "998", "99.9", "%"]
    assert lines[4].split()[:4] == ["b.example", "1", "0.0", "%"]
    assert lines[-1] == (
        "deliveries by domain: █ authenticated, ▓ encrypted, ░ plaintext, · unknown"
    )


def test_no_class_is_so_small_that_the_chart_hides_it(store, gatepost):
    fill(store, *RECORDS)
    bar = gatepost("--by", "domain").stdout.splitlines()[3]
    assert [bar.count(mark) for mark in "█·"] == [1, 1]
    assert "▓" in bar


def test_a_single_plaintext_delivery_is_never_rounded_away(store, gatepost):
    fill(store, record(TlsClass.ENCRYPTED, deliveries=999_999), record(TlsClass.PLAINTEXT))
    first = gatepost().stdout.splitlines()[0]
    assert ">99.9 % protected" in first
    assert "<0.1 % plaintext" in first


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("tenant", ["acme", "-", "?"]),
        ("domain", ["a.example", "b.example"]),
        ("provider", ["a.example", "b.example"]),
        ("day", [time.strftime("%Y-%m-%d", time.gmtime(NOW - 60))]),
    ],
)
def test_what_can_be_told_apart(store, gatepost, by, names):
    fill(store, *RECORDS)
    lines = gatepost("--by", by).stdout.splitlines()[3:-2]
    assert [line.split()[0] for line in lines] == names


def test_only_some(store, gatepost):
    fill(store, *RECORDS)
    assert gatepost("--tenant", "-").stdout.startswith("deliveries  1: 0.0 % protected")
    assert gatepost("--domain", "A.Example").stdout.startswith("deliveries  998:")
    assert gatepost("--provider", "b.example").stdout.startswith("deliveries  1:")
    assert gatepost("--tenant", "nobody").stdout.startswith("no delivery in the last 7d\n")


def test_more_lines_than_asked_for_are_told(store, gatepost):
    fill(store, *(record(TlsClass.ENCRYPTED, domain=f"d{n}.example") for n in range(5)))
    lines = gatepost("--by", "domain", "--limit", "2").stdout.splitlines()
    assert "and 3 more; --limit shows more, --json all" in lines


def test_json(store, gatepost):
    fill(store, *RECORDS)
    document = json.loads(gatepost("--by", "tenant", "--json").stdout)
    assert document["total"]["deliveries"]["plaintext"] == 1
    assert document["total"]["sessions"]["encrypted"] == 3
    assert document["total"]["deliveries"]["percent"]["protected"] == pytest.approx(99.7998, 0.001)
    assert [each["name"] for each in document["shares"]] == ["acme", "", "?"]
    assert "check" not in document


def test_the_proof_without_a_weaker_delivery(store, gatepost):
    fill(store, *RECORDS)
    last = gatepost("--check").stdout.splitlines()[-1]
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - 60))
    assert last == (
        f"TLS was asked for 997 message-recipients: 0 had less, 1 unproven; last delivery {at}"
    )
    # A proof of nothing is told as one.
    nobody = gatepost("--check", "--tenant", "nobody").stdout.splitlines()[-1]
    assert nobody.endswith("0 had less, 0 unproven; no delivery was seen")


def test_the_proof_with_one(store, gatepost):
    fill(store, *RECORDS, WEAKER)
    *_, summary, line = gatepost("--check", status=1).stdout.splitlines()
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - 60))
    assert summary == (
        f"TLS was asked for 998 message-recipients: 1 had less, 1 unproven; last delivery {at}"
    )
    assert line.endswith(
        "4AAAA acme to=<u@a.example> relay=mx.a.example[192.0.2.1] service=gp-normal-private: "
        "asked encrypt (profile private), got plaintext"
    )
    # Without the option, a report is a report.
    gatepost()
    document = json.loads(gatepost("--check", "--json", status=1).stdout)
    assert document["check"]["weaker"][0]["queue_id"] == "4AAAA"
    assert gatepost("--check", "--tenant", "acme", status=1)
    assert gatepost("--check", "--tenant", "other", status=0)


def test_the_proof_of_old_deliveries_stays(store, gatepost):
    fill(store, replace(WEAKER, at=NOW - 86_400))
    store.roll_up(NOW)
    gatepost("--check", status=1)


def test_hostile_recipients_do_not_reach_the_terminal(store, gatepost):
    fill(store, replace(WEAKER, recipient="\x1b[2J@a.example"))
    assert "\x1b" not in gatepost("--check", status=1).stdout


def test_a_terminal_without_blocks(monkeypatch):
    monkeypatch.setattr(module.sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert not module._has_blocks()
    bar = module._bar(Counts(1, 1, 1, 1), 8, blocks=False)
    assert bar == "##==--.."


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "tomorrow"),
        ("--domain", "not a domain"),
        ("--check", "--domain", "a.example"),
        ("--by", "colour"),
        ("--limit", "0"),
    ],
)
@pytest.mark.usefixtures("store")
def test_usage(gatepost, arguments):
    gatepost(*arguments, status=2)


def test_without_a_store(gatepost):
    result = gatepost(status=2)
    assert "nothing was recorded yet" in result.stderr


def test_percentages_of_nothing():
    assert percentages(Counts(refused=3)) == {}
