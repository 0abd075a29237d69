"""The suppression list in PostgreSQL; see `suppression` and `postgres_server`.

Purpose: all nodes have the same lists; ten million addresses cost a look-up no more than one does.
Format: as in SQLite, see `sqlite_suppression`; a row for each list, address and reason, found by a
keyed hash in the order of the primary key.
Limits: see `suppression_rows`. An import sorts what it reads in a file of `tempfile`'s directory.
Errors, security: see `postgres_server` and `suppression_key`. The key stays out of the database;
every node has a copy of the file, and one that has none, or another, says so.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

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
from gatepost.store.postgres_server import Connection, PostgresServer, changed
from gatepost.store.suppression import Delivered, Page
from gatepost.store.suppression_key import load_shared_secret
from gatepost.store.suppression_rows import (
    CODES,
    COLUMNS,
    FIRST_LIFTED,
    cursor_of,
    entry_of,
    place_of,
    rows_of,
    short,
)

LOAD_ROWS = 4_000

ADDRESS = "owner = %(owner)s and key = %(key)s and (%(fold)s or sub = %(sub)s)"
FIND = f"""
select {COLUMNS} from suppression
where owner = $1 and key = $2 and ($3 or sub = $4) and (expires is null or expires > $5)
order by reason limit 1
"""
_FIND = f"""
select {COLUMNS} from suppression
where {ADDRESS} and (expires is null or expires > %(now)s) order by reason limit 1
"""
# As `gatepost.feedback.suppression.merged` has it; an end that is null holds for good.
_AT = f"""case
        when was.expires <= excluded.at then excluded.at
        when was.reason >= {FIRST_LIFTED} then greatest(was.at, excluded.at)
        else least(was.at, excluded.at) end"""
_EXPIRES = """case
        when was.expires is null or excluded.expires is null then null
        else greatest(was.expires, excluded.expires) end"""
_ADD = f"""
insert into suppression as was (owner, key, sub, reason, at, expires, address, source, note)
select * from unnest(%s::integer[], %s::bytea[], %s::bytea[], %s::smallint[], %s::bigint[],
    %s::bigint[], %s::text[], %s::text[], %s::text[])
on conflict (owner, key, sub, reason) do update set
    at = {_AT}, expires = {_EXPIRES},
    address = coalesce(was.address, excluded.address),
    source = coalesce(was.source, excluded.source),
    note = coalesce(excluded.note, was.note)
