"""The state of webhooks in PostgreSQL; see `webhooks` and `postgres_server`.

Limits: a lease ends by the server's clock, so that those of the nodes do not matter.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gatepost.store.postgres_server import Connection, PostgresServer, changed
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
_WELL = "tries = 0, first_at = 0, next_at = 0, gone = false"
_MOVE = "update webhooks set position = %(end)s, batch_end = 0"
_IF_THERE = "where name = %(name)s and position = %(begin)s"
_ENTER = """
insert into webhooks (name, position) select unnest(%s::text[]), %s on conflict do nothing
"""
_CLAIM = """
update webhooks set holder = %(holder)s,
    held_until = clock_timestamp() + make_interval(secs => %(seconds)s)
where name = %(name)s and (holder = %(holder)s or held_until <= clock_timestamp())
"""
_RELEASE = "update webhooks set holder = '', held_until = '-infinity' where holder = %s"
_FAILED = """
update webhooks set tries = tries + 1, next_at = %(next_at)s, error_at = %(at)s,
    error = %(error)s, gone = %(gone)s,
    first_at = case tries when 0 then %(at)s::double precision else first_at end
where name = %(name)s
"""
_RECOVER = """
update webhooks set next_at = 0, tries = case when gone then 0 else tries end,
    first_at = case when gone then 0 else first_at end, gone = false
where name = any(%s)
"""
_LETTERS = """
select id, webhook, first, last, events, at, tries, error, requeued from webhook_dead_letters
"""
_BURIALS = """
select webhook, count(*), sum(events), count(*) filter (where requeued)
from webhook_dead_letters group by webhook
"""
_DIE = f"""
insert into webhook_dead_letters (webhook, first, last, events, at, tries, error, requeued)
select name, %(begin)s, %(end)s, %(events)s, %(at)s, tries + 1, %(error)s, false
from webhooks {_IF_THERE}
"""
_BURY = """
update webhook_dead_letters set requeued = false, at = %(at)s, error = %(error)s,
    tries = tries + 1 + coalesce((select tries from webhooks where name = %(name)s), 0)
where id = %(id)s
"""


class PostgresWebhooks(PostgresServer):
    """Implements `gatepost.store.webhooks.WebhookStore`."""

    def states(self) -> dict[str, WebhookState]:
        """See `WebhookStore.states`."""
        with self._database() as db:
            return {row[0]: state_of(row) for row in db.execute(_STATES)}

    def state(self, name: str) -> WebhookState | None:
        """See `WebhookStore.state`."""
        with self._database() as db:
            row = db.execute(f"{_STATES} where name = %s", [name]).fetchone()
        return None if row is None else state_of(row)

    def enter(self, names: Collection[str], position: int) -> None:
        """See `WebhookStore.enter`."""
        with self._writing() as db:
            db.execute(_ENTER, [sorted(names), position])

    def claim(self, name: str, holder: str, seconds: float) -> bool:
        """See `WebhookStore.claim`."""
        return self._change(_CLAIM, {"name": name, "holder": holder, "seconds": seconds})

    def release(self, holder: str) -> None:
        """See `WebhookStore.release`."""
        with self._writing() as db:
            db.execute(_RELEASE, [holder])

    def begin(self, name: str, position: int, end: int) -> bool:
        """See `WebhookStore.begin`."""
        change = f"update webhooks set batch_end = %(end)s {_IF_THERE}"
        return self._change(change, {"name": name, "begin": position, "end": end})

    def told(self, name: str, span: Span, now: float) -> bool:
        """See `WebhookStore.told`."""
        change = f"{_MOVE}, success_at = %(now)s, {_WELL} {_IF_THERE}"
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
            # Whoever comes second finds the webhook elsewhere, and makes no second letter.
            db.execute("select 1 from webhooks where name = %s for update", [name])
            if changed(db.execute(_DIE, {**values, "events": events})) != 1:
                return False
            _note(db, name, failure)
            db.execute(f"{_MOVE} {_IF_THERE}", values)
        return True

    def recover(self, names: Collection[str]) -> None:
        """See `WebhookStore.recover`."""
        with self._writing() as db:
            db.execute(_RECOVER, [sorted(names)])

    def move(self, name: str, position: int) -> None:
        """See `WebhookStore.move`."""
        with self._writing() as db:
            db.execute(
                f"update webhooks set position = %s, batch_end = 0, {_WELL} where name = %s",
                [position, name],
            )

    def burials(self) -> dict[str, Burials]:
        """See `WebhookStore.burials`."""
        with self._database() as db:
            return {name: Burials(*map(int, sums)) for name, *sums in db.execute(_BURIALS)}

    def dead(self, name: str | None = None) -> list[DeadLetter]:
        """See `WebhookStore.dead`."""
        query = f"{_LETTERS} where %(name)s::text is null or webhook = %(name)s order by id"
        with self._database() as db:
            return [letter_of(row) for row in db.execute(query, {"name": name})]

    def requeue(self, name: str) -> list[DeadLetter]:
        """See `WebhookStore.requeue`."""
        query = f"{_LETTERS} where webhook = %s order by id"
        with self._writing() as db:
            db.execute("update webhook_dead_letters set requeued = true where webhook = %s", [name])
            db.execute(f"update webhooks set {_WELL} where name = %s", [name])
            return [letter_of(row) for row in db.execute(query, [name])]

    def next_requeued(self, name: str) -> DeadLetter | None:
        """See `WebhookStore.next_requeued`."""
        query = f"{_LETTERS} where webhook = %s and requeued order by id limit 1"
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
            db.execute("delete from webhook_dead_letters where id = %s", [letter.id])
            db.execute(
                f"update webhooks set success_at = %s, {_WELL} where name = %s",
                [now, letter.webhook],
            )

    def forget(self, letter: DeadLetter) -> None:
        """See `WebhookStore.forget`."""
        with self._writing() as db:
            db.execute("delete from webhook_dead_letters where id = %s", [letter.id])

    def prune(self, before: float) -> int:
        """See `WebhookStore.prune`."""
        before = self._by_server(before)
        with self._writing() as db:
            return changed(db.execute("delete from webhook_dead_letters where at < %s", [before]))

    def _change(self, statement: str, values: dict[str, Any]) -> bool:
        with self._writing() as db:
            return changed(db.execute(statement, values)) == 1


def _note(db: Connection, name: str, failure: Failed) -> None:
    """Note the last failure of a batch that is given up; the next one begins afresh."""
    db.execute(
        "update webhooks set tries = 0, first_at = 0, next_at = %s, error_at = %s, error = %s "
        "where name = %s",
        [failure.next_at, failure.at, cut(failure.error), name],
    )
