"""How the suppression list is read and changed, which is the same in every database.

Purpose: see `suppression`; how rows are stored, found for mail, and deleted in steps, is each
database's own.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, ClassVar

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
from gatepost.store.engine import Engine, Queryable
from gatepost.store.external_sort import Row
from gatepost.store.suppression import Delivered, Page
from gatepost.store.suppression_rows import (
    ADDRESS,
    CODES,
    COLUMNS,
    FIRST_LIFTED,
    cursor_of,
    entry_of,
    place_of,
    rows_of,
    short,
    sub_where,
)

_PAGE = f"select owner, key, sub, {COLUMNS} from suppression where "
# A condition that may or may not hold would read on through the lists of all others.
_PAGE_OF_ALL = f"{_PAGE} (owner, key, sub, reason) > (:owner, :key, :sub, :code)"
_PAGE_OF_ONE = f"{_PAGE} owner = :owner and (key, sub, reason) > (:key, :sub, :code)"
_ORDER = "order by owner, key, sub, reason limit :limit"
_LIFTED = (
    f"suppression where {ADDRESS} and reason >= {FIRST_LIFTED} and at < :at "
    "and (source is null or source <> :failure)"
)
_FORGOTTEN = f"suppression_soft where {ADDRESS} and at < :at and event <> :event"
_LIFTABLE = f"select exists (select 1 from {_LIFTED}) or exists (select 1 from {_FORGOTTEN})"
_ADD_SOFT = """
insert into suppression_soft values (:owner, :key, :sub, :event, :at) on conflict do nothing
"""
_COUNT_SOFT = f"""
select count(*), max(at) from suppression_soft where {ADDRESS} and at > (
    select max(at) from suppression_soft where {ADDRESS}
) - :window
"""


class SuppressionQueries(Engine):
    """Implements `gatepost.store.suppression.SuppressionStore`.

    Attributes:
        ROWS: How many rows are written in one go.
        PRUNE: Deletes at most so many that ended at a time.
        PRUNE_SOFT: Deletes at most so many soft bounces of a time or before.
    """

    ROWS: ClassVar[int]
    PRUNE: ClassVar[str]
    PRUNE_SOFT: ClassVar[str]
    _local: threading.local

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
                found = self._row(db, owner, key, now, fold=rules.fold_sub_addresses)
                if found is not None:
                    return entry_of(each, found, recipient)
        return None

    def entries_of(self, tenant: str, address: str, rules: SuppressionRules) -> list[Suppressed]:
        """See `SuppressionStore.entries_of`."""
        query = f"select {COLUMNS} from suppression where {ADDRESS} order by sub, reason"
        with self._database() as db:
            where = self._where(db, tenant, address)
            if where is None:
                return []
            rows = db.execute(self._with_sub(query, rules), where).fetchall()
        return [entry_of(tenant, row, address) for row in rows]

    def add(self, entries: Iterable[Suppressed], rules: SuppressionRules) -> int:
        """See `SuppressionStore.add`."""
        with self._database() as db:
            rows = rows_of(entries, rules, self._secret(db))
        with self._writing() as db:
            owners = self._make_owners(db, {tenant for tenant, _ in rows})
            # In one order, so that two nodes do not wait for each other in a circle.
            ordered = [(owners[tenant], *row) for tenant, row in rows]
            ordered.sort(key=lambda row: row[:4])
            return self._put(db, ordered)

    def load(
        self,
        entries: Iterable[Suppressed],
        rules: SuppressionRules,
        told: Callable[[int], None] = lambda _count: None,
    ) -> int:
        """See `SuppressionStore.load`."""
        owners: dict[str, int] = {}
        changes = 0
        directory = self._directory()
        rows = self._sorted(self._numbered(entries, rules, owners), directory)
        while batch := self._some(rows, directory):
            with self._writing() as db:
                changes += self._put(db, batch)
            told(len(batch))
        return changes

    def remove(
        self, tenant: str, address: str, rules: SuppressionRules, reason: Reason | None = None
    ) -> list[Suppressed]:
        """See `SuppressionStore.remove`."""
        with self._database() as db:
            where = self._where(db, tenant, address)
        if where is None:
            return []
        which = _of_reason(where, reason)
        delete = f"delete from suppression where {ADDRESS} {which} returning {COLUMNS}"
        forget = f"delete from suppression_soft where {ADDRESS}"
        with self._writing() as db:
            rows = db.execute(self._with_sub(delete, rules), where).fetchall()
            if reason in {None, Reason.SOFT_BOUNCES}:
                db.execute(self._with_sub(forget, rules), where)
        return sorted(
            (entry_of(tenant, row, address) for row in rows),
            key=lambda entry: (entry.address, CODES[entry.reason]),
        )

    def soft_bounce(
        self, tenant: str, recipient: str, at: float, event_id: str, rules: SuppressionRules
    ) -> Suppressed | None:
        """See `SuppressionStore.soft_bounce`."""
        expires = expiry_of(Reason.SOFT_BOUNCES, at, rules)
        entry = Suppressed(tenant, recipient, Reason.SOFT_BOUNCES, at, expires, event_id)
        with self._database() as db:
            rows = rows_of([entry], rules, self._secret(db))
        if not rows:
            return None
        row = rows[0][1]
        with self._writing() as db:
            owner = self._make_owners(db, {tenant})[tenant]
            self._hold(db, owner, row[0])
            where = {"owner": owner, "key": row[0], "sub": row[1], "window": rules.soft_window_s}
            bounce = {**where, "event": short(event_id), "at": int(at)}
            db.execute(self._named(_ADD_SOFT), bounce)
            counted = db.execute(self._with_sub(_COUNT_SOFT, rules), where).fetchone()
            # An old one that comes late and counts for nothing suppresses nothing either.
            if counted[0] < rules.soft_bounces or int(at) <= counted[1] - rules.soft_window_s:
                return None
            self._put(db, [(owner, *row)])
        return entry

    def delivered(self, deliveries: Sequence[Delivered], rules: SuppressionRules) -> int:
        """See `SuppressionStore.delivered`."""
        liftable = self._with_sub(_LIFTABLE, rules)
        lifted = []
        with self._database() as db:
            for each in deliveries:
                where = self._where(db, each.tenant, each.recipient)
                if where is None:
                    continue
                where |= {"at": int(each.at), "failure": each.failure, "event": short(each.failure)}
                # Most addresses never bounced, and a transaction that writes makes others wait.
                if db.execute(liftable, where).fetchone()[0]:
                    lifted.append(where)
        if not lifted:
            return 0
        lifted.sort(key=lambda where: (where["owner"], where["key"], where["sub"]))
        lift, forget = (
            self._with_sub(f"delete from {rows}", rules) for rows in (_LIFTED, _FORGOTTEN)
        )
        with self._writing() as db:
            gone = sum(db.execute(lift, where).rowcount for where in lifted)
            for where in lifted:
                db.execute(forget, where)
        return gone

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
            where = {**cursor_of(after, owner), "limit": limit}
            which = _of_reason(where, reason)
            query = f"{_PAGE_OF_ALL if owner is None else _PAGE_OF_ONE} {which} {_ORDER}"
            rows = db.execute(self._named(query), where).fetchall()
            names = dict(db.execute("select id, tenant from suppression_owners").fetchall())
        last = rows[-1] if len(rows) == limit else None
        return Page(
            tuple(entry_of(names[row[0]], row[3:], "") for row in rows),
            "" if last is None else place_of(last),
        )

    def lists(self) -> list[str]:
        """See `SuppressionStore.lists`."""
        return [row[0] for row in self._all("select tenant from suppression_owners order by 1", [])]

    def prune(self, now: float, rules: SuppressionRules) -> int:
        """See `SuppressionStore.prune`."""
        now = self._by_server(now)
        ended = self._delete_some(self.PRUNE, int(now))
        self._delete_some(self.PRUNE_SOFT, int(now) - rules.soft_window_s)
        return ended

    @abstractmethod
    def _row(
        self, db: Any, owner: int, key: AddressKey, now: float, *, fold: bool
    ) -> Sequence[Any] | None:
        """Return the `COLUMNS` of the strongest row in force."""

    @abstractmethod
    def _put(self, db: Any, rows: Sequence[Sequence[Any]]) -> int:
        """Store rows in order; return how many changed anything."""

    @abstractmethod
    def _make_owners(self, db: Any, tenants: Iterable[str]) -> dict[str, int]:
        """Return the numbers of lists, which are made if there are none."""

    @abstractmethod
    def _load_secret(self, db: Any) -> bytes:
        """Return the secret that belongs to the database, which is made if there is none."""

    @abstractmethod
    def _directory(self) -> Path:
        """Return where a load may sort what it reads."""

    @abstractmethod
    def _sorted(self, rows: Iterator[Row], directory: Path) -> Iterator[Row]:
        """Yield rows in order."""

    def _hold(self, db: Queryable, owner: int, key: bytes) -> None:
        """Let nobody else count bounces of an address meanwhile, if anybody can."""

    def _with_sub(self, statement: str, rules: SuppressionRules) -> str:
        return self._named(statement.format(which=sub_where(rules)))

    def _delete_some(self, statement: str, before: int) -> int:
        """Run a statement that deletes a few rows until there are none; return how many."""
        deleted = 0
        while True:
            # Each time anew: a transaction for all of them would make everybody wait.
            step = self._change(statement, [before])
            deleted += step
            if step < self.ROWS:
                return deleted

    def _numbered(
        self, entries: Iterable[Suppressed], rules: SuppressionRules, owners: dict[str, int]
    ) -> Iterator[Row]:
        """Yield entries as rows, with a number behind the key, so that no two are equal."""
        number = count()
        entries = iter(entries)
        while some := list(islice(entries, self.ROWS)):
            with self._database() as db:
                rows = rows_of(some, rules, self._secret(db))
            new = {tenant for tenant, _ in rows} - owners.keys()
            if new:
                with self._writing() as db:
                    owners |= self._make_owners(db, new)
            for tenant, row in rows:
                yield (owners[tenant], *row[:3], next(number), *row[3:])

    def _some(self, rows: Iterator[Row], directory: Path) -> list[Row]:
        """Return the next rows, without the number behind their key."""
        try:
            return [(*row[:4], *row[5:]) for row in islice(rows, self.ROWS)]
        except OSError as error:
            raise StoreUnavailable(f"{directory}: {error}") from error

    def _where(self, db: Queryable, tenant: str, address: str) -> dict[str, Any] | None:
        owner = self._owner(db, tenant)
        key = self._key(db, tenant, address) if owner is not None else None
        return None if key is None else {"owner": owner, "key": key.base, "sub": key.sub}

    def _key(self, db: Queryable, tenant: str, address: str) -> AddressKey | None:
        try:
            return key_of(canonical_address(address), tenant, self._secret(db))
        except MalformedMessage:
            return None

    def _owner(self, db: Queryable, tenant: str) -> int | None:
        query = f"select id from suppression_owners where tenant = {self.MARK}"
        row = db.execute(query, [tenant]).fetchone()
        return None if row is None else int(row[0])

    def _secret(self, db: Queryable) -> bytes:
        """Return the secret that belongs to the database as it is now."""
        known: tuple[object, bytes] | None = getattr(self._local, "secret", None)
        if known is None or known[0] is not db:
            # Kept with the connection: a restored database brings its own key file.
            known = self._local.secret = (db, self._load_secret(db))
        return known[1]


def _of_reason(where: dict[str, Any], reason: Reason | None) -> str:
    """Return the condition that an entry has a reason, if one is asked for, and bind it."""
    if reason is None:
        return ""
    where["reason"] = CODES[reason]
    return "and reason = :reason"
