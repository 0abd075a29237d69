"""What every store must do with tenants that were made through the API."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from gatepost.store.api_tenants import ApiTenant, ApiTenantStore, Mark, TenantChange
from gatepost.store.open import open_api_tenants


@pytest.fixture
def tenants(url: str) -> Iterator[ApiTenantStore]:
    with contextlib.closing(open_api_tenants(url)) as opened:
        yield opened


def put(store: ApiTenantStore, *ids: str, settings: str = '{"lane":"bulk"}') -> Mark:
    changes = [TenantChange(each, settings) for each in ids]
    mark = store.apply(store.mark(), changes, "ann", 100.0)
    assert mark is not None
    return mark


def test_one_that_was_never_written_has_no_tenants_and_an_empty_mark(
    tenants: ApiTenantStore,
) -> None:
    assert tenants.all() == (Mark(0, ""), [])
    assert tenants.mark() == Mark()
    assert tenants.find("acme") is None


def test_keeps_what_was_put_in_the_order_of_ids(tenants: ApiTenantStore) -> None:
    mark = put(tenants, "globex", "acme")
    kept = [ApiTenant(each, '{"lane":"bulk"}', 1, "ann", 100.0) for each in ("acme", "globex")]
    assert tenants.all() == (mark, kept)
    assert tenants.find("acme") == kept[0]
    assert mark == tenants.mark()
    assert mark.version == 1
    assert mark.nonce


def test_a_tenant_keeps_the_version_of_its_own_last_change(tenants: ApiTenantStore) -> None:
    put(tenants, "acme")
    put(tenants, "globex")
    mark = tenants.apply(tenants.mark(), [TenantChange("acme", "{}")], "bob", 200.0)
    assert tenants.all() == (
        mark,
        [
            ApiTenant("acme", "{}", 3, "bob", 200.0),
            ApiTenant("globex", '{"lane":"bulk"}', 2, "ann", 100.0),
        ],
    )


def test_one_that_comes_back_has_another_version_than_before(tenants: ApiTenantStore) -> None:
    put(tenants, "acme")
    assert tenants.apply(tenants.mark(), [TenantChange("acme", None)], "ann", 1.0)
    assert tenants.find("acme") is None
    put(tenants, "acme")
    found = tenants.find("acme")
    assert found is not None
    assert found.version == 3


def test_deleting_what_is_not_there_changes_no_tenant(tenants: ApiTenantStore) -> None:
    assert tenants.apply(Mark(), [TenantChange("acme", None)], "ann", 1.0)
    assert tenants.all()[1] == []


def test_stores_nothing_if_the_table_is_not_as_expected(tenants: ApiTenantStore) -> None:
    before = put(tenants, "acme")
    now = put(tenants, "globex")
    change = [TenantChange("acme", "{}"), TenantChange("globex", None)]
    assert tenants.apply(before, change, "bob", 2.0) is None
    assert tenants.apply(Mark(now.version, "other"), change, "bob", 2.0) is None
    assert tenants.mark() == now
    assert [each.by for each in tenants.all()[1]] == ["ann", "ann"]


def test_of_writers_at_once_one_wins_each_time(url: str, tenants: ApiTenantStore) -> None:
    taken: list[int] = []
    at_once = threading.Barrier(4)

    def write(number: int) -> None:
        with contextlib.closing(open_api_tenants(url)) as store:
            at_once.wait(10)
            if store.apply(Mark(), [TenantChange(f"t{number}", "{}")], "x", 1.0):
                taken.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f"t{number}" for number in taken] == [each.id for each in tenants.all()[1]]
    assert len(taken) == 1


def test_settings_of_any_letters_come_back_as_they_were(tenants: ApiTenantStore) -> None:
    text = '{"logins":["Jürgen 🙂"]}'
    put(tenants, "acme", settings=text)
    found = tenants.find("acme")
    assert found is not None
    assert found.settings == text
