"""Tenants and tokens of the API in PostgreSQL; see `api_tenants`, `api_tokens`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.store import api_tokens
from gatepost.store.api_tenants import ApiTenant, Mark, TenantChange
from gatepost.store.api_tokens import ApiToken
from gatepost.store.postgres_server import Connection, PostgresServer, changed
from gatepost.store.text import storable

_NONCE_OCTETS = 8
_MARK = "select version, nonce from api_tenants_mark"
_TENANTS = "select id, settings, version, by, at from api_tenants"
_PUT = """
insert into api_tenants (id, settings, version, by, at) values (%s, %s, %s, %s, %s)
on conflict (id) do update set settings = excluded.settings, version = excluded.version,
    by = excluded.by, at = excluded.at
"""
_TOKENS = "select name, tenant, read_only, created, by, expires from api_tokens"
_ADD = """
insert into api_tokens (name, digest, tenant, read_only, created, by, expires)
values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing
"""
# Tokens are few and made by hand: one at a time, so that their bound is kept.
_ALONE = "lock table api_tokens in share row exclusive mode"


class PostgresApiTenants(PostgresServer):
    """Implements `gatepost.store.api_tenants.ApiTenantStore`."""

    def mark(self) -> Mark:
        """See `ApiTenantStore.mark`."""
        with self._database() as db:
            return _mark(db, _MARK)

    def all(self) -> tuple[Mark, list[ApiTenant]]:
        """See `ApiTenantStore.all`."""
        with self._reading() as db:
            mark = _mark(db, _MARK)
            return mark, [ApiTenant(*row) for row in db.execute(f"{_TENANTS} order by id")]

    def find(self, tenant: str) -> ApiTenant | None:
        """See `ApiTenantStore.find`."""
        with self._database() as db:
            row = db.execute(f"{_TENANTS} where id = %s", [tenant]).fetchone()
        return None if row is None else ApiTenant(*row)

    def apply(
        self, expected: Mark, changes: Sequence[TenantChange], by: str, at: float
    ) -> Mark | None:
        """See `ApiTenantStore.apply`."""
        with self._writing() as db:
            if _mark(db, f"{_MARK} for update") != expected:
                return None
            mark = Mark(expected.version + 1, secrets.token_hex(_NONCE_OCTETS))
            gone = [each.id for each in changes if each.settings is None]
            db.execute("delete from api_tenants where id = any(%s)", [gone])
            for each in changes:
                if each.settings is not None:
                    db.execute(_PUT, [each.id, each.settings, mark.version, storable(by), at])
            db.execute(
                "update api_tenants_mark set version = %s, nonce = %s", [mark.version, mark.nonce]
            )
        return mark


class PostgresApiTokens(PostgresServer):
    """Implements `gatepost.store.api_tokens.ApiTokenStore`."""

    def add(self, token: ApiToken, digest: bytes) -> bool:
        """See `ApiTokenStore.add`."""
        with self._writing() as db:
            db.execute(_ALONE)
            row = db.execute("select count(*) from api_tokens").fetchone()
            if row is not None and row[0] >= api_tokens.MAX_TOKENS:
                raise StoreUnavailable(
                    f"there are {api_tokens.MAX_TOKENS} tokens already; revoke some"
                )
            values = [
                *(token.name, digest, token.tenant, token.read_only),
                *(token.created, storable(token.by), token.expires),
            ]
            return changed(db.execute(_ADD, values)) == 1

    def find(self, digest: bytes) -> ApiToken | None:
        """See `ApiTokenStore.find`."""
        with self._database() as db:
            row = db.execute(f"{_TOKENS} where digest = %s", [digest]).fetchone()
        return None if row is None else _token(row)

    def all(self) -> list[ApiToken]:
        """See `ApiTokenStore.all`."""
        with self._database() as db:
            return [_token(row) for row in db.execute(f"{_TOKENS} order by name")]

    def revoke(self, name: str) -> bool:
        """See `ApiTokenStore.revoke`."""
        with self._writing() as db:
            return changed(db.execute("delete from api_tokens where name = %s", [name])) == 1


def _mark(db: Connection, query: str) -> Mark:
    row = db.execute(query).fetchone()
    assert row is not None
    return Mark(*row)


def _token(row: Sequence[Any]) -> ApiToken:
    name, tenant, read_only, created, by, expires = row
    return ApiToken(name, tenant, bool(read_only), created, by, expires)
