"""The message book in SQLite; see `messages` for what may be asked, `sqlite_file` for the rest.

Limits: 170 octets a message with one recipient, index included. Deletes 20,000 rows a transaction,
oldest first, so that a recorder gets in between.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice

from gatepost.store.messages import MAX_RECIPIENTS, Message
from gatepost.store.sqlite_file import SqliteFile, storable

PRUNE_ROWS = 20_000
FIND_ROWS = 500

_COLUMNS = "id, at, tenant, queue_id, sender, message_id, campaign, mail_type, recipients"
_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[1:])
_ADD = f"""
insert into messages ({_COLUMNS}) values ({", ".join("?" * 9)})
on conflict (id) do update set {_REPLACE} where sender = '' and excluded.sender <> ''
"""
_NAMES = "select id, at, tenant, queue_id, sender, message_id, campaign, mail_type from messages"
_FIND = f"select {_COLUMNS} from messages where id = ?"
# Rows stand in the order in which they came, so no index on the time is needed: the oldest are the
# first, and of those the ones that are old enough go.
_OLDEST = f"select number from messages order by number limit {PRUNE_ROWS}"
_PRUNE = f"delete from messages where at < ? and number in ({_OLDEST})"


class SqliteMessages(SqliteFile):
    """Implements `gatepost.store.messages.MessageStore`."""

    def add(self, messages: Sequence[Message]) -> None:
        """See `MessageStore.add`."""
        rows = [_row_of(message) for message in messages]
        with self._writing() as db:
            db.conn.executemany(_ADD, rows)

    def find(self, message_id: bytes) -> Message | None:
        """See `MessageStore.find`."""
        with self._database() as db:
            row = db.execute(_FIND, [message_id]).fetchone()
        if row is None:
            return None
        recipients = tuple(row[-1].split("\n")) if row[-1] else ()
        return replace(Message(*row[:-1]), recipients=recipients)

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
        while True:
            with self._writing() as db:
                step = db.execute(_PRUNE, [before]).rowcount
            pruned += step
            if step < PRUNE_ROWS:
                return pruned


def _row_of(message: Message) -> tuple[bytes | float | str, ...]:
    texts = (
        *(message.tenant, message.queue_id, message.sender),
        *(message.message_id, message.campaign, message.mail_type),
        # No address holds a line end: SMTP ends its commands with one.
        "\n".join(each.replace("\n", " ") for each in message.recipients[:MAX_RECIPIENTS]),
    )
    return (message.id, message.at, *map(storable, texts))
