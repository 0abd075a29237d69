"""Where counters are: the URL as it is written, as the library wants it, and as it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.settings import Loader
from gatepost.settings.kinds_counters import COUNTERS
from gatepost.settings.problems import Rejected
from gatepost.traffic.valkey_target import Target

CASES = [
    ("valkey://192.0.2.5", "redis://192.0.2.5", "valkey://192.0.2.5:6379"),
    ("redis://h:7/2", "redis://h:7/2", "redis://h:7/2"),
    ("valkey://u:p@h", "redis://u:p@h", "valkey://h:6379"),
    ("valkeys://:p@[2001:db8::1]:7", "rediss://:p@[2001:db8::1]:7", "valkeys://[2001:db8::1]:7"),
    ("rediss://h/", "rediss://h/", "rediss://h:6379"),
    ("valkey+unix:///run/v.sock", "unix:///run/v.sock", "valkey+unix:///run/v.sock"),
    ("redis+unix://u:p@/run/v.sock", "unix://u:p@/run/v.sock", "redis+unix:///run/v.sock"),
]


@pytest.mark.parametrize(("text", "url", "shown"), CASES)
def test_urls(text: str, url: str, shown: str) -> None:
    found = COUNTERS.parse(text)
    assert (found.url, found.shown) == (url, shown)
    assert found.secret == (":p@" in text)
    assert ":p@" not in repr(found)
    assert found.encrypted == text.startswith(("valkeys", "rediss"))


def test_memory() -> None:
    assert COUNTERS.parse("memory") is None


@pytest.mark.parametrize(
    "text",
    [
        "valkey",
        "valkey:",
        "http://secret@h",
        "valkey://secret@",
        "valkey://h:99999",
        "valkey://h/x?secret",
        "valkey://h/0#secret",
        "valkey://[secret",
        "valkey+unix://h/path",
        "valkey+unix:///",
        "secret",
    ],
)
def test_what_is_no_url_is_told_without_what_may_be_a_password(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        COUNTERS.parse(text)
    assert "secret" not in f"{caught.value.problem} {caught.value.remedy}"


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        "counters: valkeys://h\ncounters_password: p\ncounters_ca_file: ca.pem\n"
        "counters_nodes: 3\nnode: mx1\n"
    )
    assert Loader(path).settings().counters == Target(
        "rediss://h", "valkeys://h:6379", "mx1", 3, f"{tmp_path}/p", f"{tmp_path}/ca.pem"
    )
    path.write_text("counters: valkey://h\n")
    target = Loader(path).settings().counters
    assert target is not None
    assert target.nodes == 1
    assert target.node
    path.write_text("counters: memory\n")
    assert Loader(path).settings().counters is None
