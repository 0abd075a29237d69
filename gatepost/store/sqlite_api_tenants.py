"""Tenants of the API in SQLite; see `api_tenants` and `sqlite_file`.

Limits: a look at the mark, once a second in each process, takes some 10 µs.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlite_utils import Database

from gatepost.store.api_tenants import ApiTenant, Mark, TenantChange
from gatepost.store.sqlite_file import SqliteFile, storable

_NONCE_OCTETS = 8
_SELECT = "select id, settings, version, by, at from api_tenants"


class SqliteApiTenants(SqliteFile):
    """Implements `ApiTenantStore`."""

    def mark(self) -> Mark:
        """See `ApiTenantStore.mark`."""
        with self._database() as db:
            return _mark(db)

    def all(self) -> tuple[Mark, list[ApiTenant]]:
        """See `ApiTenantStore.all`."""
        with self._database() as db, db.atomic():
            return _mark(db), [ApiTenant(*row) for row in db.execute(f"{_SELECT} order by id")]

    def find(self, tenant: str) -> ApiTenant | None:
        """See `ApiTenantStore.find`."""
        with self._database() as db:
            row = db.execute(f"{_SELECT} where id = ?", [tenant]).fetchone()
        return None if row is None else ApiTenant(*row)

    def apply(
        self, expected: Mark, changes: Sequence[TenantChange], by: str, at: float
    ) -> Mark | None:
        """See `ApiTenantStore.apply`."""
        with self._writing() as db:
            if _mark(db) != expected:
                return None
            mark = Mark(expected.version + 1, secrets.token_hex(_NONCE_OCTETS))
            gone = [(each.id,) for each in changes if each.settings is None]
            rows = [
                (each.id, each.settings, mark.version, storable(by), at)
                for each in changes
                if each.settings is not None
            ]
            db.conn.executemany("delete from api_tenants where id = ?", gone)
            db.conn.executemany("insert or replace into api_tenants values (?, ?, ?, ?, ?)", rows)
            db.execute(
                "update api_tenants_mark set version = ?, nonce = ?", [mark.version, mark.nonce]
            )
        return mark


def _mark(db: Database) -> Mark:
    return Mark(*db.execute("select version, nonce from api_tenants_mark").fetchone())
