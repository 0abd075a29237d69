"""The message book in SQLite; see `messages` for what may be asked, `sqlite_file` for the rest.

Limits: 170 octets a message with one recipient, index included. Deletes 20,000 rows a transaction,
oldest first, so that a recorder gets in between. Rows of a clock that was wrong, and so of the
future, stay until their time, and keep nothing else from going.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from itertools import islice

from gatepost.store.message_rows import COLUMNS, message_of, message_row
from gatepost.store.messages import REUSED_S, Message
from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.sqlite_rows import insert_many

PRUNE_ROWS = 20_000
FIND_ROWS = 500

_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
# A short queue id, and so the id of a message, may come again: then it goes where the newest are.
_ADD = f"insert into messages ({COLUMNS})"
_AGAIN = f"""
on conflict (id) do update set {_REPLACE}, number = (select max(number) + 1 from messages)
where excluded.sender <> '' and (sender = '' or excluded.at > at + {REUSED_S})
"""
_NAMES = "select id, at, tenant, queue_id, sender, message_id, campaign, mail_type from messages"
_FIND = f"select {COLUMNS} from messages where id = ?"
# Rows stand in the order in which they came, so no index on the time is needed: what is too old
# stands before the first that is to stay.
_FIRST = "select number from messages where at between :before and :now order by number limit 1"
_OLD = f"""
select number from messages
where at < :before and (:first is null or number < :first) order by number limit {PRUNE_ROWS}
"""
_PRUNE = f"delete from messages where number in ({_OLD})"


class SqliteMessages(SqliteFile):
    """Implements `gatepost.store.messages.MessageStore`."""

    def add(self, messages: Sequence[Message]) -> None:
        """See `MessageStore.add`."""
        rows = [message_row(message) for message in messages]
        with self._writing() as db:
            insert_many(db, _ADD, rows, _AGAIN)

    def find(self, message_id: bytes) -> Message | None:
        """See `MessageStore.find`."""
        with self._database() as db:
            row = db.execute(_FIND, [message_id]).fetchone()
        if row is None:
            return None
        return message_of(row)

    def find_all(self, message_ids: Collection[bytes]) -> dict[bytes, Message]:
        """See `MessageStore.find_all`."""
        found = {}
        ids = iter(message_ids)
        with self._database() as db:
            while some := list(islice(ids, FIND_ROWS)):
                query = f"{_NAMES} where id in ({', '.join('?' * len(some))})"
                for row in db.execute(query, some):
                    found[row[0]] = Message(*row)
        return found

    def prune(self, before: float) -> int:
        """See `MessageStore.prune`."""
        pruned = 0
        with self._database() as db:
            row = db.execute(_FIRST, {"before": before, "now": time.time()}).fetchone()
        where = {"before": before, "first": None if row is None else row[0]}
        while True:
            with self._writing() as db:
                step = db.execute(_PRUNE, where).rowcount
            pruned += step
            if step < PRUNE_ROWS:
                return pruned
