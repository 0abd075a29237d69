"""How the state of webhooks is read and changed, the same in every database; see `webhooks`.

Not handled: leases, whose end each database tells by another clock.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from gatepost.store.engine import Engine, Queryable
from gatepost.store.webhook_rows import STATE, cut, letter_of, state_of
from gatepost.store.webhooks import Burials, DeadLetter, Failed, Span, WebhookState

_STATES = f"select {STATE} from webhooks"
_WELL = "tries = 0, first_at = 0, next_at = 0, gone = false"
_BURIALS = """
select webhook, count(*), sum(events), count(*) filter (where requeued)
from webhook_dead_letters group by webhook
"""
# Where `{}` is `Engine.MARK`.
_IF_THERE = "where name = {} and position = {}"
_MOVE = f"update webhooks set position = {{}}, batch_end = 0 {_IF_THERE}"
_BEGIN = f"update webhooks set batch_end = {{}} {_IF_THERE}"
_TOLD = (
    f"update webhooks set position = {{}}, batch_end = 0, success_at = {{}}, {_WELL} {_IF_THERE}"
)
_FAILED = """
update webhooks set tries = tries + 1, next_at = {}, error_at = {}, error = {}, gone = {},
    first_at = case tries when 0 then cast({} as double precision) else first_at end
where name = {}
"""
_NOTE = """
update webhooks set tries = 0, first_at = 0, next_at = {}, error_at = {}, error = {} where name = {}
"""
_BURY = """
update webhook_dead_letters set requeued = false, at = {}, error = {},
    tries = tries + 1 + coalesce((select tries from webhooks where name = {}), 0)
