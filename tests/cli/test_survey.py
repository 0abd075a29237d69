"""The commands of the survey: what they take, refuse and print; no server is asked here."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.cli.tls import survey as command
from gatepost.errors import GatepostError
from gatepost.maillog.evidence import Batch, LogPosition, Record
from gatepost.maillog.evidence import Verdict as Proved
from gatepost.maillog.model import TlsClass
from gatepost.runtime.tls.survey import Progress
from gatepost.runtime.tls.survey_setup import Conduct
from gatepost.store.open import open_deliveries, open_survey
from gatepost.store.survey import SurveyStore
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.nexthop import NextHop
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, ResolvedDomain, ResolvedHost, Sts
from gatepost.tls.survey.model import Probed, Target, Verdict
from gatepost.tls.survey.pacing import Forecast, Pace
from tests.settled import write_settled

Gatepost = Callable[..., Result]
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_settled(tmp_path / "main.cf", "")
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"postfix: {{config_dir: {tmp_path}}}\nstate: sqlite:///{tmp_path}/gatepost.db\n"
    )
    return path


@pytest.fixture
def store(config: Path) -> Iterator[SurveyStore]:
    with closing(open_survey(f"sqlite:///{config.parent}/gatepost.db")) as opened:
        yield opened


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Conduct, list[NextHop], str]]:
    """Note what a survey was asked for, in place of surveying."""
    found: list[tuple[Conduct, list[NextHop], str]] = []

    def run_survey(_: Any, conduct: Conduct, names: Any, source: str, watch: Any) -> Any:
        found.append((conduct, list(names), source))
        progress = Progress(names=len(found[-1][1]), reading=False)
        watch(progress)
        return progress, Forecast(Pace(), lambda host: host)

    monkeypatch.setattr(command, "run_survey", run_survey)
    return found


@pytest.fixture
def gatepost(config: Path) -> Gatepost:
    def gatepost(*arguments: object, status: int = 0) -> Result:
        given = [*map(str, arguments), "--config", str(config)]
        result = CliRunner().invoke(command_line(), ["tls", "survey", *given])
        assert result.exit_code == status, result.output
        return result

    return gatepost


def fill(store: SurveyStore, **verdicts: str) -> None:
    for number, (name, verdict) in enumerate(verdicts.items()):
        target = Target(f"192.0.2.{number}", f"mx.{name}.example")
        at = NOW - 3600 + number
        store.resolved(
            [ResolvedDomain(f"{name}.example", at, MxOutcome.FOUND, (MxOf(target.host, 10),),
                            sts=Sts.ABSENT)],
            [ResolvedHost(target.host, at, Outcome.FOUND, (target.address,))],
        )  # fmt: skip
        store.begin([target], at, at)
        reason = "" if verdict in {"tls", "none"} else "because"
        store.finish([Probed(target, at, 0.1, Verdict(verdict), reason, version="TLSv1.3")])


def test_names_from_a_file_with_its_lines_that_are_none(
    config: Path, gatepost: Gatepost, asked: list[Any]
) -> None:
    names = config.parent / "names"
    names.write_text("a.example\n[mx.b.example]\nno name\n")
    result = gatepost(names, "--ehlo", "s.example")
    [(conduct, found, source)] = asked
    assert found == [NextHop("a.example"), NextHop("mx.b.example", bracketed=True)]
    assert source == str(names)
    assert conduct.check_ehlo
    assert (conduct.ehlo, conduct.options.pace) == ("s.example", Pace(30, 30))
    assert "not a name: line 3: 'no name'" in result.stderr


def test_names_from_standard_input_a_pipe_and_windows(
    config: Path, asked: list[Any], tmp_path: Path
) -> None:
    given = b"\xef\xbb\xbfa.example\r\n\xff\r\nb.example\r\n"
    windows = tmp_path / "windows"
    windows.write_bytes(given)
    # As a shell makes it of <(command).
    pipe, end = os.pipe()
    os.write(end, given)
    os.close(end)
    for name in ("-", windows, f"/dev/fd/{pipe}"):
        arguments = ["tls", "survey", str(name), "--ehlo", "s.example", "--config", str(config)]
        result = CliRunner().invoke(command_line(), arguments, input=given)
        assert result.exit_code == 0, result.output
        assert asked[-1][1] == [NextHop("a.example"), NextHop("b.example")]
        assert "not a name: line 2" in result.stderr
    os.close(pipe)


class Terminal(io.StringIO):
    """Standard error, as a terminal or not."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self._shown = shown

    def isatty(self) -> bool:
        return self._shown


