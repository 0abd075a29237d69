"""gatepost api token: made and shown once, listed without it, revoked."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.runtime.api_token import digest_of
from gatepost.store.api_tokens import PLATFORM
from gatepost.store.open import open_api_tokens


@pytest.fixture
def gatepost(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "anna")
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"state: sqlite:///{tmp_path}/gatepost.db\ntenants: {{acme: {{logins: [a]}}}}\n"
    )

    def gatepost(*words, status=0):
        words = ["api", "token", *words]
        result = CliRunner().invoke(command_line(words), [*words, "--config", str(path)])
        assert result.exit_code == status, result.output
        return result

    return gatepost


def test_a_token_is_printed_once_and_its_hash_is_kept(gatepost, tmp_path):
    token = gatepost("create", "--name", "billing", "--scope", "platform").stdout.strip()
    with closing(open_api_tokens(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        found = store.find(digest_of(token))
    assert (found.name, found.tenant, found.read_only, found.by) == (
        "billing", PLATFORM, False, "anna",
    )  # fmt: skip
    assert found.expires is None
    for each in tmp_path.glob("gatepost.db*"):
        assert token.encode() not in each.read_bytes()
        assert token.removeprefix("gatepost_").encode() not in each.read_bytes()
    assert token not in gatepost("list").stdout
    assert token not in gatepost("list", "--json").stdout


def test_a_token_of_a_tenant_that_reads_and_ends(gatepost):
    words = ("--scope", "tenant:acme", "--read-only", "--expires", "90d", "--json")
    made = json.loads(gatepost("create", "--name", "acme", *words).stdout)
    assert (made["scope"], made["read_only"], made["holds"]) == ("tenant:acme", True, True)
    assert made.pop("token").startswith("gatepost_")
    assert json.loads(gatepost("list", "--json").stdout) == [made]
    line = gatepost("list").stdout
    assert line.startswith("acme                 tenant:acme              reads, made 20")
    assert f"by anna, until {made['expires']}" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "x", "--scope", "tenant:none"), 'there is no tenant "none"'),
        (("--name", "x", "--scope", "all"), "--scope takes platform, or tenant:"),
        (("--name", "x y", "--scope", "platform"), "--name takes at most 64 letters"),
        (("--name", "x", "--scope", "platform", "--expires", "soon"), "--expires takes a period"),
    ],
)
def test_what_cannot_be_made(gatepost, words, said):
    assert said in gatepost("create", *words, status=2).stderr


def test_a_name_is_taken_until_it_is_revoked(gatepost):
    gatepost("create", "--name", "x", "--scope", "platform")
    said = gatepost("create", "--name", "x", "--scope", "platform", status=2).stderr
    assert "there is a token x already; revoke it, or choose another name" in said
    assert gatepost("revoke", "x").stdout == "x: revoked\n"
    assert gatepost("revoke", "x", status=1).stdout == "x: there is no such token\n"
    assert gatepost("list").stdout == "there are no tokens\n"
    gatepost("create", "--name", "x", "--scope", "platform")


def test_without_a_database_there_is_none_to_list(gatepost):
    assert "does not exist" in gatepost("list", status=2).stderr
