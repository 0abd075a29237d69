"""Where the store is: what passes, and what is doubtful about it."""

from __future__ import annotations

import pytest

from gatepost.settings.kinds_store import STORE, split_server, without_password
from gatepost.settings.problems import Rejected

SERVER = "postgresql://gatepost@db.example.net/gatepost"
CHECKED = "?sslmode=verify-full&sslrootcert=system"
PASSWORD = "holds a password, which whoever may read this file can see"
CLEAR = "does not say that the server's certificate is checked"


@pytest.mark.parametrize(
    "url",
    [
        SERVER,
        "postgres://db/gatepost",
        "postgresql:///gatepost",
        "postgresql:///?service=gatepost",
        "postgresql://gatepost@/gatepost?host=/run/postgresql&port=5433",
        "postgresql://a.example:5432,[2001:db8::1]:5433/gatepost?target_session_attrs=any",
        "postgresql://db/?dbname=gatepost",
    ],
)
def test_urls_of_postgresql(url: str) -> None:
    assert STORE.parse(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gp:s@cret@db/gatepost",
        "postgresql://gp:s/cret@db/gatepost",
        "postgresql://db/gatepost?sslmode",
        "postgresql://db/gatepost#x",
        "postgresql://db/gate post",
        "postgresql:/db",
    ],
)
def test_what_is_no_url_of_postgresql_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        STORE.parse(url)
    assert "cret" not in caught.value.problem


def test_a_url_is_shown_without_its_passwords() -> None:
    url = "postgresql://gp:geheim@db/x?password=geheim&sslpassword=geheim&sslmode=require"
    shown = "postgresql://gp:***@db/x?password=***&sslpassword=***&sslmode=require"
    assert without_password(url) == shown
    assert split_server(url).user == "gp:geheim"


@pytest.mark.parametrize(
    ("state", "warnings"),
    [
        (SERVER + CHECKED, []),
        (SERVER, [CLEAR]),
        (SERVER + "?sslmode=require", [CLEAR]),
        ("postgresql:///gatepost", []),
        ("postgresql://localhost/gatepost", []),
        ("postgresql://localhost,db.example.net/gatepost", [CLEAR]),
        ("postgresql://db.example.net/gatepost?service=gp", []),
        ("postgresql:///gatepost?host=db.example.net", [CLEAR]),
        ("postgresql://gp:geheim@localhost/gatepost", [PASSWORD]),
        ("postgresql:///gatepost?password=geheim", [PASSWORD]),
    ],
)
def test_what_passes_and_is_doubtful(load, state: str, warnings: list[str]) -> None:
    loaded = load(f"state: {state}")
    assert loaded.settings.state == state
    told = [str(each) for each in loaded.warnings if ": state:" in str(each)]
    assert len(told) == len(warnings)
    for text, warning in zip(told, warnings, strict=True):
        assert warning in text
        assert "geheim" not in text


def test_what_is_one_hosts_alone_is_always_a_file(load) -> None:
    assert load("{}").settings.local_state == "sqlite:////var/lib/gatepost/gatepost.db"
    assert load("state: sqlite:////srv/gp/x.db").settings.local_state == "sqlite:////srv/gp/x.db"
    on_server = f"state: {SERVER}{CHECKED}"
    assert load(on_server).settings.local_state == "sqlite:////var/lib/gatepost/gatepost.db"
    own = "local_state: sqlite:////srv/gp/y.db"
    loaded = load(f"{on_server}\n{own}")
    assert loaded.settings.local_state == "sqlite:////srv/gp/y.db"
    assert not [each for each in loaded.warnings if "local_state" in str(each)]
    doubtful = load(f"state: sqlite:////srv/gp/x.db\n{own}")
    assert [each for each in doubtful.warnings if "keeps apart what one file could" in str(each)]
