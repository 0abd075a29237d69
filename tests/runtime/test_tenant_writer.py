"""Changes of tenants of the API: checked whole, and stored only on what they were checked with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.runtime import tenant_writer as module
from gatepost.runtime.tenant_writer import ChangeRefused, NeedsAttach, Overtaken, TenantWriter
from gatepost.settings import Loader, Settings
from gatepost.snapshot import Snapshot
from gatepost.store.api_tenants import ApiTenant, TenantChange
from gatepost.store.open import open_api_tenants

Known = Mapping[str, ApiTenant]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"state: sqlite:///{tmp_path}/gatepost.db\nplatform: {{sender_id: examplesp}}\n"
        "tenants:\n  acme: {logins: [acme]}\n"
    )
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    return Loader(config).settings()


@pytest.fixture
def writer(config: Path, settings: Settings) -> TenantWriter:
    return TenantWriter(config, settings, lambda _snapshot: [])


def put(**tenants: object) -> module.Precondition:
    def decide(known: Known) -> Sequence[TenantChange]:
        del known
        return [TenantChange(name, json.dumps(value)) for name, value in tenants.items()]

    return decide


def stored(settings: Settings) -> list[str]:
    with closing(open_api_tenants(settings.state)) as store:
        return [each.id for each in store.all()[1]]


def test_all_changes_are_stored_or_none(settings: Settings, writer: TenantWriter) -> None:
    written = writer.change(put(a={"logins": ["a"]}, b={}), "ann")
    assert written.mark.version == 1
    assert written.snapshot is not None
    assert written.snapshot.tenants.by_id.keys() == {"acme", "a", "b"}
    with pytest.raises(ChangeRefused) as caught:
        writer.change(put(c={}, d={"logins": ["A"]}), "ann")
    assert not caught.value.of_files
    assert stored(settings) == ["a", "b"]


def test_nothing_to_change_stores_nothing(settings: Settings, writer: TenantWriter) -> None:
    assert writer.change(lambda _known: [], "ann").snapshot is None
    assert writer.check(put(a={})).snapshot is not None
    assert stored(settings) == []


def test_one_that_was_overtaken_is_checked_again_with_what_is_there_now(
    settings: Settings, writer: TenantWriter
) -> None:
    other = TenantWriter(settings.config, settings, lambda _snapshot: [])
    seen: list[list[str]] = []

    def decide(known: Known) -> Sequence[TenantChange]:
        seen.append(sorted(known))
        if len(seen) == 1:
            other.change(put(b={"logins": ["same"]}), "bob")
        return [TenantChange("a", '{"logins":["same"]}')]

    with pytest.raises(ChangeRefused, match="same belongs to tenant b"):
        writer.change(decide, "ann")
    assert seen == [[], ["b"]]
    assert stored(settings) == ["b"]


def test_one_that_is_overtaken_again_and_again_gives_up(
    settings: Settings, writer: TenantWriter
) -> None:
    other = TenantWriter(settings.config, settings, lambda _snapshot: [])
    times: list[int] = []

    def decide(known: Known) -> Sequence[TenantChange]:
        times.append(len(known))
        other.change(put(**{f"b{len(times)}": {}}), "bob")
        return [TenantChange("a", "{}")]

    with pytest.raises(Overtaken, match="again and again"):
        writer.change(decide, "ann")
    assert len(times) == module.TRIES
    assert "a" not in stored(settings)


def test_one_that_waits_too_long_for_others_gives_up(
    writer: TenantWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    with writer._lock, pytest.raises(Overtaken, match="take their time"):
        writer.change(put(a={}), "ann")


def test_what_postfix_lacks_anyhow_is_no_reason(config: Path, settings: Settings) -> None:
    def complain(snapshot: Snapshot) -> list[str]:
        return ["no a", "no b"][: len(snapshot.tenants.by_id)]

    writer = TenantWriter(config, settings, complain)
    present = Loader(config).load().snapshot
    with pytest.raises(NeedsAttach) as caught:
        writer.change(put(a={}), "ann", present)
    assert caught.value.shortfalls == ("no b",)
    with pytest.raises(NeedsAttach) as caught:
        writer.change(put(a={}), "ann")
    assert caught.value.shortfalls == ("no a", "no b")
    assert stored(settings) == []


def test_where_a_tenant_of_a_file_stands(config: Path, writer: TenantWriter) -> None:
    assert writer.place_of("acme") == f"{config}:4"
    assert writer.place_of("nobody") == ""


def test_errors_that_were_there_before_are_told_apart(config: Path, writer: TenantWriter) -> None:
    config.write_text(config.read_text() + "  globex: {lane: none}\n")
    with pytest.raises(ChangeRefused) as caught:
        writer.change(put(a={}), "ann")
    assert caught.value.of_files
    assert [each.path for each in caught.value.errors] == ["tenants.globex.lane"]
    with pytest.raises(ChangeRefused) as caught:
        writer.change(put(a={"lane": "no"}), "ann")
    assert not caught.value.of_files
    assert [each.path for each in caught.value.errors] == ["tenants.a.lane"]
