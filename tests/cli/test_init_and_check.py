"""The commands ``init`` and ``check`` as an administrator sees them."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.settings import Loader

GOOD = """
platform: {sender_id: examplesp, null_sender_profile: private}
tls: {profiles: {private: {level: encrypt}}}
modes: {tls: enforce, sender: enforce}
tenants:
  acme: {logins: [acme], senders: [acme.example, acme.test], profile: private}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command_line(), list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert run("init", "--dir", tmp_path).exit_code == 0
    return tmp_path / "gatepost.yaml"


def test_what_init_writes_passes_check_unedited(config):
    result = run("check", "--config", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{config}: fine: 0 tenants, 0 sender domains, 0 delivery")


def test_init_makes_the_directory_and_says_what_it_did_and_what_is_next(tmp_path):
    directory = tmp_path / "etc" / "gatepost"
    result = run("init", "--dir", directory)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    config, keys = directory / "gatepost.yaml", directory / "keys.yaml"
    assert lines[:2] == [f"wrote {config}", f"wrote {keys}"]
    assert f"next: put your tenants into {config}" in lines
    assert lines[-2:] == [
        f"next: gatepost check --config {config}",
        f"next: gatepost attach --dry-run --config {config}",
    ]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o644


def test_init_keeps_what_is_there(config):
    keys = config.with_name("keys.yaml")
    config.write_text("# mine\nkeys: keys.yaml\n")
    before = keys.read_text()
    result = run("init", "--dir", config.parent)
    assert result.exit_code == 0
    assert f"kept {config}, which is there already" in result.stdout
    assert f"kept {keys}, which is there already" in result.stdout
    assert config.read_text() == "# mine\nkeys: keys.yaml\n"
    assert keys.read_text() == before


def test_init_makes_the_key_file_that_the_configuration_names(config):
    config.write_text("keys: ../other.yaml\n")
    assert run("init", "--dir", config.parent).exit_code == 0
    assert Loader(config).load().snapshot.keyring.keys
    (config.parent.parent / "other.yaml").unlink()


def test_init_beside_a_wrong_configuration_says_what_is_wrong(config):
    config.write_text("kyes: keys.yaml\n")
    result = run("init", "--dir", config.parent)
    assert result.exit_code == 2
    assert f"{config}:1: kyes: is no setting here; did you mean keys?" in result.stderr


def test_init_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("init", "--dir", tmp_path / "file")
    assert result.exit_code == 2
    assert "is no directory; choose another with --dir" in result.stderr


def test_init_as_json(tmp_path):
    document = json.loads(run("init", "--dir", tmp_path, "--json").stdout)
    assert document["ok"] is True
    assert document["written"] == [str(tmp_path / "gatepost.yaml"), str(tmp_path / "keys.yaml")]
    assert document["next"]


def test_a_key_is_added(config):
    before = Loader(config).load().snapshot.keyring
    result = run("init", "--dir", config.parent, "--rotate-key")
    assert result.exit_code == 0
    assert "key 2 signs from the next reload on" in result.stdout
    after = Loader(config).load()
    assert after.warnings == ()
    assert after.snapshot.keyring.current == 2
    assert after.snapshot.keyring.keys[1] == before.keys[1]


def test_check_sums_up(config):
    config.write_text(GOOD)
    result = run("check", "--config", config)
    assert result.exit_code == 0
    digest = Loader(config).load().snapshot.digest
    assert result.stdout.splitlines() == [
        f"{config}: fine: 1 tenant, 2 sender domains, 1 delivery service, digest {digest}",
        "services that gatepost attach adds: gp-normal-private",
    ]


def test_check_sums_up_as_json(config):
    config.write_text(GOOD)
    document = json.loads(run("check", "--config", config, "--json").stdout)
    assert document == {
        "ok": True,
        "errors": [],
        "warnings": [],
        "config": str(config),
        "digest": Loader(config).load().snapshot.digest,
        "tenants": 1,
        "sender_domains": 2,
        "services": ["gp-normal-private"],
    }


def test_check_reports_errors_and_warnings_and_counts_them(config):
    config.write_text("metrics: 0.0.0.0:9464\nlog: {level: loud}\nfoo: 1\n")
    result = run("check", "--config", config)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"warning: {config}:1: metrics: ")
    assert [line.split(": ")[:2] for line in lines[1:3]] == [
        [f"{config}:2", "log.level"],
        [f"{config}:3", "foo"],
    ]
    assert lines[3:] == ["2 errors, 1 warning"]


def test_check_reports_errors_as_json(config):
    config.write_text("metrics: 0.0.0.0:9464\nlog: {level: loud}\n")
    result = run("check", "--config", config, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 2
    assert document["ok"] is False
    assert document["errors"] == [
        {
            "file": str(config),
            "line": 2,
            "path": "log.level",
            "problem": '"loud" is not one of debug, info, warning, error',
            "remedy": "write debug, info, warning or error",
        }
    ]
    assert [each["path"] for each in document["warnings"]] == ["metrics"]


def test_warnings_alone_pass(config):
    config.write_text("metrics: 0.0.0.0:9464\n")
    result = run("check", "--config", config)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert ": fine: " in result.stdout


def test_the_configuration_may_come_from_the_environment(config, monkeypatch):
    monkeypatch.setenv("GATEPOST_CONFIG", str(config))
    assert str(config) in run("check").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
def test_check_as_somebody_who_may_not_read_the_keys():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        run("init", "--dir", name)
        os.seteuid(65534)
        try:
            result = run("check", "--config", Path(name, "gatepost.yaml"))
        finally:
            os.seteuid(0)
    assert result.exit_code == 2
    assert (
        "keys.yaml cannot be read: Permission denied; run the command as root, "
        "or let the account of the service read it"
    ) in result.stderr
