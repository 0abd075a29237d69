"""The survey among 5,000 strangers of every temper: what it finds, and how it behaves.

The record of the strangers is the proof: who was connected to, when, and what was said.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkdmarc.smtp
import pytest

from gatepost.store.open import open_survey
from gatepost.store.survey import SurveyStore
from gatepost.tls.survey.model import Target, Verdict
from gatepost.tls.survey.probe import Prober, Timeouts
from gatepost.tls.survey.trust import Trust
from lab.process import find, wait_until
from lab.swarm import Temper
from lab.swarm_fleet import Stranger, SwarmFleet
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

EACH = 155
NAME = "survey.example"
CLIENT = "198.18.0.1"

# What each temper has to be found out as, the certificate, and the words spoken.
TALK = ("EHLO", "STARTTLS", "EHLO", "QUIT")
FOUND: dict[Temper, tuple[str, str, Sequence[tuple[str, ...]]]] = {
    Temper.GOOD: ("tls", "valid", [TALK]),
    Temper.WILDCARD: ("tls", "valid", [TALK]),
    Temper.INTERMEDIATE: ("tls", "valid", [TALK]),
    Temper.WEAK_KEY: ("tls", "valid", [TALK]),
    Temper.OLD_TLS: ("tls", "valid", [TALK]),
    Temper.SPLITS: ("tls", "valid", [TALK]),
    Temper.SELF_SIGNED: ("tls", "self-signed", [TALK]),
    Temper.EXPIRED: ("tls", "expired", [TALK]),
    Temper.NOT_YET: ("tls", "not-yet-valid", [TALK]),
    Temper.WRONG_NAME: ("tls", "wrong-name", [TALK]),
    Temper.INCOMPLETE: ("tls", "untrusted", [TALK]),
    Temper.PLAIN: ("none", "", [("EHLO", "QUIT")]),
    Temper.STRIPPED: ("stripped", "", [("EHLO", "QUIT")]),
    Temper.INJECTS: ("injected", "", [("EHLO", "STARTTLS")]),
    Temper.GARBAGE_TLS: ("injected", "", [("EHLO", "STARTTLS")]),
    Temper.REFUSES_TLS: ("broken", "", [("EHLO", "STARTTLS", "QUIT")]),
    Temper.BROKEN_TLS: ("broken", "", [("EHLO", "STARTTLS")]),
    Temper.HANGS_TLS: ("broken", "", [("EHLO", "STARTTLS")]),
    Temper.HUGE_CHAIN: ("broken", "", [("EHLO", "STARTTLS")]),
    Temper.LOST_IN_TLS: ("broken", "valid", [("EHLO", "STARTTLS", "EHLO")]),
    # It hangs up at once; our QUIT may or may not find it.
    Temper.BUSY: ("unknown", "", [(), ("QUIT",)]),
    Temper.GREYLISTS: ("unknown", "", [("QUIT",)]),
    Temper.REFUSES: ("unknown", "", [("QUIT",)]),
    Temper.GIBBERISH: ("unknown", "", [("QUIT",)]),
    Temper.FLOODS: ("unknown", "", [("QUIT",), ()]),
    Temper.FLOODS_LINES: ("unknown", "", [("QUIT",), ()]),
    Temper.GREYLISTS_EHLO: ("unknown", "", [("EHLO", "QUIT")]),
    Temper.NO_EHLO: ("unknown", "", [("EHLO", "QUIT")]),
    Temper.CLOSES_EHLO: ("unknown", "", [("EHLO",)]),
    Temper.CLOSES: ("unknown", "", [()]),
    Temper.SILENT: ("unknown", "", [()]),
    Temper.DRIPS: ("unknown", "", [()]),
    Temper.DEAD: ("unreachable", "", []),
}


@dataclass(frozen=True)
class Place:
    """A world with strangers, and a directory for a configuration."""

    world: World
    fleet: SwarmFleet
    directory: Path

    def config(self, name: str) -> Path:
        """Return a configuration with a database of its own."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        path = directory / "gatepost.yaml"
        # The roots of mail servers are those of Postfix, those of policy hosts the system's.
        (directory / "main.cf").write_text(f"smtp_tls_CAfile = {self.world.authority.ca_file}\n")
        path.write_text(
            f"postfix: {{config_dir: {directory}}}\nstate: sqlite:///{directory}/gatepost.db\n"
            "dns: {signed: example, bogus: bogus.example, "
            f"https_ca_file: {self.world.authority.ca_file}}}\n"
        )
        return path

    def names(self, config: Path, strangers: Sequence[Stranger]) -> Path:
        """Write a file of domains."""
        path = config.parent / "names"
        path.write_text("".join(f"{each.domain}\n" for each in strangers))
        return path

    def command(self, config: Path, *arguments: str | Path, pace: float = 0.0) -> list[str]:
        """Return the command that surveys."""
        return [
            sys.executable, "-m", "gatepost", "tls", "survey", "--config", str(config),
            "--ehlo", NAME, "--also", "198.18.0.0/15", "--network-delay", str(pace),
            "--provider-delay", str(pace), "--per-provider", "0", "--timeout", "4",
            *map(str, arguments),
        ]  # fmt: skip

    def survey(
        self, config: Path, *arguments: str | Path, status: int = 0, pace: float = 0.0
    ) -> subprocess.CompletedProcess[str]:
        """Survey, and return what became of it."""
        done = subprocess.run(
            self.command(config, *arguments, pace=pace), capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return done

    def store(self, config: Path) -> SurveyStore:
        """Open the database."""
        return open_survey(f"sqlite:///{config.parent}/gatepost.db", create=False)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    world = World(kinds=())
    fleet = SwarmFleet(world.directory / "swarm", world.authority, dict.fromkeys(Temper, EACH))
    assert len(fleet.strangers) > 5000
    fleet.publish(world.names)
    world.names.address(NAME, CLIENT)
    spki = {each.host: each for each in fleet.of(Temper.GOOD)[:2]}
    for number, (host, stranger) in enumerate(spki.items()):
        digest = _spki(Path(stranger.chain_file)) if number == 0 else "00" * 32
        world.names.record(f"_25._tcp.{host}. TLSA 3 1 1 {digest}")
    with world, fleet:
        directory = world.directory / "survey"
        directory.mkdir()
        yield Place(world, fleet, directory)


def _spki(chain_file: Path) -> str:
    key = subprocess.run(
        ["openssl", "x509", "-in", chain_file, "-noout", "-pubkey"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, capture_output=True, check=True
    ).stdout
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True
    ).stdout
    return digest.split()[0].decode()


@pytest.fixture(scope="module")
def surveyed(place: Place) -> tuple[Path, str, list[dict[str, Any]]]:
    """Survey everybody once; return the configuration, the CSV, and the sessions."""
    config = place.config("all")
    names = place.names(config, place.fleet.strangers)
    done = place.survey(config, names, "--csv")
    return config, done.stdout, place.fleet.wait_ended(20)


def test_everybody_is_found_out(
    place: Place, surveyed: tuple[Path, str, list[dict[str, Any]]]
) -> None:
    rows = {row["domain"]: row for row in csv.DictReader(io.StringIO(surveyed[1]))}
    assert len(rows) == len(place.fleet.strangers)
    wrong = Counter(
        (each.temper.value, row["starttls"], row["certificate"], row["reason"])
        for each in place.fleet.strangers
        for row in [rows[each.domain]]
        if (row["starttls"], row["certificate"]) != FOUND[each.temper][:2]
    )
    assert not wrong
    assert {rows[each.domain]["version"] for each in place.fleet.of(Temper.OLD_TLS)} == {"TLSv1.1"}
    matching, other, *rest = (rows[each.domain] for each in place.fleet.of(Temper.GOOD))
    assert (matching["dane"], other["dane"]) == ("match", "mismatch")
    assert {row["dane"] for row in rest} == {"none"}


def test_everybody_was_visited_once_and_in_good_manner(
    place: Place, surveyed: tuple[Path, str, list[dict[str, Any]]]
) -> None:
    sessions = surveyed[2]
    visits = Counter(each["address"] for each in sessions)
    living = [each for each in place.fleet.strangers if each.temper is not Temper.DEAD]
    assert visits == Counter(each.address for each in living)
    bad = Counter(
        (each["temper"], words)
        for each in sessions
        for words in [tuple(line.split()[0].upper() for line in each["commands"])]
        if words not in FOUND[Temper(each["temper"])][2]
    )
    assert not bad
    said = {line for each in sessions for line in each["commands"]}
    # Never MAIL, never RCPT, and always the name that PTR and address vouch for.
    assert said == {f"EHLO {NAME}", "STARTTLS", "QUIT"}
    assert {each["client"] for each in sessions} == {CLIENT}
    assert not [each for each in sessions if each["early"]]


def test_the_raw_reply_is_kept(
    place: Place, surveyed: tuple[Path, str, list[dict[str, Any]]]
) -> None:
    stripped = place.fleet.of(Temper.STRIPPED)[0].address
    with closing(place.store(surveyed[0])) as store, store._database() as db:
        [(ehlo,)] = db.conn.execute(
            "select ehlo from survey_addresses where address = ?", (stripped,)
        ).fetchall()
    assert "250-XXXXXXXA\r\n" in ehlo


def test_report_of_the_survey(
    place: Place, surveyed: tuple[Path, str, list[dict[str, Any]]]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gatepost", "tls", "survey", "report", "--json", "--config",
         str(surveyed[0])], capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    wanted = Counter(FOUND[each.temper][0] for each in place.fleet.strangers)
    assert report["domains"]["starttls"] == wanted
    assert report["hosts"]["starttls"] == wanted
    assert report["changes"] == []


def test_again_on_that_day_nobody_is_visited(
    place: Place, surveyed: tuple[Path, str, list[dict[str, Any]]]
) -> None:
    before = len(place.fleet.events("connect"))
    done = place.survey(surveyed[0], surveyed[0].parent / "names", "--csv")
    assert done.stdout == surveyed[1]
    assert len(place.fleet.events("connect")) == before


def test_killed_in_mid_run_and_started_again_nobody_is_visited_twice(place: Place) -> None:
    config = place.config("killed")
    strangers = place.fleet.of(Temper.GOOD, Temper.PLAIN, Temper.SELF_SIGNED, Temper.SPLITS)
    names = place.names(config, strangers)
    before = len(place.fleet.events("connect"))
    for round_number in range(1, 3):
        running = subprocess.Popen(
            place.command(config, names, "--in-flight", "20"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        goal = before + round_number * 100
        wait_until(lambda goal=goal: len(place.fleet.events("connect")) >= goal, 30, "some visits")
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    place.fleet.wait_ended()
    done = place.survey(config, names, "--json")
    visits = Counter(each["address"] for each in place.fleet.events("connect")[before:])
    assert set(visits.values()) == {1}
    # Written down and never visited: those that were about to be, at each death.
    lost = {each.address for each in strangers} - set(visits)
    assert len(lost) <= 2 * (64 + 20)
    words = {row["address"]: row["starttls"] for row in json.loads(done.stdout)["servers"]}
    known = {address for address, word in words.items() if word in {"tls", "none"}}
    # Whose answer was lost is not known, and nobody is called something wrong.
    assert set(words.values()) <= {"tls", "none", "not-probed"}
    plain = {each.address for each in place.fleet.of(Temper.PLAIN)}
    assert {address for address, word in words.items() if word == "none"} <= plain
    assert len(known) > len(strangers) / 2


def test_two_surveys_at_once_are_refused(place: Place) -> None:
    config = place.config("twice")
    names = place.names(config, place.fleet.of(Temper.SILENT)[:1])
    before = len(place.fleet.events("connect"))
    with subprocess.Popen(
        place.command(config, names), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        wait_until(lambda: len(place.fleet.events("connect")) > before, 30, "the first visit")
        second = place.survey(config, names, status=2)
        assert "survey runs already" in second.stderr
        first.send_signal(signal.SIGTERM)
        # What goes on is let end: the silent server's greeting is awaited.
        assert first.wait() == 1
    assert len(place.fleet.events("connect")) == before + 1


def test_neighbours_and_customers_of_one_provider_are_spaced(place: Place) -> None:
    config = place.config("paced")
    strangers = [*place.fleet.of(Temper.GOOD)[:3], *place.fleet.of(Temper.PLAIN)[:3]]
    before = len(place.fleet.events("connect"))
    place.survey(config, place.names(config, strangers), pace=0.7)
    visits = sorted(place.fleet.events("connect")[before:], key=lambda each: each["at"])
    assert len(visits) == len(strangers)
    last: dict[str, float] = {}
    for each in visits:
        network = each["address"].rpartition(".")[0]
        for key in (network, each["temper"]):
            # The record's clock ticks at accept, a moment after our connect.
            assert each["at"] - last.get(key, 0.0) >= 0.6
            last[key] = each["at"]


@pytest.mark.parametrize(
    ("ehlo", "problem"),
    [("good.example", "the PTR record of 198.18.0.1 says survey.example, not good.example")],
)
def test_a_name_that_nobody_vouches_for_is_refused(place: Place, ehlo: str, problem: str) -> None:
    config = place.config("ehlo")
    names = place.names(config, place.fleet.of(Temper.GOOD)[-1:])
    before = len(place.fleet.events("connect"))
    done = place.survey(config, "--ehlo", ehlo, names, status=2)
    assert problem in done.stderr
    assert "--force-ehlo" in done.stderr
    assert len(place.fleet.events("connect")) == before
    place.survey(config, "--ehlo", ehlo, "--force-ehlo", names)
    [session] = place.fleet.wait_ended()[-1:]
    assert session["commands"][0] == f"EHLO {ehlo}"


def test_opt_out_dry_run_limit_and_source(place: Place) -> None:
    config = place.config("options")
    strangers = place.fleet.of(Temper.GOOD)[-10:]
    names = place.names(config, strangers)
    before = len(place.fleet.events("connect"))
    done = place.survey(config, "--dry-run", names, pace=30.0)
    assert "10 names, 10 servers to visit; at this pace at least 4.5 minutes" in done.stderr
    assert len(place.fleet.events("connect")) == before
    (config.parent / "survey-opt-out").write_text(
        f"{strangers[0].domain}\n{strangers[1].host}\n{strangers[2].address}\n"
    )
    place.survey(config, "--limit", "3", "--source", CLIENT, names)
    first = {each["address"] for each in place.fleet.events("connect")[before:]}
    assert len(first) == 3
    place.survey(config, names)
    visits = Counter(each["address"] for each in place.fleet.events("connect")[before:])
    assert visits == Counter(each.address for each in strangers[3:])


# What posttls-finger(1) says at level "verify". Where it sees something else than the survey, the
# reason stands beside it; docs/tls.md explains it to the reader.
VERIFIED = "Verified TLS connection established"
NOT_A_WORD = r"\A\Z"
FINGER: dict[Temper, str] = {
    Temper.GOOD: VERIFIED,
    Temper.WILDCARD: VERIFIED,
    Temper.INTERMEDIATE: VERIFIED,
    Temper.WEAK_KEY: VERIFIED,
    Temper.SPLITS: VERIFIED,
    Temper.SELF_SIGNED: "self-signed certificate",
    Temper.EXPIRED: "certificate has expired",
    Temper.NOT_YET: "certificate not yet valid",
    Temper.WRONG_NAME: "hostname mismatch",
    Temper.INCOMPLETE: "untrusted issuer",
    # It says nothing where TLS is not offered; blotted out or not is all the same to it.
    Temper.PLAIN: NOT_A_WORD,
    Temper.STRIPPED: NOT_A_WORD,
    # Postfix throws away what came before the handshake and goes on.
    Temper.INJECTS: VERIFIED,
    # It looks no further than the handshake.
    Temper.LOST_IN_TLS: VERIFIED,
    # OpenSSL's configuration on this system forbids what the survey accepts in order to report it.
    Temper.OLD_TLS: "SSL_connect error|Verified",
    Temper.GARBAGE_TLS: "SSL_connect error",
    Temper.REFUSES_TLS: "454 4.7.0",
    Temper.BROKEN_TLS: "SSL_connect error",
    Temper.HANGS_TLS: "SSL_connect error",
    Temper.HUGE_CHAIN: "SSL_connect error",
    Temper.BUSY: "421 4.3.2",
    Temper.GREYLISTS: "450 4.7.1",
    Temper.GREYLISTS_EHLO: "EHLO rejected: 450 4.7.1",
    Temper.REFUSES: "554 5.7.1",
    Temper.NO_EHLO: "EHLO rejected: 502",
    Temper.CLOSES: "lost connection",
    Temper.CLOSES_EHLO: "lost connection",
    Temper.GIBBERISH: "service not available",
    Temper.DEAD: "Connection refused",
}


@pytest.fixture(scope="module")
def finger_directory(place: Place) -> Path:
    """Return a configuration of Postfix, without which the command does not start."""
    directory = place.directory / "postfix"
    directory.mkdir()
    (directory / "main.cf").write_text(
        f"myhostname = {NAME}\ninet_protocols = ipv4\ncompatibility_level = 3.7\n"
    )
    return directory


@pytest.mark.parametrize("temper", list(FINGER))
def test_posttls_finger_agrees(place: Place, finger_directory: Path, temper: Temper) -> None:
    stranger = place.fleet.of(temper)[0]
    done = subprocess.run(
        [
            find("posttls-finger"), "-c", "-l", "verify", "-L", "summary", "-t", "5", "-T", "5",
            "-F", str(place.world.authority.ca_file), "-s", stranger.host,
            f"[{stranger.host}]", "hostname",
        ],
        capture_output=True, text=True, check=False, timeout=30,
        env=os.environ | {"MAIL_CONFIG": str(finger_directory)},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert re.search(FINGER[temper], output), output


# What checkdmarc says: whether STARTTLS works with a certificate that verifies, or why not.
DMARC: dict[Temper, str] = {
    Temper.GOOD: "True",
    Temper.WILDCARD: "True",
    Temper.INTERMEDIATE: "True",
    Temper.SPLITS: "True",
    Temper.SELF_SIGNED: "self-signed certificate",
    Temper.EXPIRED: "certificate has expired",
    Temper.NOT_YET: "certificate is not yet valid",
    Temper.WRONG_NAME: "Hostname mismatch",
    Temper.INCOMPLETE: "unable to get local issuer",
    # Python's default context refuses such a key, Postfix does not.
    Temper.WEAK_KEY: "key too small|too weak",
    Temper.PLAIN: "False",
    Temper.STRIPPED: "False",
    # It does not notice.
    Temper.INJECTS: "True",
    Temper.NO_EHLO: "502",
    Temper.REFUSES_TLS: "454",
    Temper.BUSY: "421",
    Temper.GREYLISTS: "450",
    Temper.REFUSES: "554",
    Temper.DEAD: "refused",
}


@pytest.mark.parametrize("temper", list(DMARC))
def test_checkdmarc_agrees(place: Place, temper: Temper) -> None:
    stranger = place.fleet.of(temper)[0]
    context = ssl.create_default_context(cafile=str(place.world.authority.ca_file))
    try:
        said = str(checkdmarc.smtp.test_starttls(stranger.host, ssl_context=context, timeout=5))
    except checkdmarc.smtp.SMTPError as error:
        said = str(error)
    assert re.search(DMARC[temper], said), said


def test_a_prober_on_this_python_reads_the_whole_chain(place: Place) -> None:
    stranger = place.fleet.of(Temper.INTERMEDIATE)[0]
    prober = Prober(NAME, Trust(str(place.world.authority.ca_file)), timeouts=Timeouts.within(5.0))
    probed = asyncio.run(prober.probe(Target(stranger.address, stranger.host)))
    assert probed.verdict is Verdict.TLS
    assert probed.certificate is not None
    assert probed.certificate.chain_length == 2
    assert probed.certificate.issuer == "CN=Lab intermediate CA"
