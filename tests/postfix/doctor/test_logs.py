"""Doctor on logs: what Postfix leaves out, and what loggers drop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.postfix.doctor import logs
from gatepost.postfix.doctor.findings import Severity
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix_version import PostfixVersion

MakeScene = Callable[..., Scene]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    (directory / "run/systemd/journal").mkdir(parents=True)
    return directory


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def told(scene: Scene, root: Path) -> list[str]:
    return [finding.what for finding in logs.check(scene, root)]


def test_postfix_says_too_little(scene: MakeScene, root: Path) -> None:
    old = scene(version=PostfixVersion(3, 10, 3), smtp_tls_loglevel="0", enable_long_queue_ids="no")
    found = list(logs.check(old, root))
    assert [each.severity for each in found] == [Severity.PROBLEM, Severity.PROBLEM]
    assert found[0].what == "smtp_tls_loglevel = 0 for smtp/unix, gp-normal-private/unix."


def test_from_3_11_the_delivery_line_tells_most(scene: MakeScene, root: Path) -> None:
    assert told(scene(), root) == []
    (found,) = logs.check(scene(smtp_tls_loglevel="0"), root)
    assert found.severity is Severity.WARNING
    assert "reused connection" in found.why


def test_addresses_that_cannot_be_told_from_what_follows(scene: MakeScene, root: Path) -> None:
    assert told(scene(info_log_addr_form="internal"), root) == ["info_log_addr_form = internal."]
    assert told(scene(info_log_addr_form="external"), root) == []


@pytest.mark.parametrize(
    ("files", "limited"),
    [
        ({}, True),
        ({"etc/systemd/journald.conf": "[Journal]\n#RateLimitIntervalSec=0\n"}, True),
        ({"etc/systemd/journald.conf": "[Journal]\nRateLimitIntervalSec=0\n"}, False),
        ({"etc/systemd/journald.conf": "[Journal]\nRateLimitIntervalSec=0s\n"}, False),
        ({"etc/systemd/journald.conf": "[Journal]\nRateLimitBurst=0\n"}, False),
        ({"etc/systemd/journald.conf.d/a.conf": "[Journal]\nRateLimitIntervalSec = 0\n"}, False),
        (
            {
                "usr/lib/systemd/journald.conf.d/a.conf": "[Journal]\nRateLimitIntervalSec=0\n",
                "etc/systemd/journald.conf.d/a.conf": "[Journal]\n",
            },
            True,
        ),
        (
            {
                "etc/systemd/journald.conf": "[Journal]\nRateLimitIntervalSec=0\n",
                "etc/systemd/journald.conf.d/z.conf": "[Journal]\nRateLimitIntervalSec=30s\n",
            },
            True,
        ),
        (
            {
                "etc/systemd/system/postfix@.service.d/l.conf": "[Service]\n"
                "LogRateLimitIntervalSec=0\n"
            },
            False,
        ),
    ],
)
def test_the_rate_limit_of_journald(
    files: dict[str, str], *, limited: bool, scene: MakeScene, root: Path
) -> None:
    for name, text in files.items():
        write(root, name, text)
    assert bool(told(scene(maillog_file=""), root)) is limited


def test_without_journald_there_is_no_limit_of_it(scene: MakeScene, tmp_path: Path) -> None:
    assert told(scene(maillog_file=""), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('module(load="imjournal" StateFile="x")', "rsyslog drops log lines"),
        ('module(load="imjournal"\n  Ratelimit.Interval="60")', "rsyslog drops log lines"),
        ('module(load="imjournal" ratelimit.interval="0")', None),
        ('module(load="imuxsock")', None),
        ('module(load="imuxsock" SysSock.RateLimit.Interval="5")', "rsyslog drops log lines"),
        ("$SystemLogRateLimitInterval 5", "rsyslog drops log lines"),
        ("$SystemLogRateLimitInterval 0", None),
        ("$RepeatedMsgReduction on", "message repeated"),
        ("#$RepeatedMsgReduction on", None),
        ('# module(load="imjournal")', None),
    ],
)
def test_what_rsyslog_drops(text: str, what: str | None, scene: MakeScene, tmp_path: Path) -> None:
    write(tmp_path, "etc/rsyslog.d/50-default.conf", text + "\n")
    found = told(scene(maillog_file=""), tmp_path)
    assert len(found) == (what is not None)
    assert what is None or what in found[0]


def test_with_a_log_file_of_its_own_no_logger_matters(scene: MakeScene, root: Path) -> None:
    write(root, "etc/rsyslog.conf", 'module(load="imjournal")\n$RepeatedMsgReduction on\n')
    assert told(scene(maillog_file="/var/log/mail.log"), root) == []