where (was.at, was.expires, was.address, was.source, was.note) is distinct from (
    {_AT}, {_EXPIRES}, coalesce(was.address, excluded.address),
    coalesce(was.source, excluded.source), coalesce(excluded.note, was.note)
)
"""
_PAGE = f"""
select owner, key, sub, {COLUMNS} from suppression
where {{where}} and (%(reason)s::smallint is null or reason = %(reason)s)
order by owner, key, sub, reason limit %(limit)s
"""
# A condition that may or may not hold would read on through the lists of all others.
_PAGE_OF_ALL = _PAGE.format(
    where="(owner, key, sub, reason) > (%(owner)s, %(key)s, %(sub)s, %(code)s)"
)
_PAGE_OF_ONE = _PAGE.format(
    where="owner = %(owner)s and (key, sub, reason) > (%(key)s, %(sub)s, %(code)s)"
)
_LIFTED = f"""suppression where {ADDRESS} and reason >= {FIRST_LIFTED} and at < %(at)s
    and source is distinct from %(failure)s"""
_FORGOTTEN = f"suppression_soft where {ADDRESS} and at < %(at)s and event <> %(event)s"
_LIFTABLE = f"select exists (select 1 from {_LIFTED}) or exists (select 1 from {_FORGOTTEN})"
_PRUNE = f"""
delete from suppression where (owner, key, sub, reason) in (
    select owner, key, sub, reason from suppression where expires <= %s
    limit {LOAD_ROWS} for update skip locked
)
"""
_PRUNE_SOFT = f"""
delete from suppression_soft where (owner, key, sub, event) in (
    select owner, key, sub, event from suppression_soft where at <= %s
    limit {LOAD_ROWS} for update skip locked
)
"""
_COUNT_SOFT = f"""
select count(*), max(at) from suppression_soft where {ADDRESS} and at > (
    select max(at) from suppression_soft where {ADDRESS}
) - %(window)s
"""
# Two nodes that count the bounces of one address do so one after the other.
_TAKE_TURN = "select pg_advisory_xact_lock(%s)"
# Whoever asks for new lists goes on by their number: it must not appear before a lower one.
_NUMBERING = 0x6761_7465_6F77_6E73


class PostgresSuppression(PostgresServer):
    """Implements `gatepost.store.suppression.SuppressionStore`."""

    def __init__(self, url: str, *, create: bool = True, key_dir: Path) -> None:
        """See `PostgresServer`.

        Args:
            url: Where it is.
            create: Make the tables if there are none.
            key_dir: Where the key file of the list is.
        """
        self._key_dir = key_dir
        super().__init__(url, create=create)

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """See `SuppressionStore.find`."""
        with self._database() as db:
            for each in dict.fromkeys((tenant, GLOBAL)):
                where = self._where(db, each, recipient, rules)
                if where is None:
                    continue
                found = db.execute(_FIND, {**where, "now": now}).fetchone()
                if found is not None:
                    return entry_of(each, found, recipient)
        return None

    def entries_of(self, tenant: str, address: str, rules: SuppressionRules) -> list[Suppressed]:
        """See `SuppressionStore.entries_of`."""
        with self._database() as db:
            where = self._where(db, tenant, address, rules)
            if where is None:
                return []
            query = f"select {COLUMNS} from suppression where {ADDRESS} order by sub, reason"
            return [entry_of(tenant, row, address) for row in db.execute(query, where)]

    def add(self, entries: Iterable[Suppressed], rules: SuppressionRules) -> int:
        """See `SuppressionStore.add`."""
        with self._database() as db:
            rows = rows_of(entries, rules, self._secret(db))
        with self._writing() as db:
            owners = _make_owners(db, {tenant for tenant, _ in rows})
            # In one order, so that two nodes do not wait for each other in a circle.
            ordered = [(owners[tenant], *row) for tenant, row in rows]
            ordered.sort(key=lambda row: row[:4])
            return _put(db, ordered)

    def load(
        self,
        entries: Iterable[Suppressed],
        rules: SuppressionRules,
        told: Callable[[int], None] = lambda _count: None,
    ) -> int:
        """See `SuppressionStore.load`."""
        owners: dict[str, int] = {}
        changes = 0
        directory = Path(tempfile.gettempdir())
        rows = sorted_rows(self._numbered(entries, rules, owners), directory)
        while batch := _some(rows, directory):
            with self._writing() as db:
                changes += _put(db, batch)
            told(len(batch))
        return changes

    def remove(
        self, tenant: str, address: str, rules: SuppressionRules, reason: Reason | None = None
    ) -> list[Suppressed]:
        """See `SuppressionStore.remove`."""
        with self._database() as db:
            where = self._where(db, tenant, address, rules)
        if where is None:
            return []
        where["reason"] = None if reason is None else CODES[reason]
        condition = f"{ADDRESS} and (%(reason)s::smallint is null or reason = %(reason)s)"
        with self._writing() as db:
            statement = f"delete from suppression where {condition} returning {COLUMNS}"
            rows = db.execute(statement, where).fetchall()
            if reason in {None, Reason.SOFT_BOUNCES}:
                db.execute(f"delete from suppression_soft where {ADDRESS}", where)
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
            owner = _make_owners(db, {tenant})[tenant]
            db.execute(_TAKE_TURN, [_number(owner, row[0])])
            where: dict[str, Any] = {"owner": owner, "key": row[0], "sub": row[1]}
            where |= {"window": rules.soft_window_s, "fold": rules.fold_sub_addresses}
            db.execute(
                "insert into suppression_soft values (%s, %s, %s, %s, %s) on conflict do nothing",
                [owner, row[0], row[1], short(event_id), int(at)],
            )
            found = db.execute(_COUNT_SOFT, where).fetchone()
            assert found is not None
            # An old one that comes late and counts for nothing suppresses nothing either.
            if found[0] < rules.soft_bounces or int(at) <= found[1] - rules.soft_window_s:
                return None
            _put(db, [(owner, *row)])
        return entry

    def delivered(self, deliveries: Sequence[Delivered], rules: SuppressionRules) -> int:
        """See `SuppressionStore.delivered`."""
        lifted = []
        with self._database() as db:
            for each in deliveries:
                where = self._where(db, each.tenant, each.recipient, rules)
                if where is None:
                    continue
                where |= {"at": int(each.at), "failure": each.failure, "event": short(each.failure)}
                # Most addresses never bounced, and a transaction that writes makes others wait.
                found = db.execute(_LIFTABLE, where).fetchone()
                if found is not None and found[0]:
                    lifted.append(where)
        if not lifted:
            return 0
        lifted.sort(key=lambda where: (where["owner"], where["key"], where["sub"]))
        with self._writing() as db:
            gone = sum(changed(db.execute(f"delete from {_LIFTED}", where)) for where in lifted)
            for where in lifted:
                db.execute(f"delete from {_FORGOTTEN}", where)
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
            owner = None if tenant is None else _owner(db, tenant)
            if tenant is not None and owner is None:
                return Page((), "")
            where = {
                **cursor_of(after, owner),
                "reason": None if reason is None else CODES[reason],
                "limit": limit,
            }
            rows = db.execute(_PAGE_OF_ALL if owner is None else _PAGE_OF_ONE, where).fetchall()
            names = {
                row[0]: row[1] for row in db.execute("select id, tenant from suppression_owners")
            }
        last = rows[-1] if len(rows) == limit else None
        return Page(
            tuple(entry_of(names[row[0]], row[3:], "") for row in rows),
            "" if last is None else place_of(last),
        )

    def lists(self) -> list[str]:
        """See `SuppressionStore.lists`."""
        with self._database() as db:
            return [
                row[0]
                for row in db.execute("select tenant from suppression_owners order by tenant")
            ]

    def prune(self, now: float, rules: SuppressionRules) -> int:
        """See `SuppressionStore.prune`."""
        now = self._by_server(now)
        ended = self._delete_some(_PRUNE, int(now))
        self._delete_some(_PRUNE_SOFT, int(now) - rules.soft_window_s)
        return ended

    def _delete_some(self, statement: str, before: int) -> int:
        deleted = 0
        while True:
            with self._writing() as db:
                step = changed(db.execute(statement, [before]))
            deleted += step
            if step < LOAD_ROWS:
                return deleted

    def _numbered(
        self, entries: Iterable[Suppressed], rules: SuppressionRules, owners: dict[str, int]
    ) -> Iterator[Row]:
        """Yield entries as rows, with a number behind the key, so that no two are equal."""
        number = count()
        entries = iter(entries)
        while some := list(islice(entries, LOAD_ROWS)):
            with self._database() as db:
                rows = rows_of(some, rules, self._secret(db))
            new = {tenant for tenant, _ in rows} - owners.keys()
            if new:
                with self._writing() as db:
                    owners |= _make_owners(db, new)
            for tenant, row in rows:
                yield (owners[tenant], *row[:3], next(number), *row[3:])

    def _where(
        self, db: Connection, tenant: str, address: str, rules: SuppressionRules
    ) -> dict[str, Any] | None:
        owner = _owner(db, tenant)
        key = self._key(db, tenant, address) if owner is not None else None
        if key is None:
            return None
        fold = rules.fold_sub_addresses
        return {"owner": owner, "key": key.base, "sub": key.sub, "fold": fold}

    def _key(self, db: Connection, tenant: str, address: str) -> AddressKey | None:
        try:
            return key_of(canonical_address(address), tenant, self._secret(db))
        except MalformedMessage:
            return None

    def _secret(self, db: Connection) -> bytes:
        """Return the secret that belongs to the database as it is now."""
        known: tuple[object, bytes] | None = getattr(self._local, "secret", None)
        if known is None or known[0] is not db:
            # Kept with the connection: a restored database brings its own key file.
            known = self._local.secret = (db, load_shared_secret(self._key_dir, _Fingerprint(db)))
        return known[1]


class _Fingerprint:
    """What the database holds of the secret."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def get(self) -> bytes | None:
        row = self._db.execute("select fingerprint from suppression_key").fetchone()
        return None if row is None else bytes(row[0])

    def put(self, fingerprint: bytes) -> None:
        self._db.execute(
            "insert into suppression_key values (1, %s) on conflict do nothing", [fingerprint]
        )


