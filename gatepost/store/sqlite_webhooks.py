"""The state of webhooks in SQLite; see `webhooks` for what is kept, `sqlite_file` for the rest."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from sqlite_utils import Database

from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.webhook_rows import (
    STATE,
    cut,
    failure_values,
    letter_of,
    span_values,
    state_of,
)
from gatepost.store.webhooks import Burials, DeadLetter, Failed, Span, WebhookState

_STATES = f"select {STATE} from webhooks"
_WELL = "tries = 0, first_at = 0, next_at = 0, gone = 0"
_MOVE = "update webhooks set position = :end, batch_end = 0"
_IF_THERE = "where name = :name and position = :begin"
_CLAIM = """
update webhooks set holder = :holder, held_until = :until
where name = :name and (holder = :holder or held_until <= :now)
"""
_FAILED = """
update webhooks set tries = tries + 1, next_at = :next_at, error_at = :at, error = :error,
    gone = :gone, first_at = case tries when 0 then :at else first_at end
where name = :name
"""
_RECOVER = """
update webhooks set next_at = 0, tries = iif(gone, 0, tries), first_at = iif(gone, 0, first_at),
    gone = 0
where name = ?
"""
_LETTER = "id, webhook, begin, end, events, at, tries, error, requeued"
_LETTERS = f"select {_LETTER} from webhook_dead_letters"
_BURIALS = """
select webhook, count(*), sum(events), sum(requeued) from webhook_dead_letters group by webhook
"""
_DIE = f"""
insert into webhook_dead_letters (webhook, begin, end, events, at, tries, error, requeued)
select name, :begin, :end, :events, :at, tries + 1, :error, 0 from webhooks {_IF_THERE}
"""
_BURY = """
update webhook_dead_letters set requeued = 0, at = :at, error = :error,
    tries = tries + 1 + (select tries from webhooks where name = :name)
where id = :id
"""


class SqliteWebhooks(SqliteFile):
    """Implements `WebhookStore`."""

    def states(self) -> dict[str, WebhookState]:
        """See `WebhookStore.states`."""
        with self._database() as db:
            return {row[0]: state_of(row) for row in db.execute(_STATES)}

    def state(self, name: str) -> WebhookState | None:
        """See `WebhookStore.state`."""
        with self._database() as db:
            row = db.execute(f"{_STATES} where name = ?", [name]).fetchone()
        return None if row is None else state_of(row)

    def enter(self, names: Collection[str], position: int) -> None:
        """See `WebhookStore.enter`."""
        with self._writing() as db:
            db.conn.executemany(
                "insert or ignore into webhooks (name, position) values (?, ?)",
                ((name, position) for name in names),
            )

    def claim(self, name: str, holder: str, seconds: float) -> bool:
        """See `WebhookStore.claim`."""
        now = time.time()
        values = {"name": name, "holder": holder, "now": now, "until": now + seconds}
        return self._change(_CLAIM, values)

    def release(self, holder: str) -> None:
        """See `WebhookStore.release`."""
        with self._writing() as db:
            db.execute("update webhooks set holder = '', held_until = 0 where holder = ?", [holder])

    def begin(self, name: str, position: int, end: int) -> bool:
        """See `WebhookStore.begin`."""
        change = f"update webhooks set batch_end = :end {_IF_THERE}"
        return self._change(change, {"name": name, "begin": position, "end": end})

    def told(self, name: str, span: Span, now: float) -> bool:
        """See `WebhookStore.told`."""
        change = f"{_MOVE}, success_at = :now, {_WELL} {_IF_THERE}"
        return self._change(change, {**span_values(name, span), "now": now})

    def pass_over(self, name: str, span: Span) -> bool:
        """See `WebhookStore.pass_over`."""
        return self._change(f"{_MOVE} {_IF_THERE}", span_values(name, span))

    def failed(self, name: str, failure: Failed) -> None:
        """See `WebhookStore.failed`."""
        with self._writing() as db:
            db.execute(_FAILED, {"name": name, **failure_values(failure)})

    def give_up(self, name: str, span: Span, events: int, failure: Failed) -> bool:
        """See `WebhookStore.give_up`."""
        values = {**span_values(name, span), **failure_values(failure)}
        with self._writing() as db:
            if db.execute(_DIE, {**values, "events": events}).rowcount != 1:
                return False
            _note(db, name, failure)
            db.execute(f"{_MOVE} {_IF_THERE}", values)
        return True

    def recover(self, names: Collection[str]) -> None:
        """See `WebhookStore.recover`."""
        with self._writing() as db:
            db.conn.executemany(_RECOVER, ((name,) for name in names))

    def move(self, name: str, position: int) -> None:
        """See `WebhookStore.move`."""
        with self._writing() as db:
            db.execute(
                f"update webhooks set position = ?, batch_end = 0, {_WELL} where name = ?",
                [position, name],
            )

    def burials(self) -> dict[str, Burials]:
        """See `WebhookStore.burials`."""
        with self._database() as db:
            return {name: Burials(*sums) for name, *sums in db.execute(_BURIALS)}

    def dead(self, name: str | None = None) -> list[DeadLetter]:
        """See `WebhookStore.dead`."""
        query = f"{_LETTERS} where :name is null or webhook = :name order by id"
        with self._database() as db:
            return [letter_of(row) for row in db.execute(query, {"name": name})]

    def requeue(self, name: str) -> list[DeadLetter]:
        """See `WebhookStore.requeue`."""
        query = f"{_LETTERS} where webhook = ? order by id"
        with self._writing() as db:
            db.execute("update webhook_dead_letters set requeued = 1 where webhook = ?", [name])
            db.execute(f"update webhooks set {_WELL} where name = ?", [name])
            return [letter_of(row) for row in db.execute(query, [name]).fetchall()]

    def next_requeued(self, name: str) -> DeadLetter | None:
        """See `WebhookStore.next_requeued`."""
        query = f"{_LETTERS} where webhook = ? and requeued = 1 order by id limit 1"
        with self._database() as db:
            row = db.execute(query, [name]).fetchone()
        return None if row is None else letter_of(row)

    def bury(self, letter: DeadLetter, failure: Failed) -> None:
        """See `WebhookStore.bury`."""
        values = {"id": letter.id, "name": letter.webhook, **failure_values(failure)}
        with self._writing() as db:
            db.execute(_BURY, values)
            _note(db, letter.webhook, failure)

    def raise_dead(self, letter: DeadLetter, now: float) -> None:
        """See `WebhookStore.raise_dead`."""
        with self._writing() as db:
            db.execute("delete from webhook_dead_letters where id = ?", [letter.id])
            db.execute(
                f"update webhooks set success_at = ?, {_WELL} where name = ?",
                [now, letter.webhook],
            )

    def forget(self, letter: DeadLetter) -> None:
        """See `WebhookStore.forget`."""
        with self._writing() as db:
            db.execute("delete from webhook_dead_letters where id = ?", [letter.id])

    def prune(self, before: float) -> int:
        """See `WebhookStore.prune`."""
        with self._writing() as db:
            return db.execute("delete from webhook_dead_letters where at < ?", [before]).rowcount

    def _change(self, statement: str, values: dict[str, Any]) -> bool:
        with self._writing() as db:
            return db.execute(statement, values).rowcount == 1


def _note(db: Database, name: str, failure: Failed) -> None:
    """Note the last failure of a batch that is given up; the next one begins afresh."""
    db.execute(
        "update webhooks set tries = 0, first_at = 0, next_at = ?, error_at = ?, error = ? "
        "where name = ?",
        [failure.next_at, failure.at, cut(failure.error), name],
    )
