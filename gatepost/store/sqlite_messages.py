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
from dataclasses import replace
from itertools import islice

from gatepost.store.messages import MAX_RECIPIENTS, REUSED_S, Message
from gatepost.store.sqlite_file import SqliteFile, storable

PRUNE_ROWS = 20_000
FIND_ROWS = 500

_COLUMNS = "id, at, tenant, queue_id, sender, message_id, campaign, mail_type, recipients"
_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[1:])
# A short queue id, and so the id of a message, may come again: then it goes where the newest are.
_ADD = f"""
insert into messages ({_COLUMNS}) values ({", ".join("?" * 9)})
on conflict (id) do update set {_REPLACE}, number = (select max(number) + 1 from messages)
where excluded.sender <> '' and (sender = '' or excluded.at > at + {REUSED_S})
"""
_NAMES = "select id, at, tenant, queue_id, sender, message_id, campaign, mail_type from messages"
_FIND = f"select {_COLUMNS} from messages where id = ?"
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
        with self._database() as db:
            row = db.execute(_FIRST, {"before": before, "now": time.time()}).fetchone()
        where = {"before": before, "first": None if row is None else row[0]}
        while True:
            with self._writing() as db:
                step = db.execute(_PRUNE, where).rowcount
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
