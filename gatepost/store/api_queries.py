"""How tenants and tokens of the API are kept, which is the same in every database.

Purpose: see `api_tenants` and `api_tokens`.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.store import api_tokens
from gatepost.store.api_tenants import ApiTenant, Mark, TenantChange
from gatepost.store.api_tokens import ApiToken
from gatepost.store.engine import Engine, Queryable
from gatepost.store.text import storable

_NONCE_OCTETS = 8
_MARK = "select version, nonce from api_tenants_mark"
_TENANTS = "select id, settings, version, by, at from api_tenants"
_PUT = """
insert into api_tenants (id, settings, version, by, at) values ({}, {}, {}, {}, {})
on conflict (id) do update set settings = excluded.settings, version = excluded.version,
    by = excluded.by, at = excluded.at
"""
_TOKENS = "select name, tenant, read_only, created, by, expires from api_tokens"
_ADD = """
insert into api_tokens (name, digest, tenant, read_only, created, by, expires)
values ({}, {}, {}, {}, {}, {}, {}) on conflict do nothing
"""


class ApiTenantQueries(Engine):
    """Implements `gatepost.store.api_tenants.ApiTenantStore`."""

    def mark(self) -> Mark:
        """See `ApiTenantStore.mark`."""
        return Mark(*self._first(_MARK, []))

    def all(self) -> tuple[Mark, list[ApiTenant]]:
        """See `ApiTenantStore.all`."""
        with self._reading() as db:
            mark = Mark(*db.execute(_MARK).fetchone())
            return mark, [ApiTenant(*row) for row in db.execute(f"{_TENANTS} order by id")]

    def find(self, tenant: str) -> ApiTenant | None:
        """See `ApiTenantStore.find`."""
        row = self._first(f"{_TENANTS} where id = {self.MARK}", [tenant])
        return None if row is None else ApiTenant(*row)

    def apply(
        self, expected: Mark, changes: Sequence[TenantChange], by: str, at: float
    ) -> Mark | None:
        """See `ApiTenantStore.apply`."""
        put = self._marked(_PUT)
        delete = f"delete from api_tenants where id = {self.MARK}"
        step = self._marked("update api_tenants_mark set version = {}, nonce = {}")
        with self._writing() as db:
            self._hold(db)
            if Mark(*db.execute(_MARK).fetchone()) != expected:
                return None
            mark = Mark(expected.version + 1, secrets.token_hex(_NONCE_OCTETS))
            # All that go first: one that goes and comes in the same step is there afterwards.
            for each in changes:
                if each.settings is None:
                    db.execute(delete, [each.id])
            for each in changes:
                if each.settings is not None:
                    db.execute(put, [each.id, each.settings, mark.version, storable(by), at])
            db.execute(step, [mark.version, mark.nonce])
        return mark

    def _hold(self, db: Queryable) -> None:
        """Let nobody else step on before the transaction ends, if anybody can."""


class ApiTokenQueries(Engine):
    """Implements `gatepost.store.api_tokens.ApiTokenStore`."""

    def add(self, token: ApiToken, digest: bytes) -> bool:
        """See `ApiTokenStore.add`."""
        values = [
            *(token.name, digest, token.tenant, token.read_only),
            *(token.created, storable(token.by), token.expires),
        ]
        with self._writing() as db:
            self._hold(db)
            count = db.execute("select count(*) from api_tokens").fetchone()[0]
            if count >= api_tokens.MAX_TOKENS:
                raise StoreUnavailable(
                    f"there are {api_tokens.MAX_TOKENS} tokens already; revoke some"
                )
            return db.execute(self._marked(_ADD), values).rowcount == 1

    def find(self, digest: bytes) -> ApiToken | None:
        """See `ApiTokenStore.find`."""
        row = self._first(f"{_TOKENS} where digest = {self.MARK}", [digest])
        return None if row is None else _token(row)

    def all(self) -> list[ApiToken]:
        """See `ApiTokenStore.all`."""
        return [_token(row) for row in self._all(f"{_TOKENS} order by name", [])]

    def revoke(self, name: str) -> bool:
        """See `ApiTokenStore.revoke`."""
        return self._change(f"delete from api_tokens where name = {self.MARK}", [name]) == 1

    def _hold(self, db: Queryable) -> None:
        """Let nobody else add any before the transaction ends, if anybody can."""


def _token(row: Sequence[Any]) -> ApiToken:
    name, tenant, read_only, created, by, expires = row
    return ApiToken(name, tenant, bool(read_only), created, by, expires)
