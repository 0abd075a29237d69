"""The suppression list in SQLite.

Purpose: see `store.suppression`. Ten million addresses must cost a look-up no more than one do.
Format: a row for each list, address and reason, found by a keyed hash (`feedback.suppression`), so
that the key is short and of equal length, and is the same whether the address is kept or not.
Limits: see `suppression_rows`.
Errors, security: see `sqlite_file` and `suppression_key`.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

from sqlite_utils import Database

from gatepost.errors import MalformedMessage, StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import (
    GLOBAL,
    AddressKey,
    Reason,
    Suppressed,
    canonical_address,
    expiry_of,
    key_of,
)
from gatepost.store.external_sort import Row, sorted_rows
from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.suppression import Delivered, Page
from gatepost.store.suppression_key import load_secret
from gatepost.store.suppression_rows import (
    ADDRESS,
    CODES,
    COLUMNS,
    FIRST_LIFTED,
    cursor_of,
    entry_of,
    find_row,
    place_of,
    rows_of,
    short,
    sub_where,
)

# How many rows are written in one go: others wait for less than 0.1 s.
LOAD_ROWS = 2_000

# As `gatepost.feedback.suppression.merged` has it.
_ADD = f"""
insert into suppression (owner, key, sub, reason, at, expires, address, source, note)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set
    at = case
        when expires <= excluded.at then excluded.at
        when reason >= {FIRST_LIFTED} then max(at, excluded.at)
        else min(at, excluded.at) end,
    expires = max(expires, excluded.expires),
    address = coalesce(address, excluded.address),
    source = coalesce(source, excluded.source),
    note = coalesce(excluded.note, note)
where at is not case
        when expires <= excluded.at then excluded.at
        when reason >= {FIRST_LIFTED} then max(at, excluded.at)
        else min(at, excluded.at) end
    or expires is not max(expires, excluded.expires)
    or address is not coalesce(address, excluded.address)
    or source is not coalesce(source, excluded.source)
    or note is not coalesce(excluded.note, note)
