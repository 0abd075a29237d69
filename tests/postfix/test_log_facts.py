"""What Postfix's log means: whether each service logs its TLS connections."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import PostfixUnavailable
from gatepost.postfix.log_facts import LogFacts, log_facts

SMTP = "smtp unix - - n - - smtp\n"


def instance(directory: Path, main: str, master: str = SMTP) -> Path:
    (directory / "main.cf").write_text(main)
    (directory / "master.cf").write_text(master)
    # postconf waits for a file that may still be being written.
    os.utime(directory / "main.cf", (0, 0))
    return directory


@pytest.mark.parametrize(
    ("main", "master", "facts"),
    [
        ("", SMTP, LogFacts()),
        ("smtp_tls_loglevel = 1\n", SMTP, LogFacts(tls_logged=True)),
        ("level = 1\nsmtp_tls_loglevel = $level\n", SMTP, LogFacts(tls_logged=True)),
        # One service that does not is enough for nothing to be sure.
        ("smtp_tls_loglevel = 1\n", f"{SMTP}  -o smtp_tls_loglevel=0\n", LogFacts()),
        ("", f"{SMTP}  -o smtp_tls_loglevel=2\n", LogFacts(tls_logged=True)),
        (
            "smtp_tls_loglevel = 1\nrelayhost = [hub.example]:587\n",
            SMTP,
            LogFacts(tls_logged=True, relayhost="[hub.example]:587"),
        ),
    ],
)
def test_facts(tmp_path, main, master, facts):
    main += "myhostname = mail.example\n"
    assert log_facts(instance(tmp_path, main, master)) == replace(facts, host="mail.example")


def test_without_master_cf_nothing_is_sure(tmp_path):
    directory = instance(tmp_path, "smtp_tls_loglevel = 1\nmyhostname = mail.example\n")
    (directory / "master.cf").unlink()
    assert log_facts(directory) == LogFacts(host="mail.example")


def test_without_postfix(tmp_path):
    with pytest.raises(PostfixUnavailable):
        log_facts(tmp_path / "nowhere")