@pytest.mark.parametrize("shown", [True, False])
def test_a_terminal_shows_count_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, *, shown: bool
) -> None:
    moments = iter(range(0, 1000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(moments)))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(shown=shown)
    monkeypatch.setattr("sys.stderr", terminal)
    with command._bar(None) as watch:
        for probed in (1, 5):
            watch(Progress(targets=10, recent=2, probed=probed, in_flight=3))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    if not shown:
        assert text == ""
        return
    assert re.search(r"servers .* 5/8 [0-9]+/s, 3 at once, reading names [0-9]:[0-9]{2}:", text)


@pytest.mark.usefixtures("asked")
def test_visits_that_were_cut_off_are_told(
    config: Path, gatepost: Gatepost, store: SurveyStore
) -> None:
    fill(store, a="tls")
    names = config.parent / "names"
    names.write_text("a.example\n")
    assert "cut off" not in gatepost(names, "--ehlo", "s.example").stderr
    store.begin([Target("192.0.2.8", "x"), Target("192.0.2.9", "x")], NOW - 60, 0)
    assert "2 visits cut off by the end of a run" in gatepost(names, "--ehlo", "s.example").stderr


def test_what_was_not_looked_at_is_told(
    config: Path, gatepost: Gatepost, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(reading=False, dane_off="192.0.2.1 does not validate")
    monkeypatch.setattr(
        command, "run_survey", lambda *_: (progress, Forecast(Pace(), lambda host: host))
    )
    open_survey(f"sqlite:///{config.parent}/gatepost.db").close()
    (config.parent / "names").write_text("")
    result = gatepost(config.parent / "names", "--ehlo", "s.example", "--json")
    assert "TLSA records were not looked at: 192.0.2.1 does not validate" in result.stderr
    assert json.loads(result.stdout)["dane_off"] == "192.0.2.1 does not validate"


def test_the_defaults_are_the_rules_of_conduct(
    config: Path, gatepost: Gatepost, asked: list[Any]
) -> None:
    (config.parent / "names").write_text("")
    (config.parent / "survey-opt-out").write_text("x.example\n")
    gatepost(config.parent / "names", "--ehlo", "s.example")
    conduct = asked[0][0]
    assert conduct.options.again_after_s == 86_400
    assert (conduct.options.in_flight, conduct.options.per_provider) == (1500, 500)
    assert conduct.opt_out.covers_name("mx.x.example")
    assert conduct.also == ()
    assert conduct.sts


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "name one of"),
        (("NAMES", "--from-log"), "name one of"),
        (("NAMES", "--csv", "--json"), "exclude each other"),
        (("NAMES", "--source", "x"), "--source takes an IP address"),
        (("NAMES", "--source", "192.0.2.1", "--source", "192.0.2.2"), "at most one IPv4"),
        (("NAMES", "--also", "x"), "--also takes a network"),
        (("NAMES", "--opt-out", "/nonexistent"), "no such file"),
        (("NAMES", "--since", "x"), "takes a period"),
        (("/nonexistent",), "no such file"),
        (("a.example",), "echo it into gatepost tls survey -"),
        (("/",), "Is a directory"),
        (("--from-log",), "nothing was recorded yet"),
    ],
)
def test_wrong_use(
    config: Path, gatepost: Gatepost, asked: list[Any], arguments: tuple[str, ...], problem: str
) -> None:
    (config.parent / "names").write_text("a.example\n")
    given = [str(config.parent / "names") if each == "NAMES" else each for each in arguments]
    result = gatepost(*given, "--ehlo", "s.example", status=2)
    assert problem in result.stderr + result.stdout
    assert asked == []


