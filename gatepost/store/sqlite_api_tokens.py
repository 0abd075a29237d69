"""Tokens of the API in SQLite; see `api_tokens` and `sqlite_file`."""

from __future__ import annotations

from gatepost.store.api_queries import ApiTokenQueries
from gatepost.store.sqlite_file import SqliteFile


class SqliteApiTokens(SqliteFile, ApiTokenQueries):
    """Implements `ApiTokenStore`."""
