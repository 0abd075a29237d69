"""``gatepost tls import`` and ``tls export`` as an administrator types them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from tests.settled import settle, write_settled

try:
    PostfixCommands(Path("/nonexistent")).postconf("-d", "mail_version")
except PostfixUnavailable:
    pytest.skip("Postfix is not installed", allow_module_level=True)

Gatepost = Callable[..., Result]
SOURCE = """\
# partners
partner.example   verify match=mx.partner.example
.gov.example      encrypt protocols=>=TLSv1.2
[relay.example]:587 encrypt ciphers=high
bank.example      fingerprint match=aa:bb
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    instance = tmp_path / "postfix"
    instance.mkdir()
    write_settled(instance / "main.cf", f"queue_directory = {tmp_path}\n")
    write_settled(instance / "master.cf", "smtp unix - - n - - smtp\n")
    path = tmp_path / "gatepost.yaml"
    runner = CliRunner()
    assert runner.invoke(command_line(), ["init", "--dir", str(tmp_path)]).exit_code == 0
    path.write_text(
        f"postfix: {{config_dir: {instance}}}\nplatform: {{sender_id: examplesp}}\n"
        f"state: sqlite:///{tmp_path}/gatepost.db\n"
        "tls:\n  profiles: {private: {level: encrypt, min_version: TLSv1.2}}\n"
        "  domains: {.gov.example: {level: verify, min_version: TLSv1.2}}\n"
    )
    return path


@pytest.fixture
def gatepost(config: Path) -> Gatepost:
    def gatepost(*arguments: str | Path, status: int = 0) -> Result:
        command = ["tls", *map(str, arguments), "--config", str(config)]
        result = CliRunner().invoke(command_line(), command)
        assert result.exit_code == status, result.output
        return result

    return gatepost


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tls_policy"
    write_settled(path, SOURCE)
    return path


def test_a_source_becomes_a_block_of_the_configuration(
    gatepost: Gatepost, source: Path, config: Path
) -> None:
    result = gatepost("import", source, status=1)
    assert f"    # {source}:2: partner.example verify match=mx.partner.example\n" in result.stdout
    assert "3 rules, 1 of them" in result.stderr
    block = yaml.safe_load(result.stdout)
    assert block["tls"]["domains"]["partner.example"] == {
        "level": "verify",
        "match": ["mx.partner.example"],
    }
    assert "bank.example" not in block["tls"]["domains"]
    # The block is a configuration.
    text = config.read_text()
    config.write_text(text[: text.index("tls:")] + result.stdout)
    assert CliRunner().invoke(command_line(), ["check", "--config", str(config)]).exit_code == 0
    assert gatepost("import", source, "--check", status=1).stdout.count("not compared") == 1


def test_a_compiled_table_is_what_counts(gatepost: Gatepost, source: Path, config: Path) -> None:
    postfix = PostfixCommands(Path(yaml.safe_load(config.read_text())["postfix"]["config_dir"]))
    kind = "lmdb" if "lmdb" in postfix.postconf("-m").stdout.split() else "hash"
    postfix.postmap(f"{kind}:{source}", directory=source.parent)
    source.write_text(SOURCE.replace("verify match=mx.partner.example", "may"))
    result = gatepost("import", f"{kind}:{source}", status=1)
    assert f"# {kind}:{source}: partner.example verify match=mx.partner.example" in result.stdout
    assert f"# {source}:3: .gov.example encrypt" in result.stdout
    assert "in force differs from its source for partner.example;" in result.stderr


def test_a_compiled_file_named_alone_is_refused_with_what_to_name(
    gatepost: Gatepost, tmp_path: Path
) -> None:
    (tmp_path / "x.db").write_bytes(b"\0\1\2")
    result = gatepost("import", tmp_path / "x.db", status=2)
    assert f"such as hash:{tmp_path}/x" in result.stderr


def test_a_compiled_table_that_cannot_be_read_is_taken_from_its_source(
    gatepost: Gatepost, source: Path
) -> None:
    result = gatepost("import", f"hash:{source}", status=1)
    assert "its source was read instead" in result.stderr
    assert "partner.example: {level: verify" in result.stdout


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("inline:{ {a.example = encrypt}, {b.example = may} }", "a.example: {level: encrypt}"),
        ("proxy:inline:{a.example=encrypt}", "a.example: {level: encrypt}"),
    ],
)
def test_tables_within_main_cf(gatepost: Gatepost, table: str, rule: str) -> None:
    assert rule in gatepost("import", table).stdout


def use(config: Path, value: str) -> None:
    instance = Path(yaml.safe_load(config.read_text())["postfix"]["config_dir"])
    with (instance / "main.cf").open("a") as file:
        file.write(f"smtp_tls_policy_maps = {value}\n")
    settle(instance / "main.cf")