where id = {}
"""


class WebhookChanges(Engine):
    """The methods of `gatepost.store.webhooks.WebhookStore` but `claim` and `release`.

    Attributes:
        SPAN: The columns of a dead letter that say where its batch begins and ends.
    """

    SPAN: ClassVar[str]

    def states(self) -> dict[str, WebhookState]:
        """See `WebhookStore.states`."""
        return {row[0]: state_of(row) for row in self._all(_STATES, [])}

    def state(self, name: str) -> WebhookState | None:
        """See `WebhookStore.state`."""
        row = self._first(f"{_STATES} where name = {self.MARK}", [name])
        return None if row is None else state_of(row)

    def enter(self, names: Collection[str], position: int) -> None:
        """See `WebhookStore.enter`."""
        insert = self._marked("insert into webhooks (name, position) values ({}, {})")
        with self._writing() as db:
            for name in sorted(names):
                db.execute(f"{insert} on conflict do nothing", [name, position])

    def begin(self, name: str, position: int, end: int) -> bool:
        """See `WebhookStore.begin`."""
        return self._change(self._marked(_BEGIN), [end, name, position]) == 1

    def told(self, name: str, span: Span, now: float) -> bool:
        """See `WebhookStore.told`."""
        return self._change(self._marked(_TOLD), [span.end, now, name, span.begin]) == 1

    def pass_over(self, name: str, span: Span) -> bool:
        """See `WebhookStore.pass_over`."""
        return self._change(self._marked(_MOVE), [span.end, name, span.begin]) == 1

    def failed(self, name: str, failure: Failed) -> None:
        """See `WebhookStore.failed`."""
        values = [failure.next_at, failure.at, cut(failure.error), failure.gone, failure.at, name]
        self._change(self._marked(_FAILED), values)

    def give_up(self, name: str, span: Span, events: int, failure: Failed) -> bool:
        """See `WebhookStore.give_up`."""
        die = self._marked(
            f"insert into webhook_dead_letters "
            f"(webhook, {self.SPAN}, events, at, tries, error, requeued) "
            f"select name, {{}}, {{}}, {{}}, {{}}, tries + 1, {{}}, false from webhooks {_IF_THERE}"
        )
        letter = [span.begin, span.end, events, failure.at, cut(failure.error)]
        with self._writing() as db:
            # Whoever comes second finds the webhook elsewhere, and makes no second letter.
            self._hold(db, name)
            if db.execute(die, [*letter, name, span.begin]).rowcount != 1:
                return False
            self._note(db, name, failure)
            db.execute(self._marked(_MOVE), [span.end, name, span.begin])
        return True

    def recover(self, names: Collection[str]) -> None:
        """See `WebhookStore.recover`."""
        change = (
            "update webhooks set next_at = 0, tries = case when gone then 0 else tries end, "
            "first_at = case when gone then 0 else first_at end, gone = false "
            f"where name = {self.MARK}"
        )
        with self._writing() as db:
            for name in sorted(names):
                db.execute(change, [name])

    def move(self, name: str, position: int) -> None:
        """See `WebhookStore.move`."""
        change = f"update webhooks set position = {{}}, batch_end = 0, {_WELL} where name = {{}}"
        self._change(self._marked(change), [position, name])

    def burials(self) -> dict[str, Burials]:
        """See `WebhookStore.burials`."""
        return {name: Burials(*map(int, sums)) for name, *sums in self._all(_BURIALS, [])}

    def dead(self, name: str | None = None) -> list[DeadLetter]:
        """See `WebhookStore.dead`."""
        where = "true" if name is None else f"webhook = {self.MARK}"
        rows = self._all(self._letters(where), [] if name is None else [name])
        return [letter_of(row) for row in rows]

    def requeue(self, name: str) -> list[DeadLetter]:
        """See `WebhookStore.requeue`."""
        where = f"webhook = {self.MARK}"
        with self._writing() as db:
            db.execute(f"update webhook_dead_letters set requeued = true where {where}", [name])
            db.execute(f"update webhooks set {_WELL} where name = {self.MARK}", [name])
            return [letter_of(row) for row in db.execute(self._letters(where), [name]).fetchall()]

    def next_requeued(self, name: str) -> DeadLetter | None:
        """See `WebhookStore.next_requeued`."""
        where = f"webhook = {self.MARK} and requeued"
        row = self._first(f"{self._letters(where)} limit 1", [name])
        return None if row is None else letter_of(row)

    def bury(self, letter: DeadLetter, failure: Failed) -> None:
        """See `WebhookStore.bury`."""
        values = [failure.at, cut(failure.error), letter.webhook, letter.id]
        with self._writing() as db:
            db.execute(self._marked(_BURY), values)
            self._note(db, letter.webhook, failure)

    def raise_dead(self, letter: DeadLetter, now: float) -> None:
        """See `WebhookStore.raise_dead`."""
        told = self._marked(f"update webhooks set success_at = {{}}, {_WELL} where name = {{}}")
        with self._writing() as db:
            self._delete(db, letter)
            db.execute(told, [now, letter.webhook])

    def forget(self, letter: DeadLetter) -> None:
        """See `WebhookStore.forget`."""
        with self._writing() as db:
            self._delete(db, letter)

    def prune(self, before: float) -> int:
        """See `WebhookStore.prune`."""
        delete = f"delete from webhook_dead_letters where at < {self.MARK}"
        return self._change(delete, [self._by_server(before)])

    def _hold(self, db: Queryable, name: str) -> None:
        """Let nobody else change a webhook before the transaction ends, if anybody can."""

    def _note(self, db: Queryable, name: str, failure: Failed) -> None:
        """Note the last failure of a batch that is given up; the next one begins afresh."""
        db.execute(self._marked(_NOTE), [failure.next_at, failure.at, cut(failure.error), name])

    def _delete(self, db: Queryable, letter: DeadLetter) -> None:
        db.execute(f"delete from webhook_dead_letters where id = {self.MARK}", [letter.id])

    def _letters(self, where: str) -> str:
        columns = f"id, webhook, {self.SPAN}, events, at, tries, error, requeued"
        return f"select {columns} from webhook_dead_letters where {where} order by id"
