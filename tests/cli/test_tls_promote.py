"""``gatepost tls promote`` as an administrator types it, on stores that were filled before."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.cli.tls import promote
from gatepost.maillog.evidence import Batch, LogPosition, Record
from gatepost.maillog.model import TlsClass
from gatepost.settings import Loader
from gatepost.store.open import open_deliveries, open_survey
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, ResolvedDomain, ResolvedHost
from gatepost.tls.survey.model import Probed, Target, Verdict

Gatepost = Callable[..., Result]
DAY = 86_400.0
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "time", SimpleNamespace(time=lambda: NOW))


class Evidence:
    """Fills the stores."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._number = 0
        with contextlib.closing(open_survey(url)):
            pass

    def mail(
        self, domain: str, count: int, tls: TlsClass = TlsClass.ENCRYPTED, days: float = 1
    ) -> None:
        records = []
        for _ in range(count):
            self._number += 1
            who = (f"Q{self._number}", "acme", f"u@{domain}", domain)
            relay = (f"mx.{domain}", "192.0.2.1", domain, "smtp", tls)
            records.append(Record(NOW - days * DAY, *who, *relay))
        position = LogPosition(f"log{self._number}", 0, 1, "")
        with contextlib.closing(open_deliveries(self.url)) as store:
            assert store.add(Batch(records, position))

    def probes(self, domain: str, address: str, *verdicts: Verdict) -> None:
        """One probe each second day, the last one today."""
        host = f"mx.{domain}"
        with contextlib.closing(open_survey(self.url)) as store:
            store.resolved(
                [ResolvedDomain(domain, NOW, MxOutcome.FOUND, (MxOf(host, 10),))],
                [ResolvedHost(host, NOW, Outcome.FOUND, (address,))],
            )
            for number, verdict in enumerate(reversed(verdicts)):
                at = NOW - 60 - (len(verdicts) - 1 - number) * 2 * DAY
                target = Target(address, host)
                assert store.begin([target], at, at - DAY) == [target]
                store.finish([Probed(target, at, 0.1, verdict, version="TLSv1.3")])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert CliRunner().invoke(command_line(), ["init", "--dir", str(tmp_path)]).exit_code == 0
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"postfix: {{config_dir: {tmp_path}}}\nplatform: {{sender_id: examplesp}}\n"
        f"state: sqlite:///{tmp_path}/gatepost.db\n"
        "tls:\n  promoted: promoted.yaml\n  domains: {known.example: {level: encrypt}}\n"
    )
    return path


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(f"sqlite:///{tmp_path}/gatepost.db")


@pytest.fixture
def gatepost(config: Path) -> Gatepost:
    def gatepost(*arguments: str, status: int = 0, command: str = "promote") -> Result:
        result = CliRunner().invoke(
            command_line(), ["tls", command, *arguments, "--config", str(config)]
        )
        assert result.exit_code == status, result.output
        return result

    return gatepost


def promoted(config: Path) -> dict[str, dict[str, str]]:
    return yaml.safe_load((config.parent / "promoted.yaml").read_text())["promoted"]


def test_evidence_becomes_rules_that_are_in_force_after_a_reload(
    gatepost: Gatepost, evidence: Evidence, config: Path
) -> None:
    evidence.mail("good.example", 30)
    evidence.probes("good.example", "192.0.2.1", *[Verdict.TLS] * 6)
    evidence.mail("plain.example", 9)
    evidence.mail("plain.example", 1, TlsClass.PLAINTEXT)
    evidence.mail("known.example", 5)
    evidence.probes("known.example", "192.0.2.3", *[Verdict.TLS] * 6)
    lines = gatepost().stdout.splitlines()
    assert lines[0] == "to be raised: 1 destination, 30 of 45 deliveries (66.7 %) in 30 days"
    assert lines[1].startswith("    good.example: encrypt until 20")
    assert "30 deliveries from" in lines[1]
    assert "at least 6 probes in a row with TLS" in lines[1]
    assert lines[2] == "not raised: 2 destinations, 15 of 45 deliveries (33.3 %) in 30 days"
    assert "    plain.example: 1 of 10 deliveries in plaintext" in lines
    assert "    known.example: tls.domains asks for encrypt already" in lines
    assert lines[-1] == f"dry run; --apply writes {config.parent}/promoted.yaml"
    assert not (config.parent / "promoted.yaml").exists()

    assert gatepost("--apply").stdout.endswith("next: gatepost reload\n")
    assert list(promoted(config)) == ["good.example"]
    rules = Loader(config).load().snapshot.tls.promoted
    assert rules.find("good.example", NOW) is not None
    assert CliRunner().invoke(command_line(), ["check", "--config", str(config)]).exit_code == 0
    again = gatepost("--apply").stdout
    assert "rule goes on: 1 destination" in again or "holds until it ends" in again
    assert again.endswith("stays as it is\n")


