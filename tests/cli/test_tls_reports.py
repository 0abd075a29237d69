"""``gatepost tls reports`` as an administrator types it."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.maillog.evidence import Batch, LogPosition, Record
from gatepost.maillog.model import TlsClass
from gatepost.store.open import open_deliveries

Gatepost = Callable[..., Result]
DAY = 86_400
TODAY = int(time.time()) // DAY * DAY


@pytest.fixture
def gatepost(tmp_path: Path) -> Gatepost:
    """Run a command with a configuration and a store of its own."""
    config = tmp_path / "gatepost.yaml"
    config.write_text(
        f"postfix: {{config_dir: {tmp_path}}}\nstate: sqlite:///{tmp_path}/gatepost.db\n"
    )

    def gatepost(*arguments: str, status: int = 0, stdin: bytes = b"") -> Result:
        command = ["tls", "reports", *arguments, "--config", str(config)]
        result = CliRunner().invoke(command_line(), command, input=stdin)
        assert result.exit_code == status, result.output
        return result

    return gatepost


def report(days_ago: int = 1, number: str = "1", **failures: int) -> dict[str, Any]:
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(TODAY - days_ago * DAY))
    return {
        "organization-name": "Sender Inc.",
        "date-range": {"start-datetime": day, "end-datetime": day},
        "contact-info": "tls@sender.example",
        "report-id": number,
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": "acme.example"},
                "summary": {
                    "total-successful-session-count": 90,
                    "total-failure-session-count": sum(failures.values()),
                },
                "failure-details": [
                    {
                        "result-type": name.replace("_", "-"),
                        "receiving-mx-hostname": "mx.acme.example",
                        "failed-session-count": count,
                    }
                    for name, count in failures.items()
                ],
            }
        ],
    }


def octets(*arguments: Any, **failures: int) -> bytes:
    return json.dumps(report(*arguments, **failures)).encode()


def test_reports_go_in_and_come_out(gatepost: Gatepost, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(octets(1, "1", certificate_expired=8))
    (tmp_path / "two.json.gz").write_bytes(gzip.compress(octets(2, "2", tlsa_invalid=2)))
    added = gatepost("add", str(tmp_path / "one.json"), str(tmp_path / "two.json.gz"))
    assert added.stdout.count(": new: Sender Inc., ") == 2
    lines = gatepost().stdout.splitlines()
    assert lines[0] == "acme.example: 180 sessions successful, 10 failed (5.3 %)"
    assert "2 reports by Sender Inc.; policy sts" in lines[1]
    assert lines[2].startswith("    certificate-expired: 8 at mx.acme.example, last ")
    assert lines[3].strip().startswith("renew the certificate")
    assert lines[4].startswith("    tlsa-invalid: 2 at mx.acme.example, last ")


def test_the_same_file_again_changes_nothing(gatepost: Gatepost, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(octets(certificate_expired=8))
    gatepost("add", str(tmp_path / "r.json"))
    before = gatepost("--json").stdout
    assert "known already" in gatepost("add", str(tmp_path / "r.json")).stdout
    assert gatepost("--json").stdout == before


def test_one_that_is_none_does_not_stop_the_others(gatepost: Gatepost, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(octets())
    bad.write_bytes(b'{"policies": 3}')
    result = gatepost("add", str(bad), str(tmp_path / "gone"), str(good), status=1)
    assert f"{bad}: policies is no list" in result.stderr
    assert f"{tmp_path}/gone: No such file or directory" in result.stderr
    assert f"{good}: new: Sender Inc." in result.stdout
    document = json.loads(gatepost("add", "--json", str(bad), str(good), status=1).stdout)
    assert document["ok"] is False
    assert document["files"][1]["reports"][0]["outcome"] == "known"


def test_standard_input_and_deviations(gatepost: Gatepost) -> None:
    document = report()
    document["contact-info"] = None
    result = gatepost("add", "-", stdin=json.dumps(document).encode())
    assert "not as in RFC 8460: contact-info is missing" in result.stdout


def test_days_and_domain(gatepost: Gatepost) -> None:
    gatepost("add", "-", stdin=octets(20, "old", tlsa_invalid=3))
    gatepost("add", "-", stdin=octets(2, "new"))
    assert "tlsa-invalid" in gatepost("--days", "30").stdout
    week = gatepost("--days", "7").stdout
    assert "tlsa-invalid" not in week
    assert "90 sessions successful, 0 failed\n" in week
    assert gatepost("--days", "1").stdout == "no report in the last 1 day\n"
    assert gatepost("--domain", "other.example").stdout.startswith("no report")
    [found] = json.loads(gatepost("--domain", "ACME.example", "--json").stdout)["domains"]
    assert (found["domain"], found["failures"]) == ("acme.example", 3)


def test_what_strangers_write_cannot_reach_the_terminal(gatepost: Gatepost) -> None:
    document = report(certificate_expired=1)
    document["organization-name"] = "\x1b[2J\nmx.acme.example: fine"
    gatepost("add", "-", stdin=json.dumps(document).encode())
    shown = gatepost().stdout
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown
    assert len(shown.splitlines()) == 4


def test_without_a_store_it_says_so(gatepost: Gatepost) -> None:
    assert "nothing was recorded yet" in gatepost(status=2).stderr


def test_options_before_add_are_refused(gatepost: Gatepost) -> None:
    result = gatepost("--days", "3", "add", "-", status=2)
    assert "write options behind add" in result.stderr


def test_old_reports_go_when_new_ones_come(gatepost: Gatepost) -> None:
    gatepost("add", "-", stdin=octets(401, "old"))
    gatepost("add", "-", stdin=octets(1, "new"))
    [found] = json.loads(gatepost("--days", "400", "--json").stdout)["domains"]
    assert found["reports"] == 1


def test_our_own_deliveries_stand_beside(gatepost: Gatepost, tmp_path: Path) -> None:
    gatepost("add", "-", stdin=octets(2, "1", certificate_expired=1))
    assert "from here" not in gatepost().stdout
    kinds = [TlsClass.ENCRYPTED] * 3 + [TlsClass.PLAINTEXT, TlsClass.REFUSED]
    records = [
        Record(
            *(TODAY - DAY, f"Q{number}", "acme", "u@acme.example", "acme.example"),
            *("mx.acme.example", "192.0.2.1", "acme.example", "smtp", kind),
        )
        for number, kind in enumerate(kinds)
    ]
    with contextlib.closing(open_deliveries(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        assert store.add(Batch(records, LogPosition("x", 0, 1, "")))
    last = gatepost().stdout.splitlines()[-1]
    assert last == (
        "    from here, by our own log: 4 delivered there, 75.0 % encrypted, "
        "1 refused for want of TLS"
    )
    [found] = json.loads(gatepost("--json").stdout)["domains"]
    assert found["own_deliveries"]["plaintext"] == 1
