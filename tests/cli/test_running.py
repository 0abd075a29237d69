"""The commands that talk to running processes: status, reload, serve --prepare, report."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli import reload, report, status
from gatepost.cli.app import build as command_line
from gatepost.modes import Feature, Observation
from gatepost.runtime.control import ControlServer
from gatepost.runtime.overview import Overview
from gatepost.runtime.paths import ROLES
from gatepost.store import open_store

Gatepost = Callable[..., Result]

STATUS = {
    "running": True,
    "pid": 7,
    "started_at": 0.0,
    "loaded_at": 0.0,
    "digest": "abc",
    "tenants": 2,
    "modes": {"tag": {"off": 0, "observe": 1, "enforce": 1}, "tls": {"off": 0, "observe": 0}},
    "counts": {"policy_requests": {"dunno": 5.0}},
    "troubles": [{"at": 1.0, "level": "error", "text": "reload result=refused"}],
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        # No Postfix, not even one that this machine may have.
        f"postfix: {{config_dir: {tmp_path}}}\n"
        f"service: {{run_dir: {tmp_path}}}\nstate: sqlite:///{tmp_path}/gatepost.db\n"
    )
    return path


@pytest.fixture
def gatepost(config: Path) -> Gatepost:
    """Run a command, and return what became of it."""

    def gatepost(*arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(command_line(), [*arguments, "--config", str(config)])
        assert result.exit_code == status, result.output
        return result

    return gatepost


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Have roles answer to reload."""
    with contextlib.ExitStack() as stack:

        def answer(replies: Mapping[str, Mapping[str, Any]]) -> None:
            for role, reply in replies.items():
                handlers = {"reload": lambda reply=reply: reply}
                stack.callback(ControlServer(tmp_path / f"{role}.ctl", handlers).close)

        yield answer


def taken(digest: str = "abc", **more: Any) -> dict[str, Any]:
    return {"ok": True, "digest": digest, "changed": True, "errors": [], "notes": []} | more


def test_a_reload_that_all_take(gatepost: Gatepost, answer: Callable[..., None]) -> None:
    answer(dict.fromkeys(ROLES, taken()))
    assert gatepost("reload").stdout == "policy, milter, back: in force, digest abc\n"
    document = json.loads(gatepost("reload", "--json").stdout)
    assert document["ok"] is True
    assert document["roles"]["milter"]["digest"] == "abc"


def test_a_reload_that_is_refused_says_why_once(
    gatepost: Gatepost, answer: Callable[..., None]
) -> None:
    refusal = taken("old", ok=False, changed=False, errors=["f:1: bad; write good", "f:2: worse"])
    answer(dict.fromkeys(ROLES, refusal))
    assert gatepost("reload", status=1).stdout.splitlines() == [
        "policy, milter, back: refused; still in force: digest old",
        "policy, milter, back: f:1: bad; write good",
        "policy, milter, back: f:2: worse",
    ]
    assert json.loads(gatepost("reload", "--json", status=1).stdout)["ok"] is False


def test_a_reload_where_one_is_down_or_broken(
    gatepost: Gatepost, answer: Callable[..., None]
) -> None:
    answer(
        {
            "policy": taken(changed=False, notes=["user: takes effect after a restart"]),
            "back": {"ok": False, "error": "RuntimeError: broken"},
        }
    )
    assert gatepost("reload", status=1).stdout.splitlines() == [
        "policy: in force as before, digest abc",
        "policy: user: takes effect after a restart",
        "milter: not running",
        "back: RuntimeError: broken",
    ]


