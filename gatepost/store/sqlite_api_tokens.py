"""Tokens of the API in SQLite; see `api_tokens` and `sqlite_file`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.store import api_tokens
from gatepost.store.api_tokens import ApiToken
from gatepost.store.sqlite_file import SqliteFile, storable

_SELECT = "select name, tenant, read_only, created, by, expires from api_tokens"


class SqliteApiTokens(SqliteFile):
    """Implements `ApiTokenStore`."""

    def add(self, token: ApiToken, digest: bytes) -> bool:
        """See `ApiTokenStore.add`."""
        with self._writing() as db:
            if db.execute("select count(*) from api_tokens").fetchone()[0] >= api_tokens.MAX_TOKENS:
                raise StoreUnavailable(
                    f"there are {api_tokens.MAX_TOKENS} tokens already; revoke some"
                )
            row = [
                token.name,
                digest,
                token.tenant,
                int(token.read_only),
                token.created,
                storable(token.by),
                token.expires,
            ]
            found = db.execute("insert or ignore into api_tokens values (?, ?, ?, ?, ?, ?, ?)", row)
            return bool(found.rowcount)

    def find(self, digest: bytes) -> ApiToken | None:
        """See `ApiTokenStore.find`."""
        with self._database() as db:
            row = db.execute(f"{_SELECT} where digest = ?", [digest]).fetchone()
        return None if row is None else _token(row)

    def all(self) -> list[ApiToken]:
        """See `ApiTokenStore.all`."""
        with self._database() as db:
            return [_token(row) for row in db.execute(f"{_SELECT} order by name")]

    def revoke(self, name: str) -> bool:
        """See `ApiTokenStore.revoke`."""
        with self._writing() as db:
            found = db.execute("delete from api_tokens where name = ?", [name])
            return bool(found.rowcount)


def _token(row: Sequence[Any]) -> ApiToken:
    name, tenant, read_only, created, by, expires = row
    return ApiToken(name, tenant, bool(read_only), created, by, expires)
