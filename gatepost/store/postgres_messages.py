"""The message book in PostgreSQL; see `messages` for what may be asked, `postgres_server`.

Limits: old messages go 20,000 a transaction, found by an index on their time; what is deleted is
room for new ones after a vacuum, which the server does by itself.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Collection, Sequence

from gatepost.store.message_rows import COLUMNS, message_of, message_row
from gatepost.store.messages import REUSED_S, Message
from gatepost.store.postgres_server import PostgresServer, changed

PRUNE_ROWS = 20_000

_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
_ADD = f"""
insert into messages as was ({COLUMNS}) values ({", ".join(["%s"] * 9)})
on conflict (id) do update set {_REPLACE}
where excluded.sender <> '' and (was.sender = '' or excluded.at > was.at + {REUSED_S})
"""
_FIND = f"select {COLUMNS} from messages where id = %s"
_FIND_ALL = """
select id, at, tenant, queue_id, sender, message_id, campaign, mail_type from messages
where id = any(%s)
"""
_PRUNE = f"""
delete from messages where id in (
    select id from messages where at < %s order by at limit {PRUNE_ROWS} for update skip locked
)
"""


class PostgresMessages(PostgresServer):
    """Implements `gatepost.store.messages.MessageStore`."""

    def add(self, messages: Sequence[Message]) -> None:
        """See `MessageStore.add`."""
        # In one order, so that two nodes do not wait for each other in a circle; those of one id
        # stay in theirs.
        rows = sorted(map(message_row, messages), key=lambda row: row[0])
        with self._writing() as db, db.cursor() as cursor:
            cursor.executemany(_ADD, rows)

    def find(self, message_id: bytes) -> Message | None:
        """See `MessageStore.find`."""
        with self._database() as db:
            row = db.execute(_FIND, [message_id]).fetchone()
        return None if row is None else message_of(row)

    def find_all(self, message_ids: Collection[bytes]) -> dict[bytes, Message]:
        """See `MessageStore.find_all`."""
        if not message_ids:
            return {}
        with self._database() as db:
            return {row[0]: Message(*row) for row in db.execute(_FIND_ALL, [list(message_ids)])}

    def prune(self, before: float) -> int:
        """See `MessageStore.prune`."""
        before = self._by_server(before)
        pruned = 0
        while True:
            with self._writing() as db:
                step = changed(db.execute(_PRUNE, [before]))
            pruned += step
            if step < PRUNE_ROWS:
                return pruned