def test_an_empty_file_is_made_where_nothing_is_earned(
    gatepost: Gatepost, evidence: Evidence, config: Path
) -> None:
    evidence.mail("good.example", 1)
    assert CliRunner().invoke(command_line(), ["check", "--config", str(config)]).exit_code == 2
    gatepost("--apply")
    assert promoted(config) == {}
    assert CliRunner().invoke(command_line(), ["check", "--config", str(config)]).exit_code == 0


@pytest.mark.parametrize("downgrade", ["defer", "alert"])
def test_a_destination_that_drops_tls(
    gatepost: Gatepost, evidence: Evidence, config: Path, downgrade: str
) -> None:
    evidence.mail("good.example", 30)
    evidence.probes("good.example", "192.0.2.1", *[Verdict.TLS] * 6)
    gatepost("--apply", "--downgrade", downgrade)
    evidence.mail("good.example", 2, TlsClass.REFUSED, days=0.01)
    result = gatepost("--apply", status=1)
    assert "no longer offers what its rule asks for: 1 destination" in result.stdout
    assert f"downgrade: {downgrade}: deliveries without the TLS that is asked for" in result.stdout
    rule = promoted(config)["good.example"]
    assert str(rule["dropped"]) == time.strftime("%Y-%m-%d", time.gmtime(NOW))
    holds = Loader(config).load().snapshot.tls.promoted.find("good.example", NOW) is not None
    assert holds is (downgrade == "defer")
    document = json.loads(gatepost("--json", status=1).stdout)
    assert document["ok"] is False
    assert document["destinations"][0]["kind"] == "lost"


def test_what_an_operator_wrote_stays_and_mistakes_stop_it(
    gatepost: Gatepost, evidence: Evidence, config: Path
) -> None:
    evidence.mail("x.example", 1)
    path = config.parent / "promoted.yaml"
    path.write_text(
        "promoted: {mine.example: {level: verify, since: 2020-01-01, expires: 2099-12-31}}\n"
    )
    path.chmod(0o640)
    assert "mine.example: verify until 2099-12-31" in gatepost("--apply").stdout
    assert "{mine.example" in path.read_text()
    evidence.mail("good.example", 30)
    evidence.probes("good.example", "192.0.2.1", *[Verdict.TLS] * 6)
    gatepost("--apply")
    assert sorted(promoted(config)) == ["good.example", "mine.example"]
    assert path.stat().st_mode & 0o777 == 0o640
    path.write_text("promoted: {mine.example: {level: may}}\n")
    assert "promoted.yaml:1: promoted[mine.example].level" in gatepost("--apply", status=2).stderr


def test_options_reach_the_decision(gatepost: Gatepost, evidence: Evidence) -> None:
    evidence.mail("good.example", 30)
    evidence.probes("good.example", "192.0.2.1", *[Verdict.TLS] * 3)
    assert "only, and 7 days are asked" in gatepost().stdout
    assert "to be raised" in gatepost("--age", "4").stdout
    assert "and 4 are asked" in gatepost("--age", "4", "--streak", "4").stdout
    assert "not more than 30" in gatepost("--age", "4", "--traffic-over", "30").stdout
    assert "certificate" in gatepost("--age", "4", "--verify").stdout
    rule = json.loads(gatepost("--age", "4", "--lifetime", "1", "--json").stdout)
    today = time.strftime("%Y-%m-%d", time.gmtime(NOW))
    assert rule["destinations"][0]["rule"]["expires"] == today


def test_without_a_file_named_a_dry_run_works_and_apply_says_what_to_set(
    gatepost: Gatepost, evidence: Evidence, config: Path
) -> None:
    evidence.mail("x.example", 1)
    config.write_text(config.read_text().replace("  promoted: promoted.yaml\n", ""))
    assert "set tls.promoted and use --apply" in gatepost().stdout
    assert "set tls.promoted in" in gatepost("--apply", status=2).stderr


def test_without_a_store_it_says_so(gatepost: Gatepost) -> None:
    assert "nothing was recorded yet" in gatepost(status=2).stderr
