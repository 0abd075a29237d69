"""Deliveries in SQLite, with the position of the log that they come from.

Purpose: what was read of the log and up to where is one transaction, so that the death of the
reader at any moment neither loses a delivery nor counts it twice.
Limits: see `gatepost.maillog.evidence`. A row takes some 160 octets, so six hours at 10 million
deliveries a day some 400 MB; a count takes 270, and there is one for each day and destination
domain of a tenant, and one for each day and relay host of a domain. 100,000 rows fold in 0.5 s.
Errors, security: see `sqlite_file`. Rows hold envelope recipients, counts do not.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlite_utils import Database

from gatepost.maillog.evidence import (
    KEEP_WEAKER,
    SECONDS_A_DAY,
    Batch,
    By,
    Check,
    Counts,
    Destination,
    LogPosition,
    Record,
    Scope,
    Seen,
    Share,
    TenantDomain,
    Verdict,
    Weaker,
)
from gatepost.maillog.model import TlsClass
from gatepost.store.schema_deliveries import DAYS_KEY, RELAYS_KEY
from gatepost.store.sqlite_file import SqliteFile, storable

ROLL_UP_ROWS = 20_000
KEEP_POSITIONS = 1_000

_COLUMNS = (
    "at, queue_id, tenant, recipient, domain, relay, address, provider, service, tls, version, "
    "deliveries, sessions, verdict, asked, got"
)
_INSERT = f"insert into deliveries ({_COLUMNS}) values ({', '.join('?' * 16)})"
_INSERT_WEAKER = (
    "insert into weaker_deliveries "
    "(at, tenant, queue_id, recipient, domain, relay, service, asked, got) "
    "values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CUT_WEAKER = (
    "delete from weaker_deliveries where id <= "
    f"(select id from weaker_deliveries order by id desc limit 1 offset {KEEP_WEAKER})"
)
_PUT_POSITION = """
insert into log_positions (source, head_octets, offset, cursor, stored)
values (?, ?, ?, ?, (select coalesce(max(stored), 0) + 1 from log_positions))
"""
# Who reads on from where somebody else has been in the meantime finds no row.
_TAKE_POSITION = """
delete from log_positions
where source = ? and offset = ? and (head_octets > 0 or cursor = ?)
"""

_ADD_SENT = """
insert into warmup_days (key, day, sent) values (?, ?, ?)
on conflict (key, day) do update set sent = sent + excluded.sent
"""

# Of files that rotation has long since deleted nothing has to be known.
_CUT_POSITIONS = f"""
delete from log_positions where source not in (
    select source from log_positions order by stored desc limit {KEEP_POSITIONS}
)
"""

_DAY = f"cast(at / {SECONDS_A_DAY} as integer)"
_SPAN = f"""
select max(id) from (
    select id from deliveries where at < :before order by id limit {ROLL_UP_ROWS}
)
"""
_FORGET = "delete from deliveries where id <= :last and at < :before"


def _fold(table: str, key: Sequence[str]) -> str:
    columns = ", ".join(key)
    values = ", ".join(_DAY if column == "day" else column for column in key)
    return f"""
insert into {table} ({columns}, deliveries, sessions, first_at, last_at)
select {values}, sum(deliveries), sum(sessions), min(at), max(at)
from deliveries where id <= :last and at < :before group by {values}
on conflict ({columns}) do update set
    deliveries = deliveries + excluded.deliveries,
    sessions = sessions + excluded.sessions,
    first_at = min(first_at, excluded.first_at),
    last_at = max(last_at, excluded.last_at)
"""


_FOLDS = (_fold("delivery_days", DAYS_KEY), _fold("delivery_relays", RELAYS_KEY))


def _sums(table: str, key: Sequence[str], where: str) -> str:
    """Return the query for sums over rows and counts, ordered by a key of two or more columns."""
    columns = ", ".join(key)
    as_day = ", ".join(f"{_DAY} as day" if column == "day" else column for column in key)
    return f"""