def test_a_bad_opt_out_list_visits_nobody(
    config: Path, gatepost: Gatepost, asked: list[Any]
) -> None:
    (config.parent / "names").write_text("a.example\n")
    (config.parent / "survey-opt-out").write_text("ok.example\nwho knows\n")
    result = gatepost(config.parent / "names", "--ehlo", "s.example", status=2)
    assert "line 2" in result.stderr
    assert asked == []


@pytest.mark.parametrize(
    ("main_cf", "roots"),
    [
        ([], (None, None)),
        (["smtp_tls_CAfile = /a.pem"], ("/a.pem", None)),
        (["smtp_tls_CApath = /own"], (None, "/own")),
        # Debian's default: all of these are the system's roots.
        (["smtp_tls_CApath = /etc/ssl/certs"], (None, None)),
        # ... and here they are not.
        (
            ["smtp_tls_CApath = /etc/ssl/certs", "smtp_tls_CAfile = /a.pem"],
            ("/a.pem", "/etc/ssl/certs"),
        ),
    ],
)
def test_the_roots_are_those_of_postfix(
    config: Path, gatepost: Gatepost, asked: list[Any], main_cf: list[str], roots: tuple[str, str]
) -> None:
    (config.parent / "names").write_text("a.example\n")
    write_settled(config.parent / "main.cf", "\n".join([*main_cf, ""]))
    gatepost(config.parent / "names", "--ehlo", "s.example")
    assert (asked[0][0].ca_file, asked[0][0].ca_path) == roots


@pytest.mark.parametrize(
    ("inet_protocols", "source", "versions"),
    [
        ("all", [], {4, 6}),
        ("ipv4", [], {4}),
        ("ipv6, ipv4", [], {4, 6}),
        # Whoever has no PTR record for IPv6 names the other address.
        ("all", ["--source", "192.0.2.1"], {4}),
        ("ipv4", ["--source", "192.0.2.1", "--source", "2001:db8::1"], {4, 6}),
    ],
)
def test_the_ip_versions_are_those_of_postfix_or_of_the_source(
    config: Path, gatepost: Gatepost, asked: list[Any], inet_protocols: str, source: list[str],
    versions: set[int],
) -> None:  # fmt: skip
    (config.parent / "names").write_text("a.example\n")
    write_settled(config.parent / "main.cf", f"inet_protocols = {inet_protocols}\n")
    gatepost(config.parent / "names", "--ehlo", "s.example", *source)
    assert asked[0][0].versions == versions


