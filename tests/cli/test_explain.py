"""``gatepost explain`` as an administrator types it; what it answers is in tests/decisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from tests.settled import write_settled

KEYS = f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n"
FINGERPRINT = ":".join(f"{octet:02x}" for octet in range(32))
CONFIGURATION = f"""
postfix: {{config_dir: DIRECTORY}}
platform: {{sender_id: examplesp}}
tenants:
  acme:
    senders: [acme.example]
    certificates: ["{FINGERPRINT}"]
    clients: ["2001:db8::/32"]
"""
MAIL = ("--sender", "news@acme.example", "--recipient", "u@example.org")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gatepost.yaml"
    path.write_text(CONFIGURATION.replace("DIRECTORY", str(tmp_path)))
    write_settled(tmp_path / "main.cf", "")
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    return path


def explain(config: Path, *options: str) -> Result:
    return CliRunner().invoke(command_line(), ["explain", "--config", str(config), *options])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (*MAIL, "--client-address", "nonsense"),
            (
                '--client-address takes an IP address, and not "nonsense"; write one such as '
                "192.0.2.10 or 2001:db8::10"
            ),
        ),
        ((*MAIL, "--client-address", "192.0.2.256"), "--client-address takes an IP address, and"),
        ((*MAIL, "--client-address", "[2001:db8::1]"), "--client-address takes an IP address, and"),
        (
            (*MAIL, "--certificate", "zz"),
            (
                '--certificate: "zz" is not a fingerprint; write pairs of hexadecimal digits with '
                "colons between them"
            ),
        ),
        ((*MAIL, "--certificate", "b1:2f"), '--certificate: "b1:2f" has 2 octets, which no'),
        (
            (*MAIL, "--certificate", "00" * 20),
            f"lacks colons; write {':'.join(['00'] * 20)}",
        ),
        (
            ("--sender", "<>", "--recipient", ""),
            "--recipient is empty; write an address such as u@example.org",
        ),
        (("--sender", "<>", "--recipient", "<>"), "--recipient is empty"),
        ((*MAIL, "--header", "Subject"), "--header takes NAME:VALUE"),
    ],
)
def test_an_option_that_is_no_such_thing_is_a_usage_error(
    config: Path, options: tuple[str, ...], message: str
) -> None:
    result = explain(config, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--client-address", "2001:db8::1"),
        ("--certificate", FINGERPRINT),
        ("--certificate", FINGERPRINT.upper()),
    ],
)
def test_evidence_that_is_well_written_finds_the_tenant(
    config: Path, options: tuple[str, str]
) -> None:
    result = explain(config, *MAIL, *options, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tenant"] == "acme"


def test_addresses_may_stand_in_brackets_as_in_logs(config: Path) -> None:
    bare = explain(config, *MAIL)
    options = ("--sender", "<news@acme.example>", "--recipient", "<u@example.org>")
    assert explain(config, *options).stdout == bare.stdout
