"""Doctor on Postfix's own TLS reports: not used, whole, and each way to have half of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix.doctor import tlsrpt
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.postfix.doctor.run import examine
from gatepost.postfix.doctor.scene import Scene
from tests.postfix.doctor.conftest import MASTER

MakeScene = Callable[..., Scene]


@pytest.fixture
def reporting(scene: MakeScene) -> MakeScene:
    """Return what makes a scene of a version that knows TLS reports, whole unless told."""

    def make(master: str = MASTER, enable: str = "yes", name: str = "r/s", **values: str) -> Scene:
        found = scene("", master, smtp_tlsrpt_enable=enable, smtp_tlsrpt_socket_name=name, **values)
        defaults = {**found.facts.defaults, "smtp_tlsrpt_enable": "no"}
        return replace(found, facts=replace(found.facts, defaults=defaults, mail_owner="root"))

    return make


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "r" / "s"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        # The whole path may be longer than a socket's name can be.
        monkeypatch.chdir(path.parent)
        listener.bind("s")
        yield path


def only(scene: Scene) -> Finding:
    [finding] = tlsrpt.check(scene)
    assert finding.what.endswith(".")
    assert finding.why.endswith(".")
    return finding


def test_older_versions_have_nothing_to_set_up(scene: MakeScene) -> None:
    assert list(tlsrpt.check(scene())) == []


def test_not_set_up_is_a_note_that_says_how(reporting: MakeScene) -> None:
    finding = only(reporting(enable="no", name=""))
    assert finding.severity is Severity.NOTE
    commands = "\n".join(finding.mend)
    assert "smtp_tlsrpt_socket_name = run/tlsrpt/tlsrpt.sock" in commands
    assert "smtp_tlsrpt_enable = yes" in commands
    assert "tlsrpt-reporter" in commands


@pytest.mark.usefixtures("collector")
def test_a_whole_set_up_has_nothing_to_say(reporting: MakeScene) -> None:
    assert list(tlsrpt.check(reporting())) == []


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"enable": "no"}, "smtp_tlsrpt_socket_name = r/s, but smtp_tlsrpt_enable is no."),
        ({"name": ""}, "smtp_tlsrpt_enable = yes, but smtp_tlsrpt_socket_name is empty."),
        ({"smtp_dns_support_level": "disabled"}, "makes no DNS lookups."),
        ({"disable_dns_lookups": "yes"}, "makes no DNS lookups."),
        ({"name": "r/nothing"}, "r/nothing: No such file or directory."),
        ({"name": "main.cf"}, "main.cf is no socket."),
        (
            {
                "master": MASTER.replace("smtp      unix  -       -       y", "smtp unix - - n")
                + "  -o smtp_tlsrpt_enable=no\n"
            },
            "smtp/unix, gp-normal-private/unix: smtp_tlsrpt_enable is not yes.",
        ),
    ],
)
def test_half_a_set_up(reporting: MakeScene, values: dict[str, str], what: str) -> None:
    finding = only(reporting(**values))
    assert what in finding.what
    assert finding.severity is Severity.WARNING
    assert finding.mend


def test_an_absolute_path_and_chroot(reporting: MakeScene, collector: Path) -> None:
    finding = only(reporting(name=str(collector)))
    assert "runs chrooted" in finding.what
    free = MASTER.replace("smtp      unix  -       -       y", "smtp      unix  -       -       n")
    assert list(tlsrpt.check(reporting(free, name=str(collector)))) == []


def test_a_socket_that_postfix_may_not_write_to(reporting: MakeScene, collector: Path) -> None:
    collector.chmod(0o500)
    assert "root may not write to" in only(reporting()).what


def test_a_socket_among_those_of_postfix(
    reporting: MakeScene, collector: Path, tmp_path: Path
) -> None:
    collector.parent.rename(tmp_path / "private")
    assert "directory of Postfix's own" in only(reporting(name="private/s")).what


def test_notes_stand_last_and_are_no_warnings(reporting: MakeScene) -> None:
    checks = (("tls reports", tlsrpt.check),)
    [side] = examine(reporting(enable="no", name=""), checks=checks)
    assert [each.severity for each in side.findings] == [Severity.NOTE]