def test_what_main_cf_names_is_read_without_our_own_map(
    gatepost: Gatepost, config: Path, source: Path
) -> None:
    assert "names no table" in gatepost("import", status=2).stderr
    ours = "socketmap:unix:gatepost/maps.sock:tls"
    use(config, f"{ours}, texthash:{source}")
    # Comments are broken where lines get long.
    said = gatepost("import", status=1).stdout.replace("\n#", "")
    assert " ".join(said.split()).startswith(f"# From texthash:{source}, 4")


def test_of_several_tables_the_first_one_answers(
    gatepost: Gatepost, config: Path, tmp_path: Path
) -> None:
    one, two, pcre = (tmp_path / name for name in ("one", "two", "three.pcre"))
    write_settled(one, "a.example encrypt\n")
    write_settled(two, "a.example may\nb.example verify\n")
    pcre.write_text("/x/ may\n")
    use(config, f"texthash:{one} texthash:{two}")
    block = yaml.safe_load(gatepost("import", status=1).stdout)
    assert block["tls"]["domains"] == {
        "a.example": {"level": "encrypt"},
        "b.example": {"level": "verify"},
    }
    use(config, f"texthash:{one}, pcre:{pcre}")
    assert "one by one, the first one first" in gatepost("import", status=2).stderr


def test_other_tables_are_refused_with_a_way_out(gatepost: Gatepost, tmp_path: Path) -> None:
    assert "cannot be listed" in gatepost("import", "ldap:/etc/x.cf", status=2).stderr
    assert "No such file" in gatepost("import", tmp_path / "none", status=2).stderr
    assert "No such file" in gatepost("import", "texthash:/nonexistent/x", status=2).stderr


def test_patterns_and_json(gatepost: Gatepost, tmp_path: Path) -> None:
    path = tmp_path / "policy.pcre"
    path.write_text("/^(.*\\.)?example\\.org$/ encrypt\n/gov/ verify\n")
    document = json.loads(gatepost("import", f"pcre:{path}", "--json", status=1).stdout)
    assert [rule["domain"] for rule in document["rules"]] == ["example.org", ".example.org"]
    assert document["left"][0]["where"] == f"{path}:2"
    assert document["complete"] is False


def test_a_file_that_is_there_is_never_overwritten(
    gatepost: Gatepost, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rules.yaml"
    assert gatepost("import", source, "--output", out, status=1).stdout == ""
    before = out.read_text()
    assert yaml.safe_load(before)["tls"]["domains"]
    assert "File exists" in gatepost("import", source, "--output", out, status=2).stderr
    assert out.read_text() == before


def test_no_half_of_a_table_is_left_on_a_disk_that_is_full(
    gatepost: Gatepost, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config.parent / "out"

    fdopen = os.fdopen

    def full(descriptor: int, mode: str = "r", **options: Any) -> Any:
        if mode != "w":
            return fdopen(descriptor, mode, **options)
        os.write(descriptor, b"half")
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    result = gatepost("export", "--output", str(path), status=2)
    assert f"{path}: No space left on device" in result.stderr
    assert not path.exists()


def test_check_names_what_the_configuration_lacks(gatepost: Gatepost, source: Path) -> None:
    lines = gatepost("import", source, "--check", status=1).stdout.splitlines()
    assert lines[0] == (
        f"{source}:2: partner.example: the table asks for verify, and the configuration for nothing"
    )
    assert lines[1] == ("    add partner.example: {level: verify, match: [mx.partner.example]}")
    assert not any(".gov.example" in line for line in lines)
    assert (
        "partner.example"
        in gatepost("import", source, "--check", "--profile", "private", status=1).stdout
    )
    assert (
        "there is no profile nobody"
        in gatepost("import", source, "--check", "--profile", "nobody", status=2).stderr
    )


def test_check_of_a_table_that_the_configuration_keeps(gatepost: Gatepost, tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_settled(path, "x.gov.example encrypt\n")
    assert "everywhere" in gatepost("import", path, "--check").stdout


def test_export_writes_a_table_that_import_reads(gatepost: Gatepost, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    gatepost("export", "--output", out, "--next-hop", "[a.gov.example]:587")
    settle(out)
    text = out.read_text()
    assert ".gov.example\tverify match=hostname servername=hostname protocols=>=TLSv1.2\n" in text
    assert "[a.gov.example]:587\tverify" in text
    assert "everywhere" in gatepost("import", out, "--check").stdout
    profile = gatepost("export", "--profile", "private").stdout
    assert "#   smtp_tls_security_level = encrypt\n" in profile
    assert "#   smtp_tls_mandatory_protocols = >=TLSv1.2\n" in profile


def test_export_knows_relayhost(gatepost: Gatepost, config: Path) -> None:
    instance = Path(yaml.safe_load(config.read_text())["postfix"]["config_dir"])
    with (instance / "main.cf").open("a") as file:
        file.write("relayhost = [mx.gov.example]:465\n")
    settle(instance / "main.cf")
    assert "[mx.gov.example]:465\tverify" in gatepost("export").stdout
