"""Tenants of the API as a process knows them: from the store, from the copy, or not at all."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime import api_tenants as module
from gatepost.runtime.api_tenants import ApiTenantKeeper, ApiTenantWatch
from gatepost.settings import Settings
from gatepost.settings.api_tenants import ApiTenants, copy_path, read_copy
from gatepost.store.api_tenants import Mark, TenantChange
from gatepost.store.open import open_api_tenants
from lab.process import wait_until

Put = Callable[..., Mark]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        tmp_path / "gatepost.yaml", run_dir=tmp_path, state=f"sqlite:///{tmp_path}/gatepost.db"
    )


@pytest.fixture
def put(settings: Settings) -> Put:
    def put(**tenants: str | None) -> Mark:
        changes = [TenantChange(*each) for each in tenants.items()]
        with closing(open_api_tenants(settings.state)) as store:
            mark = store.apply(store.mark(), changes, "ann", 1.0)
        assert mark is not None
        return mark

    return put


def database(settings: Settings) -> Path:
    return Path(settings.state.removeprefix("sqlite:///"))


def break_it(settings: Settings) -> None:
    for each in database(settings).parent.glob("gatepost.db*"):
        each.unlink()
    database(settings).write_text("no database " * 1000)


def test_what_the_store_has_is_kept_in_a_copy_for_the_group(settings: Settings, put: Put) -> None:
    mark = put(acme='{"lane":"bulk"}', beta="{}")
    wanted = ApiTenants(mark, (("acme", '{"lane":"bulk"}'), ("beta", "{}")))
    assert ApiTenantKeeper().load(settings) == wanted
    assert read_copy(copy_path(settings)) == wanted
    assert stat.S_IMODE(copy_path(settings).stat().st_mode) == 0o640
    assert [each.name for each in copy_path(settings).parent.glob(".api*")] == []


def test_a_new_installation_has_none_and_makes_nothing(settings: Settings) -> None:
    assert ApiTenantKeeper().load(settings) == ApiTenants()
    assert list(settings.run_dir.iterdir()) == []


def test_while_the_store_is_away_the_last_ones_stay_also_for_a_new_process(
    settings: Settings, put: Put
) -> None:
    put(acme="{}")
    keeper = ApiTenantKeeper()
    before = keeper.load(settings)
    break_it(settings)
    assert keeper.load(settings) == before
    again = ApiTenantKeeper()
    assert again.load(settings) == before
    (said,) = again.complaints(None)  # type: ignore[arg-type]
    assert said.startswith("tenants of the API are those that were known last: ")
    assert "not a database" in said


def test_without_store_and_copy_a_start_fails(settings: Settings, put: Put) -> None:
    put(acme="{}")
    ApiTenantKeeper().load(settings)
    copy_path(settings).unlink()
    break_it(settings)
    with pytest.raises(StoreUnavailable, match="is not known, and without them mail could go out"):
        ApiTenantKeeper().load(settings)


@pytest.mark.parametrize("text", ["", "nonsense", "gatepost api-tenants 1 1 ab 2\nacme {}\n"])
def test_a_copy_that_is_none_counts_as_none(
    settings: Settings, put: Put, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    mark = put(acme="{}")
    copy_path(settings).write_text(text)
    assert ApiTenantKeeper().load(settings).mark == mark
    assert "is no copy of the tenants of the API" in caplog.text
    assert read_copy(copy_path(settings)) is not None
    copy_path(settings).write_text(text)
    break_it(settings)
    with pytest.raises(StoreUnavailable):
        ApiTenantKeeper().load(settings)


def test_an_empty_store_leaves_a_copy_too_since_only_that_tells_it_from_one_not_read(
    settings: Settings,
) -> None:
    open_api_tenants(settings.state).close()
    ApiTenantKeeper().load(settings)
    break_it(settings)
    assert ApiTenantKeeper().load(settings) == ApiTenants()


@pytest.mark.parametrize("how", ["gone", "made anew"])
def test_a_database_in_the_place_of_another_takes_no_tenant_away(
    settings: Settings, put: Put, how: str
) -> None:
    put(acme="{}")
    keeper = ApiTenantKeeper()
    before = keeper.load(settings)
    for each in database(settings).parent.glob("gatepost.db*"):
        each.unlink()
    if how == "made anew":
        open_api_tenants(settings.state).close()
    for each in (keeper, ApiTenantKeeper()):
        assert each.load(settings) == before
        (said,) = each.complaints(None)  # type: ignore[arg-type]
        assert "has never had tenants of the API, and 1 of them are in force from" in said
        assert not each.is_behind(Mark())
    assert read_copy(copy_path(settings)) == before
    # The first one that is written there is meant.
    put(beta="{}")
    assert [each for each, _ in keeper.load(settings).rows] == ["beta"]
    assert keeper.complaints(None) == []  # type: ignore[arg-type]


def test_a_backup_that_is_put_back_is_taken_for_what_it_is(settings: Settings, put: Put) -> None:
    put(acme="{}")
    saved = database(settings).read_bytes()
    with closing(open_api_tenants(settings.state)):
        pass
    put(acme="{}", beta="{}")
    keeper = ApiTenantKeeper()
    keeper.load(settings)
    for each in database(settings).parent.glob("gatepost.db*"):
        each.unlink()
    database(settings).write_bytes(saved)
    put(gamma="{}")
    # The same number of changes as before, and others.
    assert "gamma" in dict(keeper.load(settings).rows)
    assert "gamma" in dict(ApiTenantKeeper().load(settings).rows)


def test_a_copy_that_cannot_be_written_is_told_and_keeps_nobody(
    settings: Settings, put: Put, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(acme="{}")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert len(ApiTenantKeeper().load(settings).rows) == 1
    assert "No space left on device" in caplog.text
    assert not copy_path(settings).exists()
    assert [each.name for each in copy_path(settings).parent.glob(".api*")] == []


def test_a_copy_that_was_removed_is_made_anew(settings: Settings, put: Put) -> None:
    put(acme="{}")
    keeper = ApiTenantKeeper()
    keeper.load(settings)
    copy_path(settings).unlink()
    keeper.load(settings)
    assert copy_path(settings).exists()


@pytest.fixture
def asked() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def watch(settings: Settings, asked: threading.Semaphore) -> Iterator[ApiTenantKeeper]:
    keeper = ApiTenantKeeper()

    def reload() -> None:
        keeper.load(settings)
        asked.release()

    running = ApiTenantWatch(keeper, settings, reload, 0.01)
    keeper.load(settings)
    yield keeper
    running.stop()


def test_a_change_asks_for_one_reload(
    settings: Settings, put: Put, watch: ApiTenantKeeper, asked: threading.Semaphore
) -> None:
    put(acme="{}")
    assert asked.acquire(timeout=10)
    put(acme=None)
    assert asked.acquire(timeout=10)
    assert watch.load(settings).rows == ()
    assert not asked.acquire(timeout=0.1)


def test_the_watch_tells_once_that_the_store_is_away_and_once_that_it_is_back(
    settings: Settings,
    put: Put,
    watch: ApiTenantKeeper,
    asked: threading.Semaphore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    put(acme="{}")
    assert asked.acquire(timeout=10)
    saved = database(settings).read_bytes()
    break_it(settings)
    wait_until(lambda: "api-tenants-unknown" in caplog.text, 10, "it to be told")
    for each in database(settings).parent.glob("gatepost.db*"):
        each.unlink()
    database(settings).write_bytes(saved)
    wait_until(lambda: "api-tenants-known" in caplog.text, 10, "it to be told")
    assert caplog.text.count("api-tenants-unknown") == 1
    assert "in_force=1" in caplog.text
    assert watch.known is not None


def test_a_process_that_started_without_the_store_reloads_once_it_can_be_asked(
    settings: Settings, put: Put, asked: threading.Semaphore
) -> None:
    put(acme="{}")
    ApiTenantKeeper().load(settings)
    saved = database(settings).read_bytes()
    break_it(settings)
    keeper = ApiTenantKeeper()
    keeper.load(settings)
    for each in database(settings).parent.glob("gatepost.db*"):
        each.unlink()
    database(settings).write_bytes(saved)

    def reload() -> None:
        keeper.load(settings)
        asked.release()

    running = ApiTenantWatch(keeper, settings, reload, 0.01)
    assert asked.acquire(timeout=10)
    assert keeper.complaints(None) == []  # type: ignore[arg-type]
    assert not asked.acquire(timeout=0.1)
    running.stop()


def test_changes_in_a_row_are_taken_in_together_where_a_load_takes_long(
    settings: Settings, put: Put, asked: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    keeper = ApiTenantKeeper()
    keeper.load(settings)
    put(acme="{}")

    def reload() -> None:
        keeper.load(settings)
        asked.release()

    running = ApiTenantWatch(keeper, settings, reload, 3600, lambda: 5.0)
    running._look()
    put(beta="{}")
    put(gamma="{}")
    running._look()
    assert asked._value == 1  # type: ignore[attr-defined]
    now += 15.0
    running._look()
    assert asked._value == 2  # type: ignore[attr-defined]
    assert len(keeper.load(settings).rows) == 3
    running.stop()


def test_a_bug_does_not_end_the_watch(
    put: Put,
    watch: ApiTenantKeeper,
    asked: threading.Semaphore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    del watch
    with monkeypatch.context() as patch:
        patch.setattr(module, "sqlite_path", lambda _state: 1 / 0)
        wait_until(lambda: "api-tenants-failed" in caplog.text, 10, "the bug")
    put(acme="{}")
    assert asked.acquire(timeout=10)