def test_without_postfix_the_name_has_to_be_given(
    config: Path, gatepost: Gatepost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def postconf(*_: object) -> None:
        raise GatepostError("postconf is missing")

    monkeypatch.setattr(command.PostfixCommands, "postconf", postconf)
    (config.parent / "names").write_text("a.example\n")
    result = gatepost(config.parent / "names", status=2)
    assert "--ehlo" in result.stderr


def test_domains_of_deliveries_the_most_mail_first(
    config: Path, gatepost: Gatepost, asked: list[Any]
) -> None:
    url = f"sqlite:///{config.parent}/gatepost.db"
    deliveries = [("acme", "few.example")] + [("beta", "many.example")] * 3 + [("acme", "")]
    records = tuple(
        Record(
            NOW - 60, "Q", tenant, "u@" + domain, domain, "mx." + domain, "192.0.2.1", domain,
            "smtp", TlsClass.ENCRYPTED, "TLSv1.3", 1, 1, Proved.NOTHING, "", "",
        )
        for tenant, domain in deliveries
    )  # fmt: skip
    with closing(open_deliveries(url)) as opened:
        opened.add(Batch(records, LogPosition("log", 1, 1, ""), None))
    gatepost("--from-log", "--ehlo", "s.example")
    gatepost("--tenant", "acme", "--ehlo", "s.example")
    assert [[each.domain for each in names] for _, names, _ in asked] == [
        ["many.example", "few.example"], ["few.example"],
    ]  # fmt: skip


@pytest.mark.usefixtures("asked")
def test_results_as_table_csv_and_json(
    config: Path, gatepost: Gatepost, store: SurveyStore
) -> None:
    fill(store, a="tls", b="none", c="unknown")
    names = config.parent / "names"
    names.write_text("a.example\nb.example\nc.example\nnew.example\na.example\n")
    table = gatepost(names, "--ehlo", "s.example").stdout
    assert "a.example" in table
    assert "unknown" in table
    rows = list(csv.DictReader(io.StringIO(gatepost(names, "--ehlo", "s.x", "--csv").stdout)))
    assert [(row["domain"], row["starttls"], row["reason"]) for row in rows] == [
        ("a.example", "tls", ""), ("b.example", "none", ""), ("c.example", "unknown", "because"),
    ]  # fmt: skip
    document = json.loads(gatepost(names, "--ehlo", "s.x", "--json").stdout)
    assert [each["domain"] for each in document["servers"]] == [r["domain"] for r in rows]
    assert document["names"] == 5


@pytest.mark.usefixtures("asked")
def test_a_long_table_says_how_much_there_is_more(
    config: Path, gatepost: Gatepost, store: SurveyStore
) -> None:
    fill(store, **{f"d{number:03}": "tls" for number in range(60)})
    names = config.parent / "names"
    names.write_text("".join(f"d{number:03}.example\n" for number in range(60)))
    assert "and 20 more rows" in gatepost(names, "--ehlo", "s.example").stdout


def test_report(gatepost: Gatepost, store: SurveyStore) -> None:
    assert "nothing was surveyed" in gatepost("report").stdout
    fill(store, a="tls", b="none", c="unknown")
    run = store.run_begins(NOW - 60, "names")
    target = Target("192.0.2.1", "mx.b.example")
    store.begin([target], NOW - 30, NOW)
    store.finish([Probed(target, NOW - 30, 0.1, Verdict.TLS, version="TLSv1.3")])
    store.run_ends(run, NOW)
    text = gatepost("report").stdout
    assert "mx.b.example[192.0.2.1] tls: none -> tls" in text
    document = json.loads(gatepost("report", "--json").stdout)
    assert document["domains"]["starttls"] == {"tls": 2, "unknown": 1}
    assert [(each["was"], each["now"]) for each in document["changes"]] == [("none", "tls")]
    rows = list(csv.DictReader(io.StringIO(gatepost("report", "--csv").stdout)))
    assert {"of": "hosts", "property": "starttls", "value": "tls", "count": "2"} in rows
    assert json.loads(gatepost("report", "--json", "--since", "10s").stdout)["changes"] == []


def test_one_of_many_is_never_rounded_away(gatepost: Gatepost, store: SurveyStore) -> None:
    fill(store, **{f"d{number:04}": "tls" for number in range(2000)}, plain="none")
    text = gatepost("report").stdout
    assert "2,000 (>99.9 %)" in text
    assert "1 (<0.1 %)" in text


def test_changes_are_those_of_all_runs_of_the_last_survey(
    gatepost: Gatepost, store: SurveyStore
) -> None:
    fill(store, a="tls", b="tls", c="tls")
    for number, (source, begun, ended) in enumerate(
        [("names", 2000, True), ("other", 900, True), ("names", 600, False), ("names", 300, True)]
    ):
        run = store.run_begins(NOW - begun, source)
        target = Target(f"192.0.2.{number}", "mx.x.example")
        store.begin([target], NOW - begun + 1, NOW)
        store.finish([Probed(target, NOW - begun + 1, 0.1, Verdict.NONE)])
        if ended:
            store.run_ends(run, NOW - begun + 2)
    document = json.loads(gatepost("report", "--json").stdout)
    # The run that was broken off and the one that went on with it are one survey.
    assert document["changes_since"] == NOW - 600
    assert [each["address"] for each in document["changes"]] == ["192.0.2.2"]


def test_a_file_may_be_called_like_a_command(
    config: Path, gatepost: Gatepost, asked: list[Any]
) -> None:
    (config.parent / "names").write_text("a.example\n")
    gatepost("run", config.parent / "names", "--ehlo", "s.example")
    gatepost("--ehlo", "s.example", config.parent / "names")
    assert len(asked) == 2