"""
_PAGE = f"""
select owner, key, sub, {COLUMNS} from suppression
where {{where}} and (:reason is null or reason = :reason)
order by owner, key, sub, reason limit :limit
"""
# A condition that may or may not hold would read on through the lists of all others.
_PAGE_OF_ALL = _PAGE.format(where="(owner, key, sub, reason) > (:owner, :key, :sub, :code)")
_PAGE_OF_ONE = _PAGE.format(where="owner = :owner and (key, sub, reason) > (:key, :sub, :code)")
_LIFTED = (
    f"suppression where {ADDRESS} and reason >= {FIRST_LIFTED} and at < :at "
    "and source is not :failure"
)
_FORGOTTEN = f"suppression_soft where {ADDRESS} and at < :at and event <> :event"
_LIFT = f"delete from {_LIFTED}"
_FORGET_SOFT = f"delete from {_FORGOTTEN}"
_LIFTABLE = f"select exists (select 1 from {_LIFTED}) or exists (select 1 from {_FORGOTTEN})"
_PRUNE = f"""
delete from suppression where (owner, key, sub, reason) in (
    select owner, key, sub, reason from suppression where expires <= ? limit {LOAD_ROWS}
)
"""
_PRUNE_SOFT = f"""
delete from suppression_soft where (owner, key, sub, event) in (
    select owner, key, sub, event from suppression_soft where at <= ? limit {LOAD_ROWS}
)
"""
_COUNT_SOFT = f"""
select count(*), max(at) from suppression_soft where {ADDRESS} and at > (
    select max(at) from suppression_soft where {ADDRESS}
) - :window
"""


class SqliteSuppression(SqliteFile):
    """Implements `gatepost.store.suppression.SuppressionStore`."""

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """See `SuppressionStore.find`."""
        with self._database() as db:
            for each in dict.fromkeys((tenant, GLOBAL)):
                owner = self._owner(db, each)
                key = self._key(db, each, recipient) if owner is not None else None
                if owner is None or key is None:
                    continue
                found = find_row(db.conn, owner, key, now, fold=rules.fold_sub_addresses)
                if found is not None:
                    return entry_of(each, found, recipient)
        return None

    def entries_of(self, tenant: str, address: str, rules: SuppressionRules) -> list[Suppressed]:
        """See `SuppressionStore.entries_of`."""
        with self._database() as db:
            where = self._where(db, tenant, address)
            if where is None:
                return []
            which = sub_where(rules)
            rows = db.execute(
                f"select {COLUMNS} from suppression where {ADDRESS.format(which=which)} "
                "order by sub, reason",
                where,
            ).fetchall()
        return [entry_of(tenant, row, address) for row in rows]

    def add(self, entries: Iterable[Suppressed], rules: SuppressionRules) -> int:
        """See `SuppressionStore.add`."""
        with self._database() as db:
            rows = self._rows(db, entries, rules)
        with self._writing() as db:
            owners = _make_owners(db, {tenant for tenant, _ in rows})
            before = db.conn.total_changes
            db.conn.executemany(_ADD, [(owners[tenant], *row) for tenant, row in rows])
            return db.conn.total_changes - before

    def load(
        self,
        entries: Iterable[Suppressed],
        rules: SuppressionRules,
        told: Callable[[int], None] = lambda _count: None,
    ) -> int:
        """See `SuppressionStore.load`."""
        owners: dict[str, int] = {}
        changed = 0
        rows = sorted_rows(self._numbered(entries, rules, owners), self.path.parent)
        while batch := self._some(rows):
            with self._writing() as db:
                before = db.conn.total_changes
                db.conn.executemany(_ADD, batch)
                changed += db.conn.total_changes - before
            told(len(batch))
        return changed

    def _some(self, rows: Iterator[Row]) -> list[Row]:
        """Return the next rows, without the number behind their key."""
        try:
            return [(*row[:4], *row[5:]) for row in islice(rows, LOAD_ROWS)]
        except OSError as error:
            raise StoreUnavailable(f"{self.path.parent}: {error}") from error

    def remove(
        self, tenant: str, address: str, rules: SuppressionRules, reason: Reason | None = None
    ) -> list[Suppressed]:
        """See `SuppressionStore.remove`."""
        with self._database() as db:
            where = self._where(db, tenant, address)
        if where is None:
            return []
        condition = (
            f"{ADDRESS.format(which=sub_where(rules))} and (:reason is null or reason=:reason)"
        )
        where = {**where, "reason": None if reason is None else CODES[reason]}
        with self._writing() as db:
            rows = db.execute(
                f"delete from suppression where {condition} returning {COLUMNS}", where
            ).fetchall()
            if reason in {None, Reason.SOFT_BOUNCES}:
                db.execute(
                    f"delete from suppression_soft where {ADDRESS.format(which=sub_where(rules))}",
                    where,
                )
        return sorted(
            (entry_of(tenant, row, address) for row in rows),
            key=lambda entry: (entry.address, CODES[entry.reason]),
        )

    def soft_bounce(
        self, tenant: str, recipient: str, at: float, event_id: str, rules: SuppressionRules
    ) -> Suppressed | None:
        """See `SuppressionStore.soft_bounce`."""
        event = short(event_id)
        entry = Suppressed(
            tenant,
            recipient,
            Reason.SOFT_BOUNCES,
            at,
            expiry_of(Reason.SOFT_BOUNCES, at, rules),
            event_id,
        )
        with self._database() as db:
            rows = self._rows(db, [entry], rules)
        if not rows:
            return None
        row = rows[0][1]
        with self._writing() as db:
            owner = _make_owners(db, {tenant})[tenant]
            where = {"owner": owner, "key": row[0], "sub": row[1], "window": rules.soft_window_s}
            db.execute(
                "insert or ignore into suppression_soft values (:owner, :key, :sub, :event, :at)",
                {**where, "event": event, "at": int(at)},
            )
            count, last = db.execute(_COUNT_SOFT.format(which=sub_where(rules)), where).fetchone()
            # An old one that comes late and counts for nothing suppresses nothing either.
            if count < rules.soft_bounces or int(at) <= last - rules.soft_window_s:
                return None
            db.conn.execute(_ADD, (owner, *row))
        return entry

    def delivered(self, deliveries: Sequence[Delivered], rules: SuppressionRules) -> int:
        """See `SuppressionStore.delivered`."""
        which = sub_where(rules)
        lifted = []
        with self._database() as db:
            for each in deliveries:
                where = self._where(db, each.tenant, each.recipient)
                if where is None:
                    continue
                where |= {"at": int(each.at), "failure": each.failure}
                where["event"] = short(each.failure)
                # Most addresses never bounced, and a transaction that writes makes others wait.
                if db.execute(_LIFTABLE.format(which=which), where).fetchone()[0]:
                    lifted.append(where)
        if not lifted:
            return 0
        with self._writing() as db:
            count = db.conn.executemany(_LIFT.format(which=which), lifted).rowcount
            db.conn.executemany(_FORGET_SOFT.format(which=which), lifted)
        return count

    def page(
        self,
        tenant: str | None = None,
        reason: Reason | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> Page:
        """See `SuppressionStore.page`."""
        with self._database() as db:
            owner = None if tenant is None else self._owner(db, tenant)
            if tenant is not None and owner is None:
                return Page((), "")
            where = {
                **cursor_of(after, owner),
                "reason": None if reason is None else CODES[reason],
                "limit": limit,
            }
            rows = db.execute(_PAGE_OF_ALL if owner is None else _PAGE_OF_ONE, where).fetchall()
            names = dict(db.execute("select id, tenant from suppression_owners").fetchall())
        last = rows[-1] if len(rows) == limit else None
        return Page(
            tuple(entry_of(names[row[0]], row[3:], "") for row in rows),
            "" if last is None else place_of(last),
        )

    def lists(self) -> list[str]:
        """See `SuppressionStore.lists`."""
        with self._database() as db:
            rows = db.execute("select tenant from suppression_owners order by tenant").fetchall()
        return [row[0] for row in rows]

    def prune(self, now: float, rules: SuppressionRules) -> int:
        """See `SuppressionStore.prune`."""
        ended = self._delete_some(_PRUNE, int(now))
        self._delete_some(_PRUNE_SOFT, int(now) - rules.soft_window_s)
        return ended

    def _delete_some(self, statement: str, before: int) -> int:
        """Run a statement that deletes a few rows until there are none; return how many."""
        deleted = 0
        while True:
            # Each time anew: a transaction for all of them would make everybody wait.
            with self._writing() as db:
                count = db.execute(statement, (before,)).rowcount
            deleted += count
            if count < LOAD_ROWS:
                return deleted

    def _numbered(
        self, entries: Iterable[Suppressed], rules: SuppressionRules, owners: dict[str, int]
    ) -> Iterator[Row]:
        """Yield entries as rows, with a number behind the key, so that no two are equal."""
        number = count()
        entries = iter(entries)
        while some := list(islice(entries, LOAD_ROWS)):
            with self._database() as db:
                rows = self._rows(db, some, rules)
            new = {tenant for tenant, _ in rows} - owners.keys()
            if new:
                with self._writing() as db:
                    owners |= _make_owners(db, new)
            for tenant, row in rows:
                yield (owners[tenant], *row[:3], next(number), *row[3:])

    def _rows(
        self, db: Database, entries: Iterable[Suppressed], rules: SuppressionRules
    ) -> list[tuple[str, tuple[Any, ...]]]:
        """Return entries as rows without their owners, and whose they are."""
        return rows_of(entries, rules, self._secret(db))

    def _where(self, db: Database, tenant: str, address: str) -> dict[str, Any] | None:
        owner = self._owner(db, tenant)
        key = self._key(db, tenant, address) if owner is not None else None
        return None if key is None else {"owner": owner, "key": key.base, "sub": key.sub}

    def _key(self, db: Database, tenant: str, address: str) -> AddressKey | None:
        try:
            return key_of(canonical_address(address), tenant, self._secret(db))
        except MalformedMessage:
            return None

    def _owner(self, db: Database, tenant: str) -> int | None:
        row = db.execute("select id from suppression_owners where tenant = ?", (tenant,)).fetchone()
        return None if row is None else int(row[0])

    def _secret(self, db: Database) -> bytes:
        """Return the secret that belongs to the database as it is now."""
        known: tuple[object, bytes] | None = getattr(self._local, "secret", None)
        if known is None or known[0] is not db:
            # Kept with the connection: a restored database brings its own key file.
            known = self._local.secret = (db, load_secret(self.path, db))
        return known[1]


def _make_owners(db: Database, tenants: Iterable[str]) -> dict[str, int]:
    owners = {}
    for tenant in tenants:
        select = ("select id from suppression_owners where tenant = ?", (tenant,))
        if db.execute(*select).fetchone() is None:
            db.execute("insert into suppression_owners (tenant) values (?)", (tenant,))
        owners[tenant] = int(db.execute(*select).fetchone()[0])
    return owners