def _some(rows: Iterator[Row], directory: Path) -> list[Row]:
    """Return the next rows, without the number behind their key."""
    try:
        return [(*row[:4], *row[5:]) for row in islice(rows, LOAD_ROWS)]
    except OSError as error:
        raise StoreUnavailable(f"{directory}: {error}") from error


def _put(db: Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Store rows in order; return how many changed anything."""
    # One statement changes a row once: those of one address and reason go into one each.
    rounds: list[list[Sequence[Any]]] = []
    seen: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for row in rows:
        key = tuple(row[:4])
        if seen[key] == len(rounds):
            rounds.append([])
        rounds[seen[key]].append(row)
        seen[key] += 1
    changes = 0
    for each in rounds:
        columns = [list(column) for column in zip(*each, strict=True)]
        changes += changed(db.execute(_ADD, columns))
    return changes


def _owner(db: Connection, tenant: str) -> int | None:
    row = db.execute("select id from suppression_owners where tenant = %s", [tenant]).fetchone()
    return None if row is None else int(row[0])


def _make_owners(db: Connection, tenants: Iterable[str]) -> dict[str, int]:
    names = sorted(tenants)
    query = "select tenant, id from suppression_owners where tenant = any(%s)"
    found = {row[0]: int(row[1]) for row in db.execute(query, [names])}
    if missing := [name for name in names if name not in found]:
        db.execute(_TAKE_TURN, [_NUMBERING])
        db.execute(
            "insert into suppression_owners (tenant) select unnest(%s::text[]) "
            "on conflict do nothing",
            [missing],
        )
        found = {row[0]: int(row[1]) for row in db.execute(query, [names])}
    return found


def _number(owner: int, key: bytes) -> int:
    digest = hashlib.blake2b(b"%d %s" % (owner, key), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