def test_status_shows_what_was_found(gatepost: Gatepost, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Overview({"file": "/etc/g.yaml", "digest": "abc", "errors": []})
    found.roles = {
        "policy": STATUS,
        "milter": {"running": False, "reason": "not running"},
        "back": STATUS | {"counts": {}, "troubles": []},
    }
    children = {"milter": {"restarts": 3, "last_exit": "killed by SIGKILL"}}
    found.supervisor = {"pid": 5, "running": True, "roles": children}
    found.sockets = [
        {"path": "/q/milter.sock", "role": "milter", "problem": "does not exist"},
        {"path": "/q/maps.sock", "role": "policy", "problem": None},
    ]
    found.down = ["milter: not running"]
    found.attention = ["look at me"]
    monkeypatch.setattr(status, "look", lambda _: found)
    lines = gatepost("status", status=1).stdout.splitlines()
    assert lines[0] == "on disk     /etc/g.yaml: digest abc"
    assert lines[1] == "supervisor  running, process 5"
    assert lines[2].startswith("policy      running for ")
    assert lines[2].endswith(" d, 2 tenants")
    assert lines[3] == "milter      not running; last: killed by SIGKILL"
    assert lines[5:] == [
        "socket      /q/milter.sock: does not exist",
        "socket      /q/maps.sock: answers",
        "modes       tag: 1 observe, 1 enforce",
        "modes       tls: no tenants",
        "counts      policy policy_requests: dunno 5",
        lines[10],
        "look at     look at me",
        "DOWN        milter: not running",
    ]
    assert lines[10].endswith(" d ago, policy: error: reload result=refused")
    document = json.loads(gatepost("status", "--json", status=1).stdout)
    assert (document["ok"], document["down"]) == (False, found.down)
    found.down = []
    assert json.loads(gatepost("status", "--json").stdout)["ok"] is True


def test_status_where_nothing_runs(gatepost: Gatepost) -> None:
    lines = gatepost("status", status=1).stdout.splitlines()
    assert "policy      not running" in lines
    assert "DOWN        milter: not running" in lines


def record(path: Path, *observations: Observation) -> None:
    store = open_store(f"sqlite:///{path}")
    store.add(observations)
    store.close()


def seen(ago_s: float, tenant: str = "acme", feature: Feature = Feature.TLS) -> Observation:
    at = time.time() - ago_s
    detail = "profile private: encrypt for example.org\n"
    return Observation(at, tenant, feature, "route", detail, "4X", "n@acme.example", "u@e.org")


def test_what_if_adds_up_and_shows_examples(gatepost: Gatepost, tmp_path: Path) -> None:
    record(tmp_path / "gatepost.db", seen(60), seen(30), seen(7200, tenant="", feature=Feature.TAG))
    lines = gatepost("report", "what-if").stdout.splitlines()
    assert lines[0].startswith("acme: tls would route: 2 times, last 20")
    assert lines[1].endswith(
        " 4X from=<n@acme.example> to=<u@e.org>: profile private: encrypt for example.org\\x0a"
    )
    assert lines[3].startswith("-: tag would route: once, last 20")
    assert len(lines) == 5
    assert len(gatepost("report", "what-if", "--since", "1h").stdout.splitlines()) == 3
    assert len(gatepost("report", "what-if", "--tenant", "-").stdout.splitlines()) == 2
    assert len(gatepost("report", "what-if", "--feature", "tls").stdout.splitlines()) == 3
    assert gatepost("report", "what-if", "--since", "10s").stdout == "nothing in the last 10s\n"
    document = json.loads(gatepost("report", "what-if", "--json").stdout)
    assert [(each["tenant"], each["count"]) for each in document["what_if"]] == [
        ("acme", 2),
        ("", 1),
    ]
    assert document["what_if"][0]["examples"][0]["queue_id"] == "4X"


@pytest.mark.parametrize("since", ["", "24", "h", "0h", "-1h", "1y", "1h30m", "9999999s"])
def test_a_period_that_is_none(gatepost: Gatepost, since: str) -> None:
    result = gatepost("report", "what-if", "--since", since, status=2)
    assert "--since takes a period such as 30m, 24h, 7d or 4w" in result.output


@pytest.mark.parametrize("unit", ["s", "m", "h", "d", "w"])
def test_periods(gatepost: Gatepost, tmp_path: Path, unit: str) -> None:
    record(tmp_path / "gatepost.db", seen(0))
    assert "route: once" in gatepost("report", "what-if", "--since", f"60{unit}").stdout


def test_without_a_database_there_is_one_sentence(gatepost: Gatepost, tmp_path: Path) -> None:
    result = gatepost("report", "what-if", status=2)
    assert result.stderr == (
        f"gatepost: nothing was recorded yet: the store sqlite:///{tmp_path}/gatepost.db (state in "
        f"{tmp_path}/gatepost.yaml) does not exist; start gatepost serve with that configuration, "
        "which makes it, and let mail pass\n"
    )
    assert not (tmp_path / "gatepost.db").exists()
    document = json.loads(gatepost("report", "what-if", "--json", status=2).stdout)
    assert document["ok"] is False


def test_without_a_directory_of_the_store_it_says_the_same(
    gatepost: Gatepost, config: Path, tmp_path: Path
) -> None:
    config.write_text(f"state: sqlite:///{tmp_path}/missing/gatepost.db\n")
    result = gatepost("report", "what-if", status=2)
    assert result.stderr.startswith("gatepost: nothing was recorded yet: the store sqlite:///")
    assert "Errno" not in result.stderr
    assert not (tmp_path / "missing").exists()


def test_without_a_configuration_too_the_report_asks_for_it(
    gatepost: Gatepost, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.unlink()
    # This machine may have a store of its own.
    monkeypatch.setattr(Path, "stat", missing)
    result = gatepost("report", "what-if", status=2)
    assert "(the default of state) does not exist; " in result.stderr
    assert f"{config} does not exist; name the configuration with --config" in result.stderr


def missing(path: Path, **_: bool) -> os.stat_result:
    raise FileNotFoundError(errno.ENOENT, "missing", str(path))


def test_a_store_that_may_not_be_read_names_who_may(
    gatepost: Gatepost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shut(path: Path, **_: bool) -> os.stat_result:
        if path.name == "gatepost.db":
            raise PermissionError(path)
        return os.stat(path)  # noqa: PTH116

    monkeypatch.setattr(Path, "stat", shut)
    result = gatepost("report", "what-if", status=2)
    assert f"{tmp_path}/gatepost.db: permission denied; run this as root or as gatepost" in (
        result.stderr
    )


def test_modules_have_one_command_each() -> None:
    assert callable(reload.command)
    assert callable(status.command)
    assert [command.name for command in report.app.registered_commands] == ["what-if"]
