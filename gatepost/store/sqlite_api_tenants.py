"""Tenants of the API in SQLite; see `api_tenants` and `sqlite_file`.

Limits: a look at the mark, once a second in each process, takes some 10 µs.
"""

from __future__ import annotations

from gatepost.store.api_queries import ApiTenantQueries
from gatepost.store.sqlite_file import SqliteFile


class SqliteApiTenants(SqliteFile, ApiTenantQueries):
    """Implements `ApiTenantStore`."""