select {columns}, sum(n), sum(s), min(first_at), max(last_at) from (
    select {as_day}, deliveries as n, sessions as s, at as first_at, at as last_at
    from deliveries where at >= :since and at < :until and {where}
    union all
    select {columns}, deliveries, sessions, first_at, last_at
    from {table} where day >= :first_day and day <= :last_day and {where}
) group by {columns} order by {columns}
"""


_DESTINATIONS = _sums(
    "delivery_relays",
    ("domain", "relay", "tls", "version"),
    "(:domain is null or domain = :domain)",
)
_TENANT_DOMAINS = _sums(
    "delivery_days",
    ("tenant", "domain", "tls", "version"),
    "(:tenant is null or tenant = :tenant)",
)
_CHECK = _sums(
    "delivery_days", ("verdict", "tls"), "(:tenant is null or tenant = :tenant)"
)  # fmt: skip
_WEAKER = f"""
select at, tenant, queue_id, recipient, domain, relay, service, asked, got
from weaker_deliveries
where at >= :since and at < :until and (:tenant is null or tenant = :tenant)
order by at desc, id desc limit {KEEP_WEAKER}
"""


class SqliteDeliveries(SqliteFile):
    """Implements `gatepost.maillog.evidence.DeliveryStore`."""

    def add(self, batch: Batch) -> bool:
        """See `DeliveryStore.add`."""
        with self._writing() as db:
            if not _move(db, batch):
                return False
            db.conn.executemany(_INSERT, map(_row_of, batch.records))
            db.conn.executemany(
                _INSERT_WEAKER,
                (_weaker_of(each) for each in batch.records if each.verdict is Verdict.WEAKER),
            )
            _remember(db, batch)
            db.conn.executemany(
                _ADD_SENT, ((*key, count) for key, count in sorted(batch.sent.items()))
            )
        return True

    def positions(self) -> list[LogPosition]:
        """See `DeliveryStore.positions`."""
        query = "select source, head_octets, offset, cursor from log_positions order by stored desc"
        with self._database() as db:
            return [LogPosition(*row) for row in db.execute(query)]

    def state(self, scope: Scope = Scope.LIVE) -> dict[str, str]:
        """See `DeliveryStore.state`."""
        # In the order in which they were put, which is that of age.
        query = "select key, text from log_state where scope = ? order by rowid"
        with self._database() as db:
            return dict(db.execute(query, [scope.value]).fetchall())

    def forget(self, scope: Scope) -> None:
        """See `DeliveryStore.forget`."""
        with self._writing() as db:
            db.execute("delete from log_state where scope = ?", [scope.value])

    def roll_up(self, before: float) -> int:
        """See `DeliveryStore.roll_up`."""
        folded = 0
        while step := self._roll_up_some(before):
            folded += step
        return folded

    def _roll_up_some(self, before: float) -> int:
        # In steps, each a transaction: the reader of the log gets in between.
        with self._writing() as db:
            last = db.execute(_SPAN, {"before": before}).fetchone()[0]
            if last is None:
                return 0
            span = {"before": before, "last": last}
            for fold in _FOLDS:
                db.execute(fold, span)
            db.execute(_CUT_WEAKER)
            return db.execute(_FORGET, span).rowcount

    def prune(self, before: float) -> int:
        """See `DeliveryStore.prune`."""
        day = int(before // SECONDS_A_DAY)
        with self._writing() as db:
            db.execute("delete from weaker_deliveries where at < ?", [day * SECONDS_A_DAY])
            db.execute("delete from delivery_relays where day < ?", [day])
            db.execute(_CUT_POSITIONS)
            return db.execute("delete from delivery_days where day < ?", [day]).rowcount

    def destinations(
        self, since: float, until: float, domain: str | None = None
    ) -> list[Destination]:
        """See `DeliveryEvidence.destinations`."""
        rows = self._rows(_DESTINATIONS, since, until, domain=domain)
        return [Destination(*key, seen) for key, seen in _grouped(rows)]

    def tenant_domains(
        self, since: float, until: float, tenant: str | None = None
    ) -> list[TenantDomain]:
        """See `DeliveryEvidence.tenant_domains`."""
        rows = self._rows(_TENANT_DOMAINS, since, until, tenant=tenant)
        return [TenantDomain(*key, seen) for key, seen in _grouped(rows)]

    def share(
        self, since: float, until: float, by: By, only: Mapping[By, str] | None = None
    ) -> list[Share]:
        """See `DeliveryEvidence.share`."""
        chosen = {key: value for key, value in (only or {}).items() if key is not By.DAY}
        where = " and ".join(["true", *(f"{key.value} = :{key.value}" for key in chosen)])
        query = _sums("delivery_days", (by.value, "tls"), where)
        rows = self._rows(query, since, until, **{key.value: v for key, v in chosen.items()})
        found = [_share(name, list(group), by) for name, group in groupby(rows, lambda r: r[0])]
        if by is not By.DAY:
            found.sort(key=lambda each: (-each.deliveries.sent, each.name))
        return found

    def check(self, since: float, until: float, tenant: str | None = None) -> Check:
        """See `DeliveryEvidence.check`."""
        rows = self._rows(_CHECK, since, until, tenant=tenant)
        sums = dict.fromkeys(Verdict, 0)
        for verdict, _, deliveries, *_ in rows:
            sums[Verdict(verdict)] += deliveries
        with self._database() as db:
            values = {"since": since, "until": until, "tenant": tenant}
            weaker = tuple(Weaker(*row) for row in db.execute(_WEAKER, values))
        asked = sums[Verdict.MET] + sums[Verdict.UNPROVEN] + sums[Verdict.WEAKER]
        return Check(
            asked,
            sums[Verdict.UNPROVEN],
            max(sums[Verdict.WEAKER], len(weaker)),
            weaker,
            max((row[-1] for row in rows), default=None),
        )

    def _rows(self, query: str, since: float, until: float, **values: str | None) -> list[Any]:
        spans = {
            "since": since,
            "until": until,
            "first_day": int(since // SECONDS_A_DAY),
            # The day that holds the last moment before `until`.
            "last_day": -int(-until // SECONDS_A_DAY) - 1,
        }
        with self._database() as db:
            rows: list[Any] = db.execute(query, {**spans, **values}).fetchall()
        return rows


def _move(db: Database, batch: Batch) -> bool:
    """Put the new position in the place of the old one, or change nothing and return False."""
    position, previous = batch.position, batch.previous
    if previous is None or previous.source != position.source:
        known = "select 1 from log_positions where source = ?"
        if db.execute(known, [position.source]).fetchone() is not None:
            return False
    if previous is not None:
        old = [previous.source, previous.offset, storable(previous.cursor)]
        if db.execute(_TAKE_POSITION, old).rowcount != 1:
            return False
    db.execute(
        _PUT_POSITION,
        [position.source, position.head_octets, position.offset, storable(position.cursor)],
    )
    return True


def _remember(db: Database, batch: Batch) -> None:
    scope = batch.scope.value
    # Each key goes first, so that what is put again is the youngest.
    db.conn.executemany(
        "delete from log_state where scope = ? and key = ?",
        ((scope, storable(key)) for key in batch.state),
    )
    db.conn.executemany(
        "insert into log_state (scope, key, text) values (?, ?, ?)",
        (
            (scope, storable(key), storable(text))
            for key, text in batch.state.items()
            if text is not None
        ),
    )


def _row_of(record: Record) -> tuple[float | int | str, ...]:
    texts = (
        record.queue_id,
        record.tenant,
        record.recipient,
        record.domain,
        record.relay,
        record.address,
        record.provider,
        record.service,
        record.tls.value,
        record.version,
    )
    return (
        record.at,
        *map(storable, texts),
        record.deliveries,
        record.sessions,
        record.verdict.value,
        storable(record.asked),
        storable(record.got),
    )


def _weaker_of(record: Record) -> tuple[float | str, ...]:
    texts = (
        record.tenant,
        record.queue_id,
        record.recipient,
        record.domain,
        f"{record.relay}[{record.address}]",
        record.service,
        record.asked,
        record.got,
    )
    return (record.at, *map(storable, texts))


def _grouped(rows: Iterable[Any]) -> Iterator[tuple[tuple[str, str], tuple[Seen, ...]]]:
    for key, group in groupby(rows, lambda row: (row[0], row[1])):
        yield key, tuple(Seen(TlsClass(tls), *rest) for _, _, tls, *rest in group)


def _share(name: str | int, rows: Iterable[Any], by: By) -> Share:
    deliveries, sessions = Counts(), Counts()
    for _, tls, delivered, opened, *_ in rows:
        deliveries = deliveries.plus(TlsClass(tls), delivered)
        sessions = sessions.plus(TlsClass(tls), opened)
    return Share(_day_name(int(name)) if by is By.DAY else str(name), deliveries, sessions)


def _day_name(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
