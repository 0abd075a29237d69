"""Tenants and tokens of the API in PostgreSQL; see `api_tenants`, `api_tokens`."""

from __future__ import annotations

from gatepost.store.api_queries import ApiTenantQueries, ApiTokenQueries
from gatepost.store.engine import Queryable
from gatepost.store.postgres_server import PostgresServer

_TAKE_TURN = "select version from api_tenants_mark for update"
# Tokens are few and made by hand: one at a time, so that their bound is kept.
_ALONE = "lock table api_tokens in share row exclusive mode"


class PostgresApiTenants(PostgresServer, ApiTenantQueries):
    """Implements `gatepost.store.api_tenants.ApiTenantStore`."""

    def _hold(self, db: Queryable) -> None:
        db.execute(_TAKE_TURN)


class PostgresApiTokens(PostgresServer, ApiTokenQueries):
    """Implements `gatepost.store.api_tokens.ApiTokenStore`."""

    def _hold(self, db: Queryable) -> None:
        db.execute(_ALONE)
