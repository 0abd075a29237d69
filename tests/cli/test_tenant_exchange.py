"""gatepost tenant export and import: tenants between files and the store of the API."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.runtime.api_tenants import ApiTenantKeeper
from gatepost.runtime.configuration import SnapshotHolder
from gatepost.settings import Loader
from gatepost.settings.api_tenants import COPY_NAME
from gatepost.store.api_tokens import ApiToken
from gatepost.store.open import open_api_tenants, open_api_tokens
from tests.settled import write_settled

SHOP = "tenants:\n  shop: {logins: [shop], senders: [shop.example], check_from: yes}\n"


@pytest.fixture
def gatepost(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "anna")
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    write_settled(tmp_path / "main.cf", "")
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"postfix: {{config_dir: {tmp_path}}}\nservice: {{run_dir: {tmp_path}}}\n"
        f"state: sqlite:///{tmp_path}/gatepost.db\ntenants: {{acme: {{logins: [acme]}}}}\n"
    )

    def gatepost(*words, status=0):
        words = ["tenant", *words]
        result = CliRunner().invoke(command_line(words), [*words, "--config", str(path)])
        assert result.exit_code == status, result.output
        return result

    return gatepost


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP)
    return path


def stored(tmp_path: Path):
    with closing(open_api_tenants(f"sqlite:///{tmp_path}/gatepost.db")) as store:
        return {each.id: (json.loads(each.settings), each.by) for each in store.all()[1]}


def test_what_is_imported_comes_back_as_a_file_with_the_same_meaning(gatepost, file, tmp_path):
    said = gatepost("import", str(file)).stdout
    assert said == f"{file}: 1 tenant stored\n"
    assert stored(tmp_path) == {
        "shop": (
            {"logins": ["shop"], "senders": ["shop.example"], "check_from": True},
            "anna",
        )
    }
    again = gatepost("import", str(file), "--replace").stdout
    assert again == f"{file}: 0 tenants stored, 1 unchanged\n"
    text = gatepost("export", "shop").stdout
    assert gatepost("export", "--api").stdout == text
    assert yaml.safe_load(text) == yaml.safe_load(SHOP)
    config = tmp_path / "gatepost.yaml"
    assert Loader(config).load().snapshot.tenants.by_id["shop"].check_from is True
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "shop.yaml").write_text(text)
    (tmp_path / COPY_NAME).unlink()
    config.write_text(config.read_text() + f"tenants_dir: {tmp_path}/d\n")
    assert Loader(config).load().snapshot.tenants.by_id["shop"].check_from is True


def test_a_dry_run_checks_and_stores_nothing(gatepost, file, tmp_path):
    assert gatepost("import", str(file), "--dry-run").stdout == (
        f"{file}: 1 tenant would be stored\n"
    )
    assert stored(tmp_path) == {}
    file.write_text("tenants: {shop: {lane: none}}\n")
    assert "there is no lane none" in gatepost("import", str(file), "--dry-run", status=2).stderr


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("tenants: {acme: {}}\n", 2, "store:tenants/acme: tenants.acme: is a tenant already, "),
        ("tenants: {a: {}, b: {logins: [acme]}}\n", 2, "acme belongs to tenant acme"),
        ("tenants: {a: {nothing: x}}\n", 2, "shop.yaml:1: tenants.a.nothing: is no setting here"),
    ],
)
def test_all_or_none_is_stored(gatepost, file, tmp_path, text, status, said):
    file.write_text(text)
    assert said in gatepost("import", str(file), status=status).stderr
    assert stored(tmp_path) == {}


def test_one_that_is_there_is_replaced_on_request_alone(gatepost, file, tmp_path):
    gatepost("import", str(file))
    file.write_text("tenants: {shop: {logins: [other]}}\n")
    assert "shop was made through the API already; see --replace" in (
        gatepost("import", str(file), status=2).stderr
    )
    assert json.loads(gatepost("import", str(file), "--replace", "--json").stdout) == {
        "ok": True,
        "tenants": ["shop"],
        "changed": ["shop"],
        "dry_run": False,
    }
    assert stored(tmp_path)["shop"][0] == {"logins": ["other"]}


def test_what_needs_attach_is_named_and_not_stored(gatepost, file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gatepost.runtime.installation.validator",
        lambda _settings: (
            lambda snapshot: (
                ["master.cf has no gp-x; run gatepost attach"]
                if len(snapshot.tenants.by_id) > 1
                else []
            )
        ),
    )
    said = gatepost("import", str(file), status=1).stderr
    assert said == "gatepost: master.cf has no gp-x; run gatepost attach\n"
    assert stored(tmp_path) == {}


def test_one_of_a_file_is_not_exported(gatepost, file):
    gatepost("import", str(file))
    said = gatepost("export", "acme", status=2).stderr
    assert "acme is no tenant that was made through the API" in said
    assert "name tenants, or say --api" in gatepost("export", status=2).stderr


def test_one_is_deleted_with_its_tokens_and_what_needs_it_is_told(gatepost, file, tmp_path):
    gatepost("import", str(file))
    with closing(open_api_tokens(f"sqlite:///{tmp_path}/gatepost.db")) as tokens:
        tokens.add(ApiToken("panel", "shop", True, 0.0, "x"), b"1" * 32)
        tokens.add(ApiToken("other", "acme", True, 0.0, "x"), b"2" * 32)
    config = tmp_path / "gatepost.yaml"
    before = config.read_text()
    config.write_text(before + "platform: {logins: {app: {may_act_as: [shop]}}}\n")
    assert "there is no tenant shop" in gatepost("delete", "shop", status=2).stderr
    config.write_text(before)
    assert gatepost("delete", "shop").stdout == "shop: deleted; revoked: panel\n"
    assert stored(tmp_path) == {}
    assert "shop is no tenant that was made through the API" in (
        gatepost("delete", "shop", status=2).stderr
    )
    assert "shop" not in Loader(config).load().snapshot.tenants.by_id


def test_a_move_between_store_and_file_is_one_step_for_what_runs(gatepost, file, tmp_path):
    config = tmp_path / "gatepost.yaml"
    head = config.read_text().split("tenants:")[0]
    config.write_text(head + SHOP)
    keeper = ApiTenantKeeper()
    running = SnapshotHolder(config, source=Loader(config, keeper.load))
    assert "shop" in running.current.tenants.by_id
    # From the file to the store: taken out, and imported before anybody reloads.
    config.write_text(head + "tenants: {acme: {logins: [acme]}}\n")
    gatepost("import", str(file))
    assert running.reload().ok
    assert "shop" in running.current.tenants.by_id
    # And back.
    text = gatepost("export", "shop").stdout
    config.write_text(head + text)
    assert not running.reload().ok
    gatepost("delete", "shop")
    assert running.reload().ok
    assert running.current.tenants.by_id["shop"].check_from


def test_while_the_database_is_away_what_was_known_last_is_exported(gatepost, file, tmp_path):
    gatepost("import", str(file))
    text = gatepost("export", "--api").stdout
    for each in tmp_path.glob("gatepost.db*"):
        each.unlink()
    (tmp_path / "gatepost.db").write_text("no database " * 1000)
    assert gatepost("export", "--api").stdout == text
