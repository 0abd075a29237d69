"""The setting maillog: a file, the journal, or nothing."""

from __future__ import annotations

import pytest

from gatepost.settings import kinds
from gatepost.settings.problems import Rejected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", None),
        ("no", None),
        ("journal", "journal"),
        ("/var/log/mail.log", "/var/log/mail.log"),
    ],
)
def test_maillog(load, text, value):
    assert load(f"maillog: {text}").settings.maillog == value


def test_nothing_is_read_unless_it_is_asked_for(load):
    assert load("modes:").settings.maillog is None


@pytest.mark.parametrize("text", ["mail.log", "journald", "", "syslog"])
def test_what_is_no_log(text):
    with pytest.raises(Rejected) as caught:
        kinds.MAILLOG.parse(text)
    assert "/var/log/mail.log" in caught.value.remedy
