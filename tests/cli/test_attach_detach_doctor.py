"""The commands ``attach``, ``detach`` and ``doctor`` as an administrator types them.

Without a running Postfix: main.cf and master.cf in a directory of their own, and the installed
postconf. What they do to a Postfix that runs is in tests/postfix and tests/e2e.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.cli.common import DEFAULT_CONFIG
from gatepost.cli.remedies import with_config
from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor import resolver

try:
    PostfixCommands(Path("/nonexistent")).postconf("-d", "mail_version")
except PostfixUnavailable:
    pytest.skip("Postfix is not installed", allow_module_level=True)

MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
cleanup   unix  n       -       y       -       0       cleanup
smtp      unix  -       -       y       -       -       smtp
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command_line(), list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(autouse=True)
def no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep doctor from asking the name servers of whoever runs this."""
    monkeypatch.setattr(resolver, "nameservers", list)


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    directory = tmp_path / "postfix"
    directory.mkdir()
    main = f"queue_directory = {tmp_path}/queue\nsmtpd_milters = inet:localhost:8891\n"
    for name, text in (("main.cf", main), ("master.cf", MASTER)):
        (directory / name).write_text(text)
        # Postfix's commands wait for a file that has only just been written to settle.
        os.utime(directory / name, (1, 1))
    return directory


@pytest.fixture
def config(tmp_path: Path, instance: Path) -> Path:
    assert run("init", "--dir", tmp_path).exit_code == 0
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"postfix: {{config_dir: {instance}}}\n"
        "platform: {sender_id: examplesp}\n"
        "tls: {profiles: {private: {level: encrypt}}}\n"
        "tenants: {acme: {logins: [acme], senders: [acme.example], profile: private}}\n"
    )
    return path


def texts(instance: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in instance.iterdir() if each.is_file()}


def test_a_dry_run_shows_the_diff_and_changes_nothing(config: Path, instance: Path) -> None:
    before = texts(instance)
    result = run("attach", "--dry-run", "--config", config)
    assert result.exit_code == 0
    assert "-smtpd_milters = inet:localhost:8891" in result.stdout
    assert "#   Ours is first: a DKIM signer behind it signs" in result.stdout
    assert "+smtpd_milters = $gatepost_milter, inet:localhost:8891" in result.stdout
    assert "+gp-normal-private unix" in result.stdout
    assert "warning: " in result.stdout
    assert f"To do it: gatepost attach --config {config}\n" in result.stdout
    assert texts(instance) == before


def test_the_document_of_a_dry_run(config: Path) -> None:
    made = json.loads(run("attach", "--dry-run", "--json", "--config", config).stdout)
    assert made["changed"] == ["main.cf", "master.cf"]
    assert made["applied"] is None
    assert {each["file"] for each in made["changes"]} == {"main.cf", "master.cf"}
    assert len(made["sockets"]) == 3


def test_attach_is_refused_while_gatepost_does_not_answer(config: Path, instance: Path) -> None:
    before = texts(instance)
    result = run("attach", "--config", config)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "milter.sock: nothing listens there" in result.stderr
    assert "--even-if-not-running" in result.stderr
    assert texts(instance) == before


def test_keep_names_a_parameter_that_attach_sets(config: Path) -> None:
    result = run("attach", "--dry-run", "--keep", "enable_long_queue_ids", "--config", config)
    assert result.exit_code == 0
    assert "+enable_long_queue_ids" not in result.stdout
    result = run("attach", "--dry-run", "--keep", "relayhost", "--config", config)
    assert result.exit_code == 2
    assert "--keep relayhost: attach sets only" in result.stderr


def test_another_instance_can_be_named(config: Path, tmp_path: Path) -> None:
    result = run("attach", "--dry-run", "--config", config, "--postfix-config", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path}/main.cf does not exist" in result.stderr


def test_detach_where_nothing_is_attached(config: Path) -> None:
    result = run("detach", "--config", config)
    assert result.exit_code == 0
    assert result.stdout.endswith("nothing of Gatepost's is in these files.\n")


def test_detach_needs_no_configuration_but_the_name_of_the_instance(
    instance: Path, tmp_path: Path
) -> None:
    (instance / "main.cf").write_text(
        (instance / "main.cf").read_text().replace("= inet", "= $gatepost_milter, inet")
    )
    os.utime(instance / "main.cf", (1, 1))
    missing = tmp_path / "missing.yaml"
    result = run("detach", "--dry-run", "--config", missing)
    assert result.exit_code == 2
    assert "gatepost detach --postfix-config /etc/postfix" in result.stderr
    result = run("detach", "--dry-run", "--config", missing, "--postfix-config", instance)
    assert result.exit_code == 0
    assert "+smtpd_milters = inet:localhost:8891" in result.stdout
    assert f"gatepost detach --config {missing} --postfix-config {instance}\n" in result.stdout


def test_detach_works_with_a_configuration_that_has_mistakes(config: Path, instance: Path) -> None:
    config.write_text(config.read_text() + "nonsense: 1\n")
    result = run("detach", "--dry-run", "--config", config)
    assert result.exit_code == 0
    assert str(instance) in result.stdout
    assert run("attach", "--dry-run", "--config", config).exit_code == 2


def test_doctor_tells_what_is_wrong_and_how_to_mend_it(config: Path) -> None:
    result = run("doctor", "--config", config)
    assert result.exit_code == 1
    assert "PROBLEM (attached) Postfix does not ask Gatepost" in result.stdout
    assert f"    -> gatepost attach --config {config}\n" in result.stdout
    assert "WARNING (attached) Postfix does not run" in result.stdout
    assert "Not looked at: hooks, since nothing is attached." in result.stdout


def test_doctor_looks_at_what_it_can_while_the_configuration_has_mistakes(config: Path) -> None:
    config.write_text(config.read_text() + "nonsense: 1\n")
    result = run("doctor", "--config", config)
    assert result.exit_code == 1
    assert "PROBLEM (configuration) The configuration has 1 mistake" in result.stdout
    assert "PROBLEM (logs) enable_long_queue_ids is not yes." in result.stdout
    assert "Not looked at: tls, since the configuration has mistakes." in result.stdout


def test_the_document_of_doctor(config: Path) -> None:
    result = run("doctor", "--json", "--config", config)
    made = json.loads(result.stdout)
    assert (result.exit_code, made["ok"]) == (1, False)
    sides = {side["name"]: side for side in made["sides"]}
    (finding, *_) = sides["attached"]["findings"]
    assert finding["severity"] == "problem"
    assert finding["mend"][-1] == "gatepost attach"


def test_doctor_without_an_instance_cannot_look(config: Path, tmp_path: Path) -> None:
    result = run("doctor", "--config", config, "--postfix-config", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "main.cf does not exist" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gatepost attach", "gatepost attach --config '/a b' --postfix-config /p"),
        (
            "gatepost detach && gatepost status",
            (
                "gatepost detach --config '/a b' --postfix-config "
                "/p && gatepost status --config '/a b'"
            ),
        ),
        ("systemctl restart gatepost", "systemctl restart gatepost"),
        ("gatepost attaches", "gatepost attaches"),
    ],
)
def test_commands_that_are_advised_name_the_configuration(text: str, expected: str) -> None:
    assert with_config(text, Path("/a b"), Path("/p")) == expected
    assert with_config(text, DEFAULT_CONFIG) == text
